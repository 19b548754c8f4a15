// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	shared    bool                 // is about affinity entries that frontends share
	twoNodes  bool                 // check uses checker.peer
	protocols []localsink.Protocol // nil is all
	services  int                  // also needs Backend.MaxServices, or no limit
	noProxy   string               // why a proxy cannot have the behaviour, see Backend.Proxy; "" if it can
	noSockets string               // why translation at sockets cannot have the behaviour, see Backend.Sockets; "" if it can
	check     func(c *checker)
}

// maxFailures limits the failures that a Cell lists.
const maxFailures = 5

// A checker checks one behaviour in all variants at the same time.
type checker struct {
	ctx       context.Context
	cancelAll context.CancelFunc // of ctx
	kit       *kit
	backend   Backend
	behaviour behaviour
	testbed   *testbed
	variants  []variant // supported and testable

	// peer checks the same behaviour on a second node, with a sink and a testbed of its own
	// and the same addresses; nil unless the behaviour has two nodes.
	peer *checker

	sink   localsink.Sink
	cancel context.CancelFunc // of the sink
	driver *sinktest.Driver
	node   *localsink.Node
	state  localsink.State // of the last Sync, successful or not
	// abandoned reports whether a call of the sink did not return: it is not called again.
	abandoned bool

	mu    sync.Mutex // guards cells and notes
	cells map[variant]*Cell
	notes []string
}

// setUp creates the first sink, determines the variants to check, and starts the servers.
// It reports whether the sink could be created.
func (c *checker) setUp() bool {
	err := c.createSink()
	unsupported := c.backend.Unsupported
	if err == nil {
		unsupported |= unsupportedOf(c.sink)
	}
	for _, v := range c.behaviour.variants() {
		cell := &Cell{Outcome: OutcomePassed}
		switch missing := (v.needs() | c.behaviour.needs) & unsupported; {
		case missing != 0:
			cell.Outcome, cell.Reason = OutcomeUnsupported, "the backend does not support "+missing.String()
		case c.behaviour.shared && c.backend.AffinityPerFrontend:
			cell.Outcome, cell.Reason = OutcomeUnsupported, "Backend.AffinityPerFrontend is true"
		case c.exception(v) != "":
			cell.Outcome, cell.Reason = OutcomeUnsupported, c.exception(v)
		case c.behaviour.loopback && !c.backend.LoopbackNodePorts:
			cell.Outcome, cell.Reason = OutcomeUnsupported, "Backend.LoopbackNodePorts is false"
		case c.backend.Proxy && c.behaviour.noProxy != "":
			cell.Outcome, cell.Reason = OutcomeUnsupported, "Backend.Proxy: "+c.behaviour.noProxy
		case c.backend.Sockets && c.behaviour.noSockets != "" && !v.isSCTP():
			cell.Outcome, cell.Reason = OutcomeUnsupported, "Backend.Sockets: "+c.behaviour.noSockets
		case c.backend.MaxServices > 0 && c.behaviour.services > c.backend.MaxServices:
			cell.Outcome, cell.Reason = OutcomeUnsupported, fmt.Sprintf("Backend.MaxServices is %d", c.backend.MaxServices)
		case v.isSCTP() && c.kit.untestedSCTP != "":
			cell.Outcome, cell.Reason = OutcomeUntested, c.kit.untestedSCTP
		default:
			c.variants = append(c.variants, v)
		}
		c.mu.Lock()
		c.cells[v] = cell
		c.mu.Unlock()
	}
	if err != nil {
		c.failAllf("New: %v", err)
		return false
	}
	for _, v := range allVariants() {
		if v.isSCTP() && c.kit.untestedSCTP != "" {
			continue
		}
		if err := c.testbed.startServers(v); err != nil {
			c.failAllf("%v", err)
			c.tearDown()
			return false
		}
	}
	return true
}

// exception returns why the dataplane cannot have the behaviour, or "".
func (c *checker) exception(v variant) string {
	return cmp.Or(c.backend.Exceptions[c.behaviour.id], c.backend.Exceptions[c.behaviour.id+" "+v.String()])
}

// variants returns the variants to which the behaviour applies.
func (bh behaviour) variants() []variant {
	return slices.DeleteFunc(allVariants(), func(v variant) bool {
		return bh.protocols != nil && !slices.Contains(bh.protocols, v.protocol)
	})
}

// createSink creates a sink without state.
func (c *checker) createSink() error {
	ctx, cancel := context.WithCancel(c.ctx)
	var sink localsink.Sink
	err := c.call("New", func() (err error) {
		sink, err = c.backend.New(ctx, c.testbed.nodeNamespace())
		return err
	})
	if err != nil {
		cancel()
		return err
	}
	c.sink, c.cancel = sink, cancel
	inNamespace := localsink.Func(func(ctx context.Context, u *localsink.Update) error {
		return c.callUntil(ctx, "Sync", func() error { return sink.Sync(ctx, u) })
	})
	c.driver = &sinktest.Driver{Sink: inNamespace, Node: c.node}
	return nil
}

// abandonAfter is how long a call of the backend may go on after its context has ended.
const abandonAfter = 5 * time.Second

// errAbandoned is the error of calls after one that did not return.
var errAbandoned = errors.New("not called: an earlier call of the backend did not return")

// call calls f, a part of the backend, in the namespace of the node.
func (c *checker) call(name string, f func() error) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.testbed.limits.Sync)
	defer cancel()
	return c.callUntil(ctx, name, f)
}

// callUntil is [checker.call] with a context. If f does not return soon after ctx ends, it
// is abandoned together with the sink.
func (c *checker) callUntil(ctx context.Context, name string, f func() error) error {
	if c.abandoned {
		return errAbandoned
	}
	done := make(chan error, 1)
	go func() { done <- c.testbed.node.Run(f) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(abandonAfter):
		c.abandoned = true
		return fmt.Errorf("%s has not returned %v after the end of its time limit or context", name, abandonAfter)
	}
}

// tearDown closes the sink.
func (c *checker) tearDown() {
	err := c.call("Close", func() error { return closeSink(c.sink) })
	c.cancel()
	if err != nil && !errors.Is(err, errAbandoned) {
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

// sync syncs a state and reports whether that succeeded.
func (c *checker) sync(state localsink.State) bool {
	ctx, cancel := context.WithTimeout(c.ctx, c.testbed.limits.Sync)
	defer cancel()
	c.state = state
	if err := c.driver.Sync(ctx, state); err != nil {
		c.failAllf("Sync: %v", err)
		return false
	}
	return true
}

// replaceNode syncs another node with the same state, as a change of the node alone.
func (c *checker) replaceNode(node *localsink.Node) bool {
	c.node, c.driver.Node = node, node
	return c.sync(c.state)
}

// changeNode syncs another node with the same state, as a first update.
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
	if cell == nil { // before setUp
		cell = &Cell{}
		c.cells[v] = cell
	}
	cell.Outcome = OutcomeFailed
	if len(cell.Failures) < maxFailures {
		cell.Failures = append(cell.Failures, capText(fmt.Sprintf(format, args...)))
	}
}

// maxFailureText limits the bytes of one failure: an error of a backend may contain all its
// rules.
const maxFailureText = 500

// capText shortens a text to [maxFailureText].
func capText(text string) string {
	if len(text) <= maxFailureText {
		return text
	}
	const end = "... (%d bytes in total)"
	return strings.ToValidUTF8(text[:maxFailureText-len(end)-10], "") + fmt.Sprintf(end, len(text))
}

// failAllf records a failure in all variants.
func (c *checker) failAllf(format string, args ...any) {
	for _, v := range c.variants {
		c.failf(v, format, args...)
	}
}

// addPeer adds the failures and connections of the second node.
func (c *checker) addPeer() {
	for v, cell := range c.peer.cells {
		for _, failure := range cell.Failures {
			c.failf(v, "second node: %s", failure)
		}
		c.mu.Lock()
		c.cells[v].Connections += cell.Connections
		c.mu.Unlock()
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
