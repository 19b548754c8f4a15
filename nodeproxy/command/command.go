// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package command has what the programs of a node proxy share around their work: parsing
// of the command line, exit codes, and running the parts of a process together. It
// handles no signals, ends no process, and is independent of Services.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
)

// ErrUsage is wrapped by errors about an invalid command line.
var ErrUsage = errors.New("usage")

// Exit codes of a program.
const (
	ExitDone   = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// ExitCode returns the exit code of a program whose work ended with err, and writes the
// error to stderr behind the name of the program. An error that wraps [flag.ErrHelp] is
// a success.
func ExitCode(program string, err error, stderr io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return ExitDone
	}
	fmt.Fprintf(stderr, "%s: %v\n", program, err)
	if errors.Is(err, ErrUsage) {
		return ExitUsage
	}
	return ExitFailed
}

// ParseMixed parses args with fs, where flags and positional arguments may alternate, and
// returns the positional arguments. Errors wrap [ErrUsage], or [flag.ErrHelp] alone.
func ParseMixed(fs *flag.FlagSet, args []string) (positional []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, fmt.Errorf("%w: %w", ErrUsage, err)
		}
		if fs.NArg() == 0 {
			return positional, nil
		}
		positional, args = append(positional, fs.Arg(0)), fs.Args()[1:]
	}
}

// Parse is [ParseMixed] for a program without positional arguments.
func Parse(fs *flag.FlagSet, args []string) error {
	positional, err := ParseMixed(fs, args)
	if err == nil && len(positional) > 0 {
		return fmt.Errorf("%w: unexpected argument %q", ErrUsage, positional[0])
	}
	return err
}

// Conflicts returns an error that wraps [ErrUsage] and lists, in order, each text whose
// condition holds; nil if none does.
func Conflicts(conditions map[string]bool) error {
	var texts []string
	for _, text := range slices.Sorted(maps.Keys(conditions)) {
		if conditions[text] {
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrUsage, strings.Join(texts, "; "))
}

// ReplaceInError returns an error whose text is that of err with replacements made:
// oldnew alternates a text and its replacement. It turns the names of Config fields into
// names of flags. It returns nil if err is nil.
func ReplaceInError(err error, oldnew ...string) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.NewReplacer(oldnew...).Replace(err.Error()))
}

// Prefix returns err behind the name of the flag that it is about; nil if err is nil.
func Prefix(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", flag, err)
}

// SplitList splits s at commas, trims blanks, and drops empty elements.
func SplitList(s string) (elements []string) {
	for element := range strings.SplitSeq(s, ",") {
		if element = strings.TrimSpace(element); element != "" {
			elements = append(elements, element)
		}
	}
	return elements
}

// RunAll runs all parts of a process concurrently and returns when all have returned.
// When one fails, the context of the others ends. It returns all errors joined.
func RunAll(ctx context.Context, parts ...func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(parts))
	var running sync.WaitGroup
	for i, part := range parts {
		running.Go(func() {
			if errs[i] = part(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// NewLogger returns a logger that writes text to w, at level info, or debug if verbose.
func NewLogger(w io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// Version returns the version of the main module in this build, or "unknown".
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
