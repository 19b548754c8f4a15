// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kpng/backends/backendtest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/remote/execsink"
)

// packetSink is the name of the sink in the results of the packet kit.
const packetSink = "sink"

// featureNames returns the names of all features, in order.
func featureNames() (names []string) {
	for i := range 32 {
		if name := (localsink.Features(1) << i).String(); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// parseFeatures returns the set of named features.
func parseFeatures(names []string) (all localsink.Features, err error) {
	known := featureNames()
	for _, name := range names {
		i := slices.Index(known, strings.TrimSpace(name))
		if i < 0 {
			return 0, fmt.Errorf("%q: want some of %s", name, strings.Join(known, ", "))
		}
		all |= 1 << i
	}
	return all, nil
}

// packetKit returns a test that runs the packet kit with a program.
func (f *testFlags) packetKit(program string, stderr io.Writer) (func(t *testing.T), error) {
	unsupported, err := parseFeatures(f.unsupported)
	if err != nil {
		return nil, usagef("--unsupported: %w", err)
	}
	switch f.report {
	case "", "table", "json", "markdown":
	default:
		return nil, usagef("--report %q: want table, json or markdown", f.report)
	}
	switch {
	case f.describe != "":
		return nil, usagef("--describe: the packet kit does not use it")
	case runtime.GOOS != "linux":
		return nil, fmt.Errorf("--packets: needs Linux, this is %s", runtime.GOOS)
	case os.Geteuid() != 0:
		return nil, errors.New("--packets: needs root, to create network namespaces")
	}
	enter, err := exec.LookPath("nsenter")
	if err != nil {
		return nil, fmt.Errorf("--packets: %w", err)
	}
	backend := backendtest.Backend{
		Name: packetSink, Proxy: f.proxy, Unsupported: unsupported,
		New: func(ctx context.Context, _ backendtest.Namespace) (localsink.Sink, error) {
			return newNamespaceSink(ctx, enter, program, stderr)
		},
	}
	return func(t *testing.T) { f.printReport(t, backendtest.Run(t, backend)) }, nil
}

// newNamespaceSink returns a sink whose program runs in the network namespace of the calling
// thread, however often it is restarted.
func newNamespaceSink(ctx context.Context, enter, program string, stderr io.Writer) (localsink.Sink, error) {
	namespace, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = namespace.Close() }) // after Close of the sink
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), namespace.Fd())
	return execsink.New(execsink.Config{Command: append([]string{enter, "--net=" + path, "--"}, shell(program)...), Stderr: stderr})
}

// printReport prints a report to the standard output, as the results of tests are.
func (f *testFlags) printReport(t *testing.T, report *backendtest.Report) {
	switch f.report {
	case "table":
		fmt.Fprintln(os.Stdout, report.Text())
	case "markdown":
		fmt.Fprintln(os.Stdout, report.Markdown())
	case "json":
		text, err := report.JSON()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(os.Stdout, string(text))
	}
}
