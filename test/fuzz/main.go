// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command fuzz runs the fuzz targets of all modules of this repository, one after the other. It
// finds them itself: a target is a function FuzzName(*testing.F) in a test file that builds on
// this system. With -keep it also selects inputs for the committed corpora in testdata/fuzz.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("fuzz", flag.ContinueOnError)
	root := fs.String("root", ".", "directory that holds the repository")
	duration := fs.Duration("time", 30*time.Second, "fuzzing `time` of each target; 0 only selects inputs for the corpora")
	match := fs.String("run", "", "`regexp` of the targets to run, as PACKAGE.FuzzName; empty runs all")
	list := fs.Bool("list", false, "print the directory of the module, the package and the name of each target, and end")
	keep := fs.Int("keep", 0, "number of inputs to commit for each target: those that cover most beyond the seeds; 0 changes no corpus")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	pattern, err := regexp.Compile(*match)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	targets, err := findTargets(ctx, *root, pattern)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return fmt.Errorf("no fuzz target matches %q", *match)
	}
	if *list {
		for _, t := range targets {
			module, err := filepath.Rel(*root, t.module)
			if err != nil {
				return err
			}
			fmt.Println(filepath.ToSlash(module), t.pkg, t.name)
		}
		return nil
	}
	return runAll(ctx, targets, *duration, *keep)
}

// runAll runs all targets, also after one has failed, and returns an error that names those that failed.
func runAll(ctx context.Context, targets []target, duration time.Duration, keep int) error {
	var failed []error
	for i, t := range targets {
		fmt.Printf("%d/%d %s\n", i+1, len(targets), t)
		if duration > 0 {
			if err := t.fuzz(ctx, duration); err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", t, err))
				continue // an input that fails is in testdata/fuzz already
			}
		}
		if keep > 0 {
			if err := t.selectCorpus(ctx, keep); err != nil {
				failed = append(failed, fmt.Errorf("corpus of %s: %w", t, err))
			}
		}
		if ctx.Err() != nil {
			return errors.Join(append(failed, ctx.Err())...)
		}
	}
	return errors.Join(failed...)
}
