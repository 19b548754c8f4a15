// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli has what the commands of the gRPC endpoints share: flags, signals and
// ports. What they do is in the packages of the library.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// ErrUsage is of a command line that makes no sense.
var ErrUsage = errors.New("usage")

// Exit codes.
const (
	Failed     = 1
	Misused    = 2
	Unfinished = 3
)

// ErrUnfinished is of a question whose answer is no; it has been printed.
var ErrUnfinished = errors.New("unfinished")

// Main runs a command until it ends, or until the process is told to stop, and exits.
func Main(name string, run func(ctx context.Context, args []string, stdout, stderr io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, ErrUnfinished):
		os.Exit(Unfinished)
	case errors.Is(err, ErrUsage):
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(Misused)
	default:
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(Failed)
	}
}

// Parse reads args, in which flags and others may come in any order, and returns the
// others.
func Parse(fs *flag.FlagSet, args []string, stderr io.Writer) (others []string, err error) {
	fs.SetOutput(stderr)
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, fmt.Errorf("%w: %w", ErrUsage, err)
		}
		if fs.NArg() == 0 {
			return others, nil
		}
		others, args = append(others, fs.Arg(0)), fs.Args()[1:]
	}
}

// ParseAll is Parse for a command that takes flags only.
func ParseAll(fs *flag.FlagSet, args []string, stderr io.Writer) error {
	others, err := Parse(fs, args, stderr)
	if err == nil && len(others) > 0 {
		return fmt.Errorf("%w: unexpected argument %q", ErrUsage, others[0])
	}
	return err
}

// Refuse returns an error that lists what is wrong with a command line, if anything is.
func Refuse(wrong map[string]bool) error {
	var all []string
	for what, is := range wrong {
		if is {
			all = append(all, what)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return fmt.Errorf("%w: %s", ErrUsage, strings.Join(all, "; "))
}

// InFlags puts an error of the library, which names fields, in words of flags: a word of the
// error and what stands for it take turns.
func InFlags(err error, words ...string) error {
	return errors.New(strings.NewReplacer(words...).Replace(err.Error()))
}

// Together runs fns until all have ended. When one fails, the others are told to stop.
func Together(ctx context.Context, fns ...func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(fns))
	var all sync.WaitGroup
	for i, fn := range fns {
		all.Go(func() {
			if errs[i] = fn(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Logger returns a logger to stderr.
func Logger(stderr io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
}

// Version is that of the build.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// List splits a list at commas.
func List(s string) (all []string) {
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}
