// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

// A Namespace is a network namespace of a test.
type Namespace interface {
	// Run runs f on a new thread in the namespace and returns its error. Sockets that f
	// opens and processes that it starts stay in the namespace; goroutines that it starts
	// do not run there.
	Run(f func() error) error
}

// A Backend describes the sink under test. The kit calls Sync, Close and all functions of
// Backend on a thread in the namespace of the node.
type Backend struct {
	// Name appears in the report.
	Name string
	// New returns a sink for the namespace of the node, which is that of the calling
	// thread. It is called for each behaviour in a new namespace; several sinks exist at a
	// time. ctx is canceled after the sink is closed. If the sink has a method Close, with
	// or without an error result, the kit calls it at the end and to simulate a restart;
	// otherwise it calls Close of the sinks inside, see localsink.Walk. After Close,
	// programmed Services must keep working until the next sink takes over.
	New func(ctx context.Context, node Namespace) (localsink.Sink, error)
	// Unsupported lists features that the sink does not support, in addition to those that
	// it reports as a localsink.FeatureReporter.
	Unsupported localsink.Features
	// LoopbackNodePorts reports whether TCP node ports answer on the addresses in
	// Node.LoopbackNodePorts. If false, the behaviours about it are unsupported.
	LoopbackNodePorts bool
	// Drift makes an external change to what the sink programs, such as flushing all
	// rules. If it is nil, or the sink is no localsink.ResyncRequester, behaviour OP-16 is
	// untested.
	Drift func() error
}

// Main runs the tests of a package as root. Without root privileges it runs them in a new
// user namespace. Call it from TestMain and exit with its result.
func Main(m *testing.M) int { return netnstest.Main(m) }

// Run checks all behaviours of a backend, each as a subtest of t, and returns the report.
// Without the privilege to create network namespaces it skips the subtests, or fails them if
// the environment variable KPNG_REQUIRE_NETNS is 1. It takes a minute or two, less with a
// higher -parallel.
func Run(t *testing.T, b Backend) *Report {
	t.Helper()
	if err := b.validate(nil); err != nil {
		t.Fatal(err)
	}
	all := behaviours()
	results := make([]Result, len(all))
	t.Run(b.Name, func(t *testing.T) {
		for i, bh := range all {
			t.Run(bh.id, func(t *testing.T) {
				t.Parallel()
				results[i] = check(t, b, bh)
				for _, c := range results[i].Cells {
					for _, f := range c.Failures {
						t.Errorf("%s: %s: %s", bh.title, c.Variant, f)
					}
				}
			})
		}
	})
	return report(t, b, results)
}

// Try checks the behaviours with the given IDs, or all without IDs, and returns the report.
// Failed behaviours do not fail t; a Backend without New and an unknown ID do.
func Try(t testing.TB, b Backend, ids ...string) *Report {
	t.Helper()
	if err := b.validate(ids); err != nil {
		t.Fatal(err)
	}
	var results []Result
	for _, bh := range behaviours() {
		if len(ids) == 0 || slices.Contains(ids, bh.id) {
			results = append(results, check(t, b, bh))
		}
	}
	return report(t, b, results)
}

// validate returns an error for an incomplete Backend or an unknown behaviour ID.
func (b Backend) validate(ids []string) error {
	if b.New == nil {
		return errors.New("backendtest: Backend.New: required")
	}
	for _, id := range ids {
		if !slices.Contains(IDs(), id) {
			return fmt.Errorf("backendtest: unknown behaviour ID %q, see IDs", id)
		}
	}
	return nil
}

// IDs returns the IDs of all behaviours in the order of reports.
func IDs() []string {
	var ids []string
	for _, bh := range behaviours() {
		ids = append(ids, bh.id)
	}
	return ids
}

// report returns the report of results. It leaves out the empty results of skipped subtests.
func report(t testing.TB, b Backend, results []Result) *Report {
	r := &Report{Backend: b.Name}
	if unsupported, err := unsupportedFeatures(t, b); err == nil {
		r.Unsupported = unsupported.String()
	}
	for _, res := range results {
		if res.ID != "" {
			r.Results = append(r.Results, res)
		}
	}
	return r
}

// unsupportedFeatures creates a sink in an empty namespace and returns the features that
// the backend does not support.
func unsupportedFeatures(t testing.TB, b Backend) (localsink.Features, error) {
	ns := netnstest.New(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	unsupported := b.Unsupported
	return unsupported, ns.Run(func() error {
		sink, err := b.New(ctx, ns)
		if err != nil {
			return err
		}
		unsupported |= unsupportedOf(sink)
		return closeSink(sink)
	})
}

// check checks one behaviour in a new testbed.
func check(t testing.TB, b Backend, bh behaviour) Result {
	start := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := &checker{ctx: ctx, backend: b, behaviour: bh, cells: map[variant]*Cell{}}
	res := Result{ID: bh.id, Title: bh.title}
	w, err := newTestbed(t)
	if err != nil {
		t.Fatal(err)
	}
	c.testbed = w
	if c.setUp() {
		if len(c.variants) > 0 { // otherwise no variant is supported
			bh.check(c)
		}
		c.tearDown()
	}
	for _, v := range allVariants() {
		if cell := c.cells[v]; cell != nil {
			cell.Variant = v.String()
			res.Cells = append(res.Cells, *cell)
		}
	}
	res.Notes, res.Duration = c.notes, time.Since(start)
	return res
}
