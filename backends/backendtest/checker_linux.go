// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A behaviour is one rule of the contract.
type behaviour struct {
	id, title string
	needs     localsink.Features   // in addition to those of the variant
	loopback  bool                 // also needs Backend.LoopbackNodePorts
	protocols []localsink.Protocol // nil is all
	check     func(c *checker)
}

// maxFailures limits the failures that a Cell lists.
const maxFailures = 5

// A checker checks one behaviour in all variants at the same time.
type checker struct {
	ctx       context.Context
	backend   Backend
	behaviour behaviour
	testbed   *testbed
	variants  []variant // supported and testable

	sink   localsink.Sink
	cancel context.CancelFunc // of the sink
	driver *sinktest.Driver
	node   *localsink.Node
	state  localsink.State // of the last Sync, successful or not

	mu    sync.Mutex // guards cells and notes
	cells map[variant]*Cell
	notes []string
}

// setUp creates the first sink and determines the variants to check. It reports whether the
// sink could be created.
func (c *checker) setUp() bool {
	c.node = testbedNode()
	err := c.createSink()
	unsupported := c.backend.Unsupported
	if err == nil {
		unsupported |= unsupportedOf(c.sink)
	}
	for _, v := range allVariants() {
		if c.behaviour.protocols != nil && !slices.Contains(c.behaviour.protocols, v.protocol) {
			continue
		}
		cell := &Cell{Outcome: OutcomePassed}
		c.cells[v] = cell
		switch missing := (v.needs() | c.behaviour.needs) & unsupported; {
		case missing != 0:
			cell.Outcome, cell.Reason = OutcomeUnsupported, "the backend does not support "+missing.String()
		case c.behaviour.loopback && !c.backend.LoopbackNodePorts:
			cell.Outcome, cell.Reason = OutcomeUnsupported, "Backend.LoopbackNodePorts is false"
		case v.isSCTP() && untestedSCTP() != "":
			cell.Outcome, cell.Reason = OutcomeUntested, untestedSCTP()
		default:
			c.variants = append(c.variants, v)
		}
	}
	if err != nil {
		c.failAllf("New: %v", err)
		return false
	}
	return true
}

// createSink creates a sink without state.
func (c *checker) createSink() error {
	ctx, cancel := context.WithCancel(c.ctx)
	err := c.testbed.node.Run(func() (err error) {
		c.sink, err = c.backend.New(ctx, c.testbed.node)
		return err
	})
	if err != nil {
		cancel()
		return err
	}
	c.cancel = cancel
	inNamespace := localsink.Func(func(ctx context.Context, u *localsink.Update) error {
		return c.testbed.node.Run(func() error { return c.sink.Sync(ctx, u) })
	})
	c.driver = &sinktest.Driver{Sink: inNamespace, Node: c.node}
	return nil
}

// tearDown closes the sink.
func (c *checker) tearDown() {
	err := c.testbed.node.Run(func() error { return closeSink(c.sink) })
	c.cancel()
	if err != nil {
		c.failAllf("Close: %v", err)
	}
}

// restart simulates a restart of the proxy: it closes the sink and syncs a new one.
func (c *checker) restart() bool {
	c.tearDown()
	if err := c.createSink(); err != nil {
		c.failAllf("New after Close: %v", err)
		return false
	}
	return c.sync(c.state)
}

// syncTimeout limits the duration of one Sync.
const syncTimeout = time.Minute

// sync syncs a state and reports whether that succeeded.
func (c *checker) sync(state localsink.State) bool {
	ctx, cancel := context.WithTimeout(c.ctx, syncTimeout)
	defer cancel()
	c.state = state
	if err := c.driver.Sync(ctx, state); err != nil {
		c.failAllf("Sync: %v", err)
		return false
	}
	return true
}

// changeNode syncs another node with the same state.
func (c *checker) changeNode(node *localsink.Node) bool {
	c.node = node
	c.driver = &sinktest.Driver{Sink: c.driver.Sink, Node: node}
	return c.sync(c.state)
}

// unsupportedOf returns the features that a sink and those inside report as unsupported.
func unsupportedOf(sink localsink.Sink) localsink.Features {
	var unsupported localsink.Features
	for s := range localsink.Walk(sink) {
		if r, ok := s.(localsink.FeatureReporter); ok {
			unsupported |= r.Unsupported()
		}
	}
	return unsupported
}

// closeSink calls Close of a sink, or of the sinks inside if it has none.
func closeSink(sink localsink.Sink) error {
	switch s := sink.(type) {
	case interface{ Close() error }:
		return s.Close()
	case interface{ Close() }:
		s.Close()
	case interface{ Sinks() []localsink.Sink }:
		var errs []error
		for _, inner := range s.Sinks() {
			errs = append(errs, closeSink(inner))
		}
		return errors.Join(errs...)
	}
	return nil
}

// unsupported returns the features that the backend does not support.
func (c *checker) unsupported() localsink.Features {
	return c.backend.Unsupported | unsupportedOf(c.sink)
}

// failf records a failure in a variant.
func (c *checker) failf(v variant, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cell := c.cells[v]
	cell.Outcome = OutcomeFailed
	if len(cell.Failures) < maxFailures {
		cell.Failures = append(cell.Failures, fmt.Sprintf(format, args...))
	}
}

// failAllf records a failure in all variants.
func (c *checker) failAllf(format string, args ...any) {
	for _, v := range c.variants {
		c.failf(v, format, args...)
	}
}

// notef records a measurement for the report.
func (c *checker) notef(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// eachVariant runs f for all variants concurrently.
func (c *checker) eachVariant(f func(v variant)) {
	var wg sync.WaitGroup
	for _, v := range c.variants {
		wg.Go(func() { f(v) })
	}
	wg.Wait()
}
