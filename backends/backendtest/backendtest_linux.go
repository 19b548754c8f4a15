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

// A Namespace is a network namespace of the test.
type Namespace interface {
	// Run runs f on a thread of its own in the namespace and returns its error.
	// Sockets that f opens and programs that it starts stay in the namespace;
	// goroutines do not.
	Run(f func() error) error
}

// A Backend is what a vendor tells about a sink. Sync, Close and all functions here are
// called on a thread in the node's namespace.
type Backend struct {
	// Name is for the report.
	Name string
	// New returns a sink for the node's namespace, which is that of the calling thread.
	// It is called anew for each behaviour, in a new namespace, and several sinks live
	// at a time. The context ends with the sink. If the sink, or what localsink.Walk
	// finds in it, has a method Close, with or without an error, that is called at the
	// end, and where a behaviour is about a new start of the program: what serves
	// Services must then stay in place until the next sink takes over.
	New func(ctx context.Context, node Namespace) (localsink.Sink, error)
	// Unsupported is what the sink lacks beyond what it says itself, see localsink.Limited.
	Unsupported localsink.Features
	// LoopbackNodePorts says that TCP node ports answer on loopback addresses where
	// Node.LoopbackNodePorts asks for it. Backends that do not say so are not asked.
	LoopbackNodePorts bool
	// Drift does what a stranger might do to the sink's target, such as flushing all
	// rules. nil leaves out the behaviour that is about it. It also needs the sink to
	// be a localsink.Repairer.
	Drift func() error
}

// Main runs the tests of a package as root: of a new user namespace, if they are run
// by somebody else. Call it from TestMain and exit with its result.
func Main(m *testing.M) int { return netnstest.Main(m) }

// Run checks all behaviours of a backend, each as a subtest of t, and returns the report.
// Without the privilege to make network namespaces it skips the subtests; the
// environment variable KPNG_REQUIRE_NETNS=1 makes that a failure. It takes a minute or
// two, and less with a higher -parallel.
func Run(t *testing.T, b Backend) *Report {
	t.Helper()
	if err := b.validate(nil); err != nil {
		t.Fatal(err)
	}
	all := behaviours()
	results := make([]Result, len(all))
	t.Run(b.Name, func(t *testing.T) {
		for i, what := range all {
			t.Run(what.id, func(t *testing.T) {
				t.Parallel()
				results[i] = check(t, b, what)
				for _, c := range results[i].Cells {
					for _, f := range c.Failures {
						t.Errorf("%s: %s: %s", what.title, c.Variant, f)
					}
				}
			})
		}
	})
	return report(t, b, results)
}

// Try is Run for some behaviours, by ID, or for all when none is named. Failures are
// only in the report, and do not fail t.
func Try(t testing.TB, b Backend, ids ...string) *Report {
	t.Helper()
	if err := b.validate(ids); err != nil {
		t.Fatal(err)
	}
	var results []Result
	for _, what := range behaviours() {
		if len(ids) == 0 || slices.Contains(ids, what.id) {
			results = append(results, check(t, b, what))
		}
	}
	return report(t, b, results)
}

// validate says what is wrong with a backend, or with the behaviours that it is asked for.
func (b Backend) validate(ids []string) error {
	if b.New == nil {
		return errors.New("backendtest: Backend.New: required")
	}
	for _, id := range ids {
		if !slices.Contains(IDs(), id) {
			return fmt.Errorf("backendtest: there is no behaviour %q, see IDs", id)
		}
	}
	return nil
}

// IDs returns the IDs of all behaviours, in the order of reports.
func IDs() []string {
	var ids []string
	for _, what := range behaviours() {
		ids = append(ids, what.id)
	}
	return ids
}

func report(t testing.TB, b Backend, results []Result) *Report {
	r := &Report{Backend: b.Name}
	if lacks, err := unsupportedFeatures(t, b); err == nil {
		r.Unsupported = lacks.String()
	}
	for _, res := range results {
		if res.ID != "" { // skipped
			r.Results = append(r.Results, res)
		}
	}
	return r
}

// unsupportedFeatures asks a sink in an empty namespace.
func unsupportedFeatures(t testing.TB, b Backend) (localsink.Features, error) {
	ns := netnstest.New(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lacks := b.Unsupported
	return lacks, ns.Run(func() error {
		sink, err := b.New(ctx, ns)
		if err != nil {
			return err
		}
		lacks |= unsupportedOf(sink)
		return closeSink(sink)
	})
}

// check tries one behaviour in a world of its own.
func check(t testing.TB, b Backend, what behaviour) Result {
	began := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := &checker{ctx: ctx, backend: b, behaviour: what, cells: map[variant]*Cell{}}
	res := Result{ID: what.id, Title: what.title}
	w, err := newTestbed(t)
	if err != nil {
		t.Fatal(err)
	}
	c.testbed = w
	if c.setUp() {
		if len(c.variants) > 0 { // otherwise it lacks all
			what.check(c)
		}
		c.tearDown()
	}
	for _, v := range allVariants() {
		if cell := c.cells[v]; cell != nil {
			cell.Variant = v.String()
			res.Cells = append(res.Cells, *cell)
		}
	}
	res.Notes, res.Duration = c.notes, time.Since(began)
	return res
}
