// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sigs.k8s.io/kpng/nodelocal/vectors"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/remote/execvectors"
)

// errVectors means that expectations of stories are not met.
var errVectors = errors.New("expectations are not met")

// vectorsFlags are the flags of kpng vectors.
type vectorsFlags struct {
	program, dir, run string
	list, verbose     bool
	timeout           time.Duration
	stdout, stderr    io.Writer
}

// vectorsCommand returns kpng vectors.
func vectorsCommand(stdout, stderr io.Writer) *cobra.Command {
	f := &vectorsFlags{stdout: stdout, stderr: stderr}
	cmd := &cobra.Command{
		Use:   "vectors [--implementation exec:CMD]",
		Short: "Check an implementation in any language against the semantics of Services",
		Long: `Runs stories: the objects of a cluster, step by step, and the expected outcome of connections. The
implementation is that of this binary, or a program that receives the steps as lines of JSON. It is
started once for each story; docs/vectors.md describes the stories and the lines.

Each expectation that is not met is printed with the lines that differ: - is expected, + is the
result. The exit code is 0 if all are met, and 1 otherwise.`,
		Example: `  kpng vectors
  kpng vectors --list
  kpng vectors --implementation 'exec:python3 resolver.py' --run 'nodeports|topology'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.vectors(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.program, "implementation", "", "`program` to check: exec:CMD (default: this binary)")
	flags.StringVar(&f.dir, "dir", "", "`directory` with other stories")
	flags.StringVar(&f.run, "run", "", "regular `expression`: run only stories whose names match")
	flags.BoolVar(&f.list, "list", false, "list the stories, and run none")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "list all expectations, not only those that are not met")
	flags.DurationVar(&f.timeout, "timeout", defaultVectorsTimeout, "maximum `duration` of one step of a program")
	return cmd
}

const defaultVectorsTimeout = 10 * time.Second

// vectors runs the stories.
func (f *vectorsFlags) vectors(ctx context.Context) error {
	stories, err := f.stories()
	if err != nil {
		return err
	}
	if f.list {
		for _, s := range stories {
			fmt.Fprintf(f.stdout, "%-14s %s\n", s.Name, s.About)
		}
		return nil
	}
	start, err := f.implementation()
	if err != nil {
		return err
	}
	var total counts
	for _, s := range stories {
		impl, err := start()
		if err != nil {
			return err
		}
		results, err := vectors.Run(ctx, s, impl)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		total.add(f.print(s, results, err))
	}
	fmt.Fprintf(f.stdout, "%d stories, %d expectations: %d met, %d not met, %d skipped\n",
		len(stories), total.met+total.unmet+total.skipped, total.met, total.unmet, total.skipped)
	if total.unmet > 0 || total.broken > 0 {
		return errVectors
	}
	return nil
}

// counts are numbers of expectations, and of stories that have not ended.
type counts struct{ met, unmet, skipped, broken int }

func (c *counts) add(o counts) {
	c.met, c.unmet, c.skipped, c.broken = c.met+o.met, c.unmet+o.unmet, c.skipped+o.skipped, c.broken+o.broken
}

// print prints the results of a story, and counts them.
func (f *vectorsFlags) print(s *vectors.Story, results []vectors.Result, err error) (n counts) {
	for _, r := range results {
		word := "ok     "
		switch {
		case r.Skipped:
			n.skipped, word = n.skipped+1, "skipped"
		case r.Passed():
			n.met++
		default:
			n.unmet, word = n.unmet+1, "NOT MET"
		}
		if f.verbose || !r.Passed() {
			fmt.Fprintf(f.stdout, "%s %s: %s\n%s", word, s.Name, r.Step.Name, indent(r.Difference()))
		}
	}
	if err != nil {
		n.broken++
		fmt.Fprintln(f.stdout, "FAILED ", err)
	}
	return n
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("        " + line)
	}
	return b.String()
}

// stories returns the stories that the flags select.
func (f *vectorsFlags) stories() ([]*vectors.Story, error) {
	expression, err := regexp.Compile(f.run)
	if err != nil {
		return nil, usagef("--run: %w", err)
	}
	var all []*vectors.Story
	if f.dir == "" {
		all, err = vectors.Stories()
	} else if all, err = vectors.Load(os.DirFS(f.dir)); err != nil {
		err = fmt.Errorf("--dir %s: %w", f.dir, err)
	}
	if err != nil {
		return nil, err
	}
	var selected []*vectors.Story
	for _, s := range all {
		if expression.MatchString(s.Name) {
			selected = append(selected, s)
		}
	}
	if len(selected) == 0 {
		return nil, fmt.Errorf("%w: --run %q: no story matches", command.ErrUsage, f.run)
	}
	return selected, nil
}

// implementation returns a function that starts the implementation under test.
func (f *vectorsFlags) implementation() (func() (vectors.Implementation, error), error) {
	if f.timeout <= 0 {
		return nil, usagef("--timeout %v: must be positive", f.timeout)
	}
	if f.program == "" {
		return func() (vectors.Implementation, error) { return vectors.NewReference(), nil }, nil
	}
	program, found := strings.CutPrefix(f.program, "exec:")
	if !found || program == "" {
		return nil, usagef("--implementation %q: want exec:CMD", f.program)
	}
	return func() (vectors.Implementation, error) {
		return execvectors.Start(execvectors.Config{Command: shell(program), Timeout: f.timeout, Stderr: f.stderr})
	}, nil
}
