// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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
		c.failAll("New: %v", err)
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
		c.failAll("Close: %v", err)
	}
}

// restart simulates a restart of the proxy: it closes the sink and syncs a new one.
func (c *checker) restart() bool {
	c.tearDown()
	if err := c.createSink(); err != nil {
		c.failAll("New after Close: %v", err)
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
		c.failAll("Sync: %v", err)
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

// fail records a failure in a variant.
func (c *checker) fail(v variant, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cell := c.cells[v]
	cell.Outcome = OutcomeFailed
	if len(cell.Failures) < maxFailures {
		cell.Failures = append(cell.Failures, fmt.Sprintf(format, args...))
	}
}

// failAll records a failure in all variants.
func (c *checker) failAll(format string, args ...any) {
	for _, v := range c.variants {
		c.fail(v, format, args...)
	}
}

// note records a measurement for the report.
func (c *checker) note(format string, args ...any) {
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

// A step is a desired state and the probes that check it.
type step struct {
	services map[string]*localsink.Service
	probes   []probe
}

// addPort adds a port to the Service with a name and the family of the variant.
func (s *step) addPort(v variant, name string, p localsink.Port) {
	name += "-" + map[bool]string{false: "ipv4", true: "ipv6"}[v.v6]
	svc := s.services[name]
	if svc == nil {
		svc = &localsink.Service{Name: localsink.ServiceName{Namespace: "backendtest", Name: name}}
		s.services[name] = svc
	}
	p.Protocol = v.protocol
	if p.Name == "" {
		p.Name = v.protocol.String()
	}
	svc.Ports = append(svc.Ports, p)
}

// addProbes adds a probe from each client to each address.
func (s *step) addProbes(v variant, clients []client, addrs ...netip.AddrPort) {
	for _, cl := range clients {
		for _, to := range addrs {
			s.probes = append(s.probes, probe{variant: v, client: cl, to: to})
		}
	}
}

// build calls f for each variant and returns the resulting step.
func (c *checker) build(f func(s *step, v variant)) *step {
	s := &step{services: map[string]*localsink.Service{}}
	for _, v := range c.variants {
		f(s, v)
	}
	return s
}

func (s *step) state() localsink.State {
	var all []*localsink.Service
	for _, svc := range s.services {
		all = append(all, svc)
	}
	return sinktest.NewState(all...)
}

// syncAndCheck syncs the state of a step and checks its probes. It reports whether another
// step makes sense: the sync succeeded, and some variant has not failed.
func (c *checker) syncAndCheck(f func(s *step, v variant)) bool {
	s := c.build(f)
	if !c.sync(s.state()) {
		return false
	}
	c.check(s.probes)
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.variants, func(v variant) bool { return c.cells[v].Outcome == OutcomePassed })
}

// checkAgain checks the probes of a step without a sync.
func (c *checker) checkAgain(f func(s *step, v variant)) {
	c.check(c.build(f).probes)
}

// maxParallel limits concurrent probes.
const maxParallel = 64

// maxParallelRetries limits concurrent retries of probes to which the ICMP rate limit of the
// kernel may have applied.
const maxParallelRetries = 16

// check runs probes and compares their answers with the contract.
func (c *checker) check(probes []probe) {
	answers := c.run(probes)
	var retries []probe
	for i, p := range probes {
		switch mismatch := c.mismatch(p, answers[i]); {
		case mismatch == "":
		case c.expect(p).Refused:
			// The kernel limits ICMP messages per second, which is not a failure of the backend.
			retries = append(retries, p)
		default:
			c.fail(p.variant, "%s: expected %s, observed: %s", p, c.expect(p), mismatch)
		}
	}
	answers = c.runLimited(retries, maxParallelRetries, func(probe) time.Duration { return refusalTimeout })
	for i, p := range retries {
		if mismatch := c.mismatch(p, answers[i]); mismatch != "" {
			c.fail(p.variant, "%s: expected %s, observed: %s", p, c.expect(p), mismatch)
		}
	}
}

// run runs probes concurrently and returns their answers.
func (c *checker) run(probes []probe) []answer {
	return c.runLimited(probes, maxParallel, func(p probe) time.Duration {
		want := c.expect(p)
		if want.Dropped || len(want.Endpoints) == 0 && !want.Refused && !c.answersItself(p) {
			return silenceTimeout
		}
		if want.Refused {
			return refusalTimeout
		}
		return answerTimeout
	})
}

// runLimited runs at most parallel probes at a time. wait returns the timeout of a probe.
func (c *checker) runLimited(probes []probe, parallel int, wait func(probe) time.Duration) []answer {
	answers := make([]answer, len(probes))
	free := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i, p := range probes {
		timeout := wait(p)
		free <- struct{}{}
		wg.Go(func() {
			answers[i] = p.run(timeout)
			<-free
			c.count(p.variant, answers[i])
		})
	}
	wg.Wait()
	return answers
}

// count adds an answer to the statistics of a variant.
func (c *checker) count(v variant, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cell := c.cells[v]
	cell.Connections++
	if !a.silent {
		cell.SlowestAnswer = max(cell.SlowestAnswer, a.duration)
	}
}

// expect returns the answer that the contract requires.
func (c *checker) expect(p probe) sinktest.Answer {
	return sinktest.Trace(c.node, c.state, c.testbed.traceHost(), sinktest.Packet{
		From: p.from(), Interface: p.client.iface, To: p.to, Protocol: p.variant.protocol,
	})
}

// answersItself reports whether the destination answers or refuses without a Service. The
// kernel does not refuse SCTP on the node, because SCTP servers use raw sockets.
func (c *checker) answersItself(p probe) bool {
	return c.testbed.servers.listensOn(p.variant.protocol, p.to) || !p.variant.isSCTP() && slices.Contains(c.testbed.traceHost().Addrs, p.to.Addr())
}

// mismatch describes an answer that violates the contract. It returns "" for a valid one.
func (c *checker) mismatch(p probe, a answer) string {
	want := c.expect(p)
	switch {
	case want.Refused:
		return refusalMismatch(a)
	case want.Dropped:
		if !a.silent {
			return a.String()
		}
		return ""
	case len(want.Endpoints) > 0:
		return c.endpointMismatch(p, a, want.Endpoints, want.Masquerade)
	case c.testbed.servers.listensOn(p.variant.protocol, p.to):
		return c.endpointMismatch(p, a, []netip.AddrPort{p.to}, false) // not a Service: unchanged
	case c.answersItself(p):
		return refusalMismatch(a) // no process listens
	case a.err == nil:
		return a.String()
	}
	return ""
}

func refusalMismatch(a answer) string {
	if !a.refused || a.duration > refusalTimeout {
		return a.String()
	}
	return ""
}

func (c *checker) endpointMismatch(p probe, a answer, servers []netip.AddrPort, masquerade bool) string {
	if a.err != nil || !slices.Contains(servers, a.server) {
		return a.String()
	}
	nodes, hairpin := c.testbed.traceHost().Addrs, a.server.Addr() == p.from() && !slices.Contains(c.testbed.traceHost().Addrs, p.from())
	switch {
	case masquerade && slices.Contains(nodes, a.server.Addr()):
		return "" // replies pass through this node without masquerading
	case (masquerade || hairpin) && !slices.Contains(nodes, a.seen.Addr()):
		return a.String() + ", expected the endpoint to see an address of the node"
	case !masquerade && !hairpin && a.seen.Addr() != p.from():
		return a.String() + ", expected the endpoint to see the client address"
	}
	return ""
}
