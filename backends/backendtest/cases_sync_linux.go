// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func operationCases() []behaviour {
	all := []behaviour{
		{id: "repeated-update", title: "a repeated update changes nothing", check: repeatedUpdate},
		{id: "OP-14", title: "after a failed Sync, the next Sync applies everything", check: retryAfterError},
		{id: "OP-14-cut-off", title: "a canceled Sync loses no change", check: canceledSync},
		{id: "first-update", title: "the first update after a restart removes obsolete state", check: firstUpdate},
		{id: "OP-16", title: "the backend requests a resync after external changes and repairs them", check: driftRepaired},
		{id: "10000-services", title: "10,000 Services are programmed, and one change among them takes effect", services: serviceCount, check: manyServices},
	}
	for i := range all {
		all[i].needs |= localsink.FeatureClusterIP
	}
	return all
}

func repeatedUpdate(c *checker) {
	probes := func(s *step, v variant) {
		s.addProbes(v, c.testbed.clientsOfEachKind(), c.addAllKinds(s, v, "a", 1, v.podEndpoint(0), v.remoteEndpoint(0))...)
		s.addProbes(v, c.testbed.clientsOfEachKind(), s.addClusterIP(v, 2))
	}
	s := c.build(probes)
	for _, u := range []*localsink.Update{
		sinktest.NewUpdate(c.node, nil, s.state()),
		sinktest.NewUpdate(c.node, nil, s.state()),
		{Node: c.node, All: s.state()},
		{Node: c.node, All: s.state()},
	} {
		c.state = s.state()
		if err := c.driver.Sink.Sync(c.ctx, u); err != nil {
			c.failAllf("Sync: %v", err)
			return
		}
		c.check(s.probes)
	}
}

// retryAfterError fails in a sink behind the one under test, so that the update is not
// acknowledged although the backend programmed it. The next state differs from both.
func retryAfterError(c *checker) {
	failing := false
	injected := errors.New("injected")
	c.driver.Sink = localsink.Chain(c.driver.Sink, localsink.Func(func(context.Context, *localsink.Update) error {
		if failing {
			return injected
		}
		return nil
	}))
	form := func(i int) func(s *step, v variant) {
		return func(s *step, v variant) {
			unused := c.build(func(*step, variant) {})
			for j := range 4 {
				target := s
				if i&(1<<j) == 0 {
					target = unused
				}
				s.addProbes(v, c.testbed.clientsOfEachKind(), target.addClusterIP(v, 1+j, v.endpoints()[(i+j)%6]))
			}
		}
	}
	for i, round := range []struct{ failed, then int }{{3, 6}, {9, 6}, {15, 0}, {5, 0}, {10, 5}, {2, 5}, {7, 13}} {
		failing = true
		c.state = c.build(form(round.failed)).state()
		if err := c.driver.Sync(c.ctx, c.state); !errors.Is(err, injected) {
			c.failAllf("round %d: Sync: %v, expected the injected error", i, err)
			return
		}
		failing = false
		if !c.syncAndCheck(form(round.then)) {
			return
		}
	}
}

func canceledSync(c *checker) {
	form := func(i int) func(s *step, v variant) {
		return func(s *step, v variant) {
			for j := range 50 {
				to := s.addClusterIP(v, 1+j, v.endpoints()[(i+j)%6], v.endpoints()[(i+j+1)%6])
				if j < 3 {
					s.addProbes(v, c.testbed.clientsOfEachKind(), to)
				}
			}
		}
	}
	for i := range 12 {
		ctx, cancel := context.WithTimeout(c.ctx, time.Duration(i*i)*100*time.Microsecond)
		_ = c.driver.Sync(ctx, c.build(form(i)).state())
		cancel()
		if i%3 == 2 && !c.syncAndCheck(form(i+i%2)) {
			return
		}
	}
}

func firstUpdate(c *checker) {
	before := func(s *step, v variant) {
		for i := range 2 {
			s.addProbes(v, c.testbed.clientsOfEachKind(), c.addAllKinds(s, v, fmt.Sprint("a", i), i+1, v.podEndpoint(i))...)
		}
	}
	if !c.syncAndCheck(before) {
		return
	}
	c.tearDown()
	if err := c.createSink(); err != nil {
		c.failAllf("New: %v", err)
		return
	}
	c.syncAndCheck(func(s *step, v variant) { c.addAllKinds(s, v, "a1", 2, v.podEndpoint(3)) })
	c.check(c.build(before).probes)
}

// resyncRequesters returns the parts of the sink that can request a resync.
func (c *checker) resyncRequesters() []localsink.ResyncRequester {
	var all []localsink.ResyncRequester
	for s := range localsink.Walk(c.sink) {
		if r, ok := s.(localsink.ResyncRequester); ok {
			all = append(all, r)
		}
	}
	return all
}

// awaitResyncRequest reports whether a part of the sink requests a resync in time.
func (c *checker) awaitResyncRequest() bool {
	ctx, cancel := context.WithTimeout(c.ctx, c.testbed.limits.Answer)
	defer cancel()
	requested := make(chan struct{}, 10)
	for _, r := range c.resyncRequesters() {
		go func() {
			select {
			case <-r.ResyncRequested():
				requested <- struct{}{}
			case <-ctx.Done():
			}
		}()
	}
	select {
	case <-requested:
		return true
	case <-ctx.Done():
		return false
	}
}

// untested records that the behaviour cannot be tested in any variant.
func (c *checker) untested(reason string) {
	for _, v := range c.variants {
		c.cells[v].Outcome, c.cells[v].Reason = OutcomeUntested, reason
	}
}

func driftRepaired(c *checker) {
	if c.backend.Drift == nil || len(c.resyncRequesters()) == 0 {
		c.untested("the sink is no ResyncRequester, or Backend.Drift is nil")
		return
	}
	probes := func(s *step, v variant) {
		s.addProbes(v, c.testbed.clientsOfEachKind(), c.addAllKinds(s, v, "a", 1, v.podEndpoint(0), v.remoteEndpoint(0))...)
		s.addProbes(v, c.testbed.clientsOfEachKind(), s.addClusterIP(v, 2))
	}
	if !c.syncAndCheck(probes) {
		return
	}
	for range 2 {
		start := time.Now()
		if err := c.testbed.node.Run(c.backend.Drift); err != nil {
			c.failAllf("Drift: %v", err)
			return
		}
		if !c.awaitResyncRequest() {
			c.failAllf("no resync requested within %v after Drift", c.testbed.limits.Answer)
			return
		}
		if !c.sync(c.state) {
			return
		}
		c.notef("drift was detected and repaired in %v", time.Since(start).Round(time.Millisecond))
		c.checkAgain(probes)
	}
}

// serviceCount is the number of Services of both families together.
const serviceCount = 10000

func manyServices(c *checker) {
	if c.lacksSockets(serviceCount / 2 * len(c.variants)) {
		return
	}
	form := func(change int) func(s *step, v variant) {
		return func(s *step, v variant) {
			for i := range serviceCount / 2 {
				fe := v.frontend(localsink.KindClusterIP, 1)
				fe.Addr = netip.AddrPortFrom(manyClusterIP(v, i), 80)
				e := v.endpoints()
				endpoints := []localsink.Endpoint{e[i%6], e[(i+1)%6]}
				if i == 2345 {
					endpoints = []localsink.Endpoint{e[change%6]}
				}
				s.addPort(v, fmt.Sprint("s", i), localsink.Port{Pools: onePool(endpoints...), Frontends: []localsink.Frontend{fe}})
				if i%1000 == 345 {
					s.addProbes(v, c.testbed.clientsOfEachKind(), fe.Addr, netip.AddrPortFrom(fe.Addr.Addr(), 81))
				}
			}
		}
	}
	s := c.build(form(0))
	start := time.Now()
	if !c.sync(s.state()) {
		return
	}
	c.notef("%d Services with %d ports were programmed in %v", c.state.Len(), countPorts(c.state), time.Since(start).Round(time.Millisecond))
	c.check(s.probes)
	for i := range 3 {
		s = c.build(form(i + 1))
		next := s.state()
		u := sinktest.NewUpdate(c.node, c.state, next)
		start = time.Now()
		c.state = next
		if err := c.driver.Sink.Sync(c.ctx, u); err != nil {
			c.failAllf("Sync: %v", err)
			return
		}
		if i == 2 {
			c.notef("one endpoint among them was replaced in %v", time.Since(start).Round(10*time.Microsecond))
		}
		c.check(s.probes)
	}
}

func countPorts(state localsink.State) int {
	n := 0
	for svc := range state.All() {
		n += len(svc.Ports)
	}
	return n
}

// manyClusterIP returns cluster IP i of a range for thousands of Services.
func manyClusterIP(v variant, i int) netip.Addr {
	if v.v6 {
		return netip.MustParseAddr(fmt.Sprintf("fd00:97::%x", i+1))
	}
	return netip.AddrFrom4([4]byte{10, 97, byte(i >> 8), byte(i)})
}
