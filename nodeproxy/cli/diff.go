// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/command"
)

// errDiffers means that kpng diff has found differences.
var errDiffers = errors.New("the states differ")

// diffFlags are the flags of kpng diff.
type diffFlags struct {
	runFlags
	after   time.Duration
	timeout time.Duration
}

// diffCommand returns kpng diff.
func (r Registry) diffCommand(stdout, stderr io.Writer) *cobra.Command {
	f := &diffFlags{runFlags: runFlags{stdout: stdout, stderr: stderr}}
	cmd := &cobra.Command{
		Use:   "diff --from SOURCE (--from SOURCE | --after DURATION)",
		Short: "Compare the state of a node from two sources, or at two moments",
		Long: `Prints the Services whose state on the node differs between two sources, or between now and some
time later: lines with - are only in the first state, lines with + only in the second. The exit code
is 0 if the states are equal, 1 if they differ, and 2 for an invalid command line.`,
		Example: `  # what a change of manifests does to a node
  kpng diff --from file:./old --from file:./new --node node-1

  # whether a server has what the API server has
  kpng diff --from kube --from node:127.0.0.1:10270 --node node-1

  # what changes within a minute
  kpng diff --from kube --after 1m`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.diff(cmd.Context(), f) },
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&f.from, "from", nil, "`source`, twice, or once with --after: "+strings.Join(r.sourceWords(), ", "))
	fs.DurationVar(&f.after, "after", 0, "`duration` until the second state of the same source")
	fs.DurationVar(&f.timeout, "timeout", defaultTimeout, "maximum `duration` until a source has its state")
	f.define(fs, false)
	return cmd
}

// diff compares two states.
func (r Registry) diff(ctx context.Context, f *diffFlags) error {
	switch {
	case f.after < 0, f.timeout <= 0:
		return usagef("--after %v, --timeout %v: must be positive", f.after, f.timeout)
	case f.after > 0 && len(f.from) != 1, f.after == 0 && len(f.from) != 2:
		return usagef("--from: want two sources, or one with --after")
	}
	var before, after *localsink.Update
	var err error
	if f.after > 0 {
		before, after, err = r.states(ctx, f, f.from[0], f.after)
	} else if before, _, err = r.states(ctx, f, f.from[0], 0); err == nil {
		after, _, err = r.states(ctx, f, f.from[1], 0)
	}
	if err != nil {
		return err
	}
	return printDiff(f.stdout, before, after, hasColours(f.stdout))
}

// states returns the first complete state of a source, and the last one within the given time.
func (r Registry) states(ctx context.Context, f *diffFlags, from string, within time.Duration) (first, last *localsink.Update, err error) {
	env, err := f.env()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	received := make(chan *localsink.Update)
	keep := Sink{Name: "keep", Node: func(context.Context, *Env, string) (NodeSink, error) {
		return NodeSink{Sink: localsink.Func(func(ctx context.Context, u *localsink.Update) error {
			select {
			case received <- u:
			case <-ctx.Done():
			}
			return nil
		})}, nil
	}}
	only := *f
	only.from, only.to = []string{from}, []string{keep.Name}
	p, err := Registry{Sources: r.Sources}.With(keep).plan(ctx, env, &only.runFlags)
	if err != nil {
		return nil, nil, errors.Join(err, env.close())
	}
	ended := make(chan error, 1)
	go func() { ended <- command.RunAll(ctx, append(env.background, p.parts(env, &only.runFlags)...)...) }()
	timer := time.After(f.timeout)
	for {
		select {
		case u := <-received:
			last = u
			if first == nil {
				first, timer = u, time.After(within)
			}
			continue
		case <-timer:
			cancel()
			if err = <-ended; first == nil {
				err = cmp.Or(err, fmt.Errorf("--from %s: no complete state within %v", from, f.timeout))
			}
			return first, last, errors.Join(err, env.close())
		case err := <-ended:
			return nil, nil, errors.Join(cmp.Or(err, ctx.Err()), env.close())
		}
	}
}

// isTerminal reports whether w is a terminal that can erase lines.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// hasColours reports whether w is a terminal whose user wants colours.
func hasColours(w io.Writer) bool { return isTerminal(w) && os.Getenv("NO_COLOR") == "" }

// printDiff prints the difference of two states and returns errDiffers if there is one.
func printDiff(w io.Writer, before, after *localsink.Update, colours bool) error {
	p := differ{out: w, colours: colours}
	if !before.Node.Equal(after.Node) {
		p.lines("node "+before.Node.Name, nodeText(before.Node), nodeText(after.Node))
	}
	for svc := range before.All.All() {
		text := ""
		if o := after.All.Get(svc.Name); o != nil {
			text = o.Text()
		}
		p.lines(svc.Name.String(), svc.Text(), text)
	}
	for svc := range after.All.All() {
		if before.All.Get(svc.Name) == nil {
			p.lines(svc.Name.String(), "", svc.Text())
		}
	}
	if p.differs {
		return errDiffers
	}
	return nil
}

func nodeText(n *localsink.Node) string {
	return fmt.Sprintf("addresses %v\nlocal pods %v\nnode port addresses %v\nservice networks %v\nno masquerade %v\nbeing deleted %v\nextensions %v\n",
		n.IPs, n.LocalPods, n.NodePortAddresses, n.ServiceNetworks, n.NoMasquerade, n.Deleting, n.Extensions)
}

// A differ prints differences of texts.
type differ struct {
	out     io.Writer
	colours bool
	differs bool
}

// lines prints the lines of two texts that differ, below a title.
func (d *differ) lines(title, before, after string) {
	if before == after {
		return
	}
	d.differs = true
	d.print("", title)
	a, b := strings.SplitAfter(before, "\n"), strings.SplitAfter(after, "\n")
	for start := 0; len(a) > 0 && len(b) > 0 && a[0] == b[0]; start++ { // the common beginning
		d.print("  ", a[0])
		a, b = a[1:], b[1:]
	}
	end := 0
	for end < len(a) && end < len(b) && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	for _, line := range a[:len(a)-end] {
		d.print("- ", line)
	}
	for _, line := range b[:len(b)-end] {
		d.print("+ ", line)
	}
	for _, line := range a[len(a)-end:] {
		d.print("  ", line)
	}
}

// print prints a line, in a colour on a terminal.
func (d *differ) print(prefix, line string) {
	const red, green, reset = "\x1b[31m", "\x1b[32m", "\x1b[0m"
	line = strings.TrimSuffix(line, "\n")
	if line == "" {
		return
	}
	switch {
	case d.colours && prefix == "- ":
		fmt.Fprintln(d.out, red+prefix+line+reset)
	case d.colours && prefix == "+ ":
		fmt.Fprintln(d.out, green+prefix+line+reset)
	default:
		fmt.Fprintln(d.out, prefix+line)
	}
}
