// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/localsink"
)

// A kit is one run over the behaviours of a backend, with what is the same for all of them.
type kit struct {
	backend     Backend
	unsupported localsink.Features
	// untestedSCTP is why SCTP cannot be tested, or "". It is determined once, after a sink
	// of the backend has loaded the kernel's modules.
	untestedSCTP string
	deadline     time.Time // zero without a time limit of the test
	// unusable reports that the backend fails the behaviour basicID in every variant.
	unusable bool
}

// basicID is the behaviour on which most others depend.
const basicID = "DP-01"

// reserve is the time before the deadline of the test at which the kit ends, to return its
// report.
const reserve = 10 * time.Second

func newKit(t testing.TB, b Backend) *kit {
	t.Helper()
	k := &kit{backend: b, unsupported: b.Unsupported}
	k.backend.TimeLimits = b.TimeLimits.withDefaults()
	if err := checkOpenFiles(); err != nil {
		t.Fatal(err)
	}
	if limited, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if deadline, ok := limited.Deadline(); ok {
			k.deadline = deadline.Add(-reserve)
		}
	}
	c := k.newChecker(t, behaviour{})
	defer c.cancelAll()
	if c.createSink() == nil { // otherwise each behaviour reports the error
		k.unsupported |= unsupportedOf(c.sink)
		c.variants = []variant{{protocol: localsink.ProtocolTCP}}
		c.sync(c.build(func(s *step, v variant) { s.addClusterIP(v, 1, v.podEndpoint(0)) }).state())
		c.tearDown()
	}
	k.untestedSCTP = untestedSCTP(c.testbed.node)
	return k
}

// openFilesPerBehaviour is an upper bound of the descriptors that one behaviour needs at a
// time: "zero-resets" holds both ends of 1,000 connections, in several families and protocols.
const openFilesPerBehaviour = 5000

// checkOpenFiles returns an error if the limit of open files is too low for the behaviours
// that run at the same time.
func checkOpenFiles() error {
	parallel := 1
	if f := flag.Lookup("test.parallel"); f != nil {
		if n, err := strconv.Atoi(f.Value.String()); err == nil {
			parallel = min(n, len(behaviours()))
		}
	}
	limit, err := openFilesLimit()
	if err != nil {
		return fmt.Errorf("backendtest: %w", err)
	}
	if need := uint64(parallel) * openFilesPerBehaviour; limit < need {
		return fmt.Errorf("backendtest: the limit of open files is %d; %d are needed with -parallel %d: raise it with ulimit -n, or lower -parallel",
			limit, need, parallel)
	}
	return nil
}

func openFilesLimit() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	return limit.Cur, nil
}

// newChecker returns a checker of a behaviour, in a new testbed, without a sink. Call
// cancelAll when it is no longer used.
func (k *kit) newChecker(t testing.TB, bh behaviour) *checker {
	c := &checker{kit: k, backend: k.backend, behaviour: bh, cells: map[variant]*Cell{}, testbed: newTestbed(t, k.backend.TimeLimits)}
	c.ctx, c.cancelAll = context.WithCancel(context.Background())
	if !k.deadline.IsZero() {
		c.ctx, c.cancelAll = context.WithDeadline(context.Background(), k.deadline)
	}
	c.node = testbedNode()
	if bh.twoNodes {
		bh.twoNodes = false
		c.peer = k.newChecker(t, bh)
		cancelOne := c.cancelAll
		c.cancelAll = func() {
			cancelOne()
			c.peer.cancelAll()
		}
	}
	return c
}

// check checks one behaviour in a new testbed. When the time limit of the test is near, it
// returns what is known, and abandons the rest.
func (k *kit) check(t testing.TB, bh behaviour) Result {
	if k.unusable {
		return untested(bh, basicID+" fails in every variant")
	}
	start := time.Now()
	c := k.newChecker(t, bh)
	defer c.cancelAll()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.checkBehaviour()
	}()
	select {
	case <-done:
	case <-c.ctx.Done():
		select {
		case <-done: // ended by the context
		case <-time.After(reserve / 5):
		}
	}
	if errors.Is(c.ctx.Err(), context.DeadlineExceeded) {
		c.expire()
	}
	return c.result(time.Since(start))
}

// untested returns the result of a behaviour that is not checked.
func untested(bh behaviour, reason string) Result {
	res := Result{ID: bh.id, Title: bh.title}
	for _, v := range bh.variants() {
		res.Cells = append(res.Cells, Cell{Variant: v.String(), Outcome: OutcomeUntested, Reason: reason})
	}
	return res
}

// checkBehaviour runs the check of the behaviour in the testbed.
func (c *checker) checkBehaviour() {
	if !c.setUp() {
		return
	}
	ready := len(c.variants) > 0 // otherwise no variant is supported
	if c.peer != nil {
		ready = c.peer.setUp() && ready
		defer c.addPeer()
		defer c.peer.tearDown()
	}
	if ready {
		c.behaviour.check(c)
	}
	c.tearDown()
}

// expire records that the behaviour was not finished in time.
func (c *checker) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.behaviour.variants() {
		cell := c.cells[v]
		if cell == nil {
			cell = &Cell{Outcome: OutcomePassed}
			c.cells[v] = cell
		}
		if cell.Outcome == OutcomePassed || cell.Outcome == OutcomeFailed {
			cell.Outcome = OutcomeFailed
			cell.Failures = append(cell.Failures, "not finished within the time limit of the test, see -timeout")
		}
	}
}

// result returns a copy of what is recorded.
func (c *checker) result(duration time.Duration) Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	res := Result{ID: c.behaviour.id, Title: c.behaviour.title, Notes: slices.Clone(c.notes), Duration: duration}
	for _, v := range allVariants() {
		if cell := c.cells[v]; cell != nil {
			copied := *cell
			copied.Variant, copied.Failures = v.String(), slices.Clone(cell.Failures)
			res.Cells = append(res.Cells, copied)
		}
	}
	if res.Failed() {
		res.Hint = hintFor(res.ID)
	}
	return res
}

// report returns the report of results. It leaves out the empty results of skipped subtests.
func (k *kit) report(results []Result) *Report {
	r := &Report{Backend: k.backend.Name, Unsupported: k.unsupported.String()}
	for _, res := range results {
		if res.ID != "" {
			r.Results = append(r.Results, res)
		}
	}
	return r
}
