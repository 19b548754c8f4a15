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

// A behaviour is one thing that a right backend does.
type behaviour struct {
	id, title string
	needs     localsink.Features   // beside those of the variant
	loopback  bool                 // it also needs Backend.LoopbackNodePorts
	protocols []localsink.Protocol // nil is all
	check     func(c *checker)
}

// maxFailures is how many are told for each cell.
const maxFailures = 5

// A checker tries one behaviour, in all variants at a time.
type checker struct {
	ctx      context.Context
	backend  Backend
	behaviour     behaviour
	testbed        *testbed
	variants []variant // that are tried

	sink   localsink.Sink
	cancel context.CancelFunc // of the sink
	driver *sinktest.Driver
	node   *localsink.Node
	state  localsink.State // that was synced last

	mu    sync.Mutex
	cells map[variant]*Cell
	notes []string
}

// setUp makes the first sink, and sorts out the variants.
func (c *checker) setUp() bool {
	c.node = testbedNode()
	err := c.createSink()
	lacks := c.backend.Unsupported
	if err == nil {
		lacks |= unsupportedOf(c.sink)
	}
	for _, v := range allVariants() {
		if c.behaviour.protocols != nil && !slices.Contains(c.behaviour.protocols, v.protocol) {
			continue
		}
		cell := &Cell{Outcome: OutcomePassed}
		c.cells[v] = cell
		switch missing := (v.needs() | c.behaviour.needs) & lacks; {
		case missing != 0:
			cell.Outcome, cell.Reason = OutcomeUnsupported, "the backend lacks "+missing.String()
		case c.behaviour.loopback && !c.backend.LoopbackNodePorts:
			cell.Outcome, cell.Reason = OutcomeUnsupported, "the backend does not say that node ports answer on loopback addresses"
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

// createSink makes a sink.
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
	inside := localsink.Func(func(ctx context.Context, u *localsink.Update) error {
		return c.testbed.node.Run(func() error { return c.sink.Sync(ctx, u) })
	})
	c.driver = &sinktest.Driver{Sink: inside, Node: c.node}
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

// restart is what happens when the program ends and starts again.
func (c *checker) restart() bool {
	c.tearDown()
	if err := c.createSink(); err != nil {
		c.failAll("New after Close: %v", err)
		return false
	}
	return c.sync(c.state)
}

// syncTimeout is how long one Sync may take.
const syncTimeout = time.Minute

// sync brings the sink to a state.
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

// changeNode tells the sink of another node, with the state as it is.
func (c *checker) changeNode(node *localsink.Node) bool {
	c.node = node
	c.driver = &sinktest.Driver{Sink: c.driver.Sink, Node: node}
	return c.sync(c.state)
}

// unsupportedOf returns what a sink and all in it say they lack.
func unsupportedOf(sink localsink.Sink) localsink.Features {
	var lacks localsink.Features
	for s := range localsink.Walk(sink) {
		if l, ok := s.(localsink.FeatureReporter); ok {
			lacks |= l.Unsupported()
		}
	}
	return lacks
}

// closeSink closes a sink: itself if it can be, or else what is in it.
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

// unsupported is what the backend says it lacks.
func (c *checker) unsupported() localsink.Features { return c.backend.Unsupported | unsupportedOf(c.sink) }

// fail notes that something was wrong in a variant.
func (c *checker) fail(v variant, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cell := c.cells[v]
	cell.Outcome = OutcomeFailed
	if len(cell.Failures) < maxFailures {
		cell.Failures = append(cell.Failures, fmt.Sprintf(format, args...))
	}
}

func (c *checker) failAll(format string, args ...any) {
	for _, v := range c.variants {
		c.fail(v, format, args...)
	}
}

// note keeps a measurement.
func (c *checker) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// eachVariant runs f for all variants, at a time.
func (c *checker) eachVariant(f func(v variant)) {
	var wg sync.WaitGroup
	for _, v := range c.variants {
		wg.Go(func() { f(v) })
	}
	wg.Wait()
}

// A step is a state, and the probes that tell whether it is in effect.
type step struct {
	services map[string]*localsink.Service
	probes   []probe
}

// addPort adds a port to the Service of that name and the variant's family.
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

// addProbes adds probes from all of some clients to all of some addresses.
func (s *step) addProbes(v variant, clients []client, addrs ...netip.AddrPort) {
	for _, cl := range clients {
		for _, to := range addrs {
			s.probes = append(s.probes, probe{variant: v, client: cl, to: to})
		}
	}
}

// build asks f for the state and the probes of all variants.
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

// syncAndCheck syncs the state of a step and tries its probes. It is false when there is no
// sense in another step: the sink could not be synced, or all variants have failed.
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

// checkAgain is step that leaves the state as it is.
func (c *checker) checkAgain(f func(s *step, v variant)) {
	c.check(c.build(f).probes)
}

// maxParallel is how many connect at a time.
const maxParallel = 64

// A small crowd is asked again where the limit of ICMP messages may have struck.
const maxParallelRetries = 16

// check compares what comes of probes with what must come of them.
func (c *checker) check(probes []probe) {
	answers := c.run(probes)
	var again []probe
	for i, p := range probes {
		switch wrong := c.mismatch(p, answers[i]); {
		case wrong == "":
		case c.expect(p).Refused:
			// Kernels limit the ICMP messages of a second, which is no fault of the backend.
			again = append(again, p)
		default:
			c.fail(p.variant, "%s: wanted %s: %s", p, c.expect(p), wrong)
		}
	}
	answers = c.runLimited(again, maxParallelRetries, func(probe) time.Duration { return refusalTimeout })
	for i, p := range again {
		if wrong := c.mismatch(p, answers[i]); wrong != "" {
			c.fail(p.variant, "%s: wanted %s: %s", p, c.expect(p), wrong)
		}
	}
}

// run tries probes, many at a time.
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

func (c *checker) runLimited(probes []probe, atATime int, wait func(probe) time.Duration) []answer {
	answers := make([]answer, len(probes))
	free := make(chan struct{}, atATime)
	var wg sync.WaitGroup
	for i, p := range probes {
		patience := wait(p)
		free <- struct{}{}
		wg.Go(func() {
			answers[i] = p.run(patience)
			<-free
			c.count(p.variant, answers[i])
		})
	}
	wg.Wait()
	return answers
}

func (c *checker) count(v variant, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cell := c.cells[v]
	cell.Connections++
	if !a.silent {
		cell.SlowestAnswer = max(cell.SlowestAnswer, a.duration)
	}
}

// expect reads in the contract what must come of a probe.
func (c *checker) expect(p probe) sinktest.Answer {
	return sinktest.Trace(c.node, c.state, c.testbed.traceHost(), sinktest.Packet{
		From: p.from(), Interface: p.client.iface, To: p.to, Protocol: p.variant.protocol,
	})
}

// answersItself tells whether an address that is no Service's is known to answer or refuse. The
// kernel does not refuse SCTP at its own addresses, where servers of the test listen.
func (c *checker) answersItself(p probe) bool {
	return c.testbed.servers.listensOn(p.variant.protocol, p.to) || !p.variant.isSCTP() && slices.Contains(c.testbed.traceHost().Addrs, p.to.Addr())
}

// mismatch says what is wrong with an answer, or nothing.
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
		return c.endpointMismatch(p, a, []netip.AddrPort{p.to}, false) // it passes by
	case c.answersItself(p):
		return refusalMismatch(a) // by the kernel, of what nobody listens to
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
		return "" // the answer comes back through this node anyway
	case (masquerade || hairpin) && !slices.Contains(nodes, a.seen.Addr()):
		return a.String() + ", and not an address of the node"
	case !masquerade && !hairpin && a.seen.Addr() != p.from():
		return a.String() + ", and not the client"
	}
	return ""
}
