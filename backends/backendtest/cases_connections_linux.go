// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

func flowCases() []behaviour {
	tcp, udp := []localsink.Protocol{localsink.ProtocolTCP}, []localsink.Protocol{localsink.ProtocolUDP}
	all := []behaviour{
		{id: "DP-14", title: "established connections go on when their endpoint leaves the pool", protocols: tcp, check: flowsSurviveEndpoints},
		{id: "DP-14-update", title: "established connections go on while their Service and others change", check: flowsSurviveChanges},
		{id: "DP-34", title: "established connections go on when their client is shut out later, and new ones get no answer",
			needs: localsink.FeatureLoadBalancer | localsink.FeatureSourceRanges, check: sourceRangesLater},
		{id: "CT-02", title: "UDP flows to an endpoint that is retained go on", protocols: udp, check: flowsToDrainingEndpoint},
		{id: "CT-03", title: "a UDP client that goes on sending reaches another endpoint when its own is gone", protocols: udp, check: udpEndpointReplaced},
		{id: "CT-03-first", title: "a UDP client that began before there was an endpoint reaches the first one", protocols: udp, check: udpBeforeFirstEndpoint},
		{id: "CT-08", title: "UDP flows end with their Service", protocols: udp, check: udpServiceRemoved},
		{id: "churn", title: "no new connection fails while endpoints come and go", check: churn},
		{id: "OP-05", title: "a restart of the program fails no new connection and ends no established one", check: restartWithTraffic},
	}
	for i := range all {
		all[i].needs |= localsink.FeatureClusterIP | localsink.FeatureNodePort
	}
	return all
}

// addBusyService has a cluster IP and a node port, and clients everywhere.
func (c *checker) addBusyService(s *step, v variant, retained []localsink.Endpoint, endpoints ...localsink.Endpoint) {
	ip, port := v.frontend(localsink.KindClusterIP, 1), v.frontend(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})
	p := localsink.Port{Pools: poolList(newPool(endpoints...)), Frontends: []localsink.Frontend{ip, port}}
	for _, e := range sorted(retained) {
		p.Draining = append(p.Draining, e.Addr)
	}
	s.addPort(v, "busy", p)
	s.addProbes(v, c.testbed.clientsOfEachKind(), v.destinationsOf(ip, port)...)
}

// openFlows opens a flow for each probe.
func (c *checker) openFlows(probes []probe) []*flow {
	var flows []*flow
	for _, p := range probes {
		f, err := p.open(answerTimeout)
		c.count(p.variant, answer{})
		if err != nil {
			c.fail(p.variant, "%s: %v", p, err)
			continue
		}
		flows = append(flows, f)
	}
	return flows
}

// checkFlows checks that flows go on, to where they went before.
func (c *checker) checkFlows(when string, flows []*flow) {
	var wg sync.WaitGroup
	for _, f := range flows {
		wg.Go(func() {
			if err := f.exchange(64); err != nil {
				c.fail(f.variant, "%s: %s, which had reached %s: %v", when, f.probe, f.server, err)
			}
		})
	}
	wg.Wait()
}

func closeAll(flows []*flow) {
	for _, f := range flows {
		f.close()
	}
}

// syncAndOpen syncs a state and opens the flows that its probes ask for.
func (c *checker) syncAndOpen(f func(s *step, v variant)) ([]*flow, bool) {
	s := c.build(f)
	if !c.sync(s.state()) {
		return nil, false
	}
	return c.openFlows(s.probes), true
}

func flowsSurviveEndpoints(c *checker) {
	flows, ok := c.syncAndOpen(func(s *step, v variant) { c.addBusyService(s, v, nil, v.podEndpoint(0), v.remoteEndpoint(0)) })
	defer closeAll(flows)
	if !ok {
		return
	}
	for _, then := range []struct {
		when            string
		retained, stays []int
	}{
		{"after all endpoints became retained", []int{0, 3}, []int{1, 4}},
		{"after all endpoints were replaced", nil, []int{1, 4}},
		{"after the last endpoint left", nil, nil},
	} {
		pick := func(v variant, list []int) (all []localsink.Endpoint) {
			for _, i := range list {
				all = append(all, v.endpoints()[i])
			}
			return all
		}
		if !c.syncAndCheck(func(s *step, v variant) { c.addBusyService(s, v, pick(v, then.retained), pick(v, then.stays)...) }) {
			return
		}
		c.checkFlows(then.when, flows)
	}
}

func flowsSurviveChanges(c *checker) {
	flows, ok := c.syncAndOpen(func(s *step, v variant) { c.addBusyService(s, v, nil, v.podEndpoint(0), v.remoteEndpoint(0)) })
	defer closeAll(flows)
	for i := 0; ok && i < 6; i++ {
		ok = c.syncAndCheck(func(s *step, v variant) {
			c.addBusyService(s, v, nil, append([]localsink.Endpoint{v.podEndpoint(0), v.remoteEndpoint(0)}, v.endpoints()[1:1+i%3]...)...)
			s.probes = nil
			s.addClusterIP(v, 10+i, v.podEndpoint(i))
			more := v.frontend(localsink.KindClusterIP, 1)
			more.Addr = netip.AddrPortFrom(more.Addr.Addr(), uint16(100+i))
			s.addPort(v, "busy", localsink.Port{Name: "more" + v.protocol.String(), Pools: poolList(newPool(v.podEndpoint(1))), Frontends: []localsink.Frontend{more}})
		})
		c.checkFlows("after a change of the Service", flows)
	}
}

func sourceRangesLater(c *checker) {
	serve := func(sources func(v variant) []netip.Prefix) func(s *step, v variant) {
		return func(s *step, v variant) {
			fe := v.frontend(localsink.KindLoadBalancer, 1)
			fe.SourceRanges = sources(v)
			s.addPort(v, "a", localsink.Port{Pools: poolList(newPool(v.podEndpoint(0), v.remoteEndpoint(0))), Frontends: []localsink.Frontend{fe}})
			s.addProbes(v, []client{c.testbed.localPodClient(), c.testbed.remotePodClient(), c.testbed.externalClient(0), c.testbed.externalClient(1)}, fe.Addr)
		}
	}
	flows, ok := c.syncAndOpen(serve(func(variant) []netip.Prefix { return nil }))
	defer closeAll(flows)
	if ok && c.syncAndCheck(serve(func(v variant) []netip.Prefix { return []netip.Prefix{prefix(v.clientAddr(1), 32, 128)} })) {
		c.checkFlows("after all but one client were shut out", flows)
	}
	if ok && c.syncAndCheck(serve(func(variant) []netip.Prefix { return []netip.Prefix{} })) {
		c.checkFlows("after all clients were shut out", flows)
	}
}

func flowsToDrainingEndpoint(c *checker) {
	flows, ok := c.syncAndOpen(func(s *step, v variant) { c.addBusyService(s, v, nil, v.podEndpoint(0), v.remoteEndpoint(0)) })
	defer closeAll(flows)
	if ok && c.syncAndCheck(func(s *step, v variant) { c.addBusyService(s, v, []localsink.Endpoint{v.podEndpoint(0), v.remoteEndpoint(0)}, v.podEndpoint(1)) }) {
		c.checkFlows("after the endpoint became retained", flows)
	}
	if ok && c.syncAndCheck(func(s *step, v variant) { c.addBusyService(s, v, []localsink.Endpoint{v.podEndpoint(0), v.remoteEndpoint(0)}) }) {
		c.checkFlows("after the last endpoint became retained", flows)
	}
}

// checkMoved checks that flows reach one of the endpoints from now on. One packet that is
// lost on the way over is no fault.
func (c *checker) checkMoved(flows []*flow, to func(v variant) localsink.Endpoint) {
	var wg sync.WaitGroup
	for _, f := range flows {
		wg.Go(func() {
			var err error
			for range 3 {
				if err = f.handshake(time.Second); err == nil && f.server == to(f.variant).Addr {
					return
				}
			}
			c.fail(f.variant, "%s from the same port goes on to reach %s: %v", f.probe, f.server, err)
		})
	}
	wg.Wait()
}

func udpEndpointReplaced(c *checker) {
	flows, ok := c.syncAndOpen(func(s *step, v variant) { c.addBusyService(s, v, nil, v.podEndpoint(0)) })
	defer closeAll(flows)
	for _, i := range []int{1, 4} {
		if !ok || !c.syncAndCheck(func(s *step, v variant) { c.addBusyService(s, v, nil, v.endpoints()[i]) }) {
			return
		}
		c.checkMoved(flows, func(v variant) localsink.Endpoint { return v.endpoints()[i] })
	}
}

func udpBeforeFirstEndpoint(c *checker) {
	s := c.build(func(s *step, v variant) { c.addBusyService(s, v, nil, v.podEndpoint(0)) })
	if !c.sync(c.build(func(*step, variant) {}).state()) { // no Service yet
		return
	}
	var flows []*flow
	for _, p := range s.probes {
		conn, err := p.dial(answerTimeout)
		if err != nil {
			c.fail(p.variant, "%s: %v", p, err)
			continue
		}
		f := &flow{probe: p, conn: conn}
		_ = f.handshake(10 * time.Millisecond) // of no avail
		flows = append(flows, f)
	}
	defer closeAll(flows)
	if c.sync(s.state()) {
		c.checkMoved(flows, func(v variant) localsink.Endpoint { return v.podEndpoint(0) })
	}
}

func udpServiceRemoved(c *checker) {
	flows, ok := c.syncAndOpen(func(s *step, v variant) { c.addBusyService(s, v, nil, v.podEndpoint(0), v.remoteEndpoint(0)) })
	defer closeAll(flows)
	if !ok || !c.sync(c.build(func(*step, variant) {}).state()) {
		return
	}
	var wg sync.WaitGroup
	for _, f := range flows {
		wg.Go(func() {
			if f.handshake(silenceTimeout) == nil {
				c.fail(f.variant, "%s goes on to reach %s", f.probe, f.server)
			}
		})
	}
	wg.Wait()
}

// A traffic makes new connections without end.
type traffic struct {
	cancel context.CancelFunc
	wg   sync.WaitGroup
	connections atomic.Int64
}

// traffic connects for each probe over and over, and notes what fails.
func (c *checker) traffic(probes []probe) *traffic {
	ctx, stop := context.WithCancel(c.ctx)
	t := &traffic{cancel: stop}
	for _, p := range probes {
		p.port = 0 // another each time
		t.wg.Go(func() {
			for ctx.Err() == nil {
				a := p.run(answerTimeout)
				c.count(p.variant, a)
				if a.err != nil {
					c.fail(p.variant, "new connection of %s: %s", p, a)
				}
				t.connections.Add(1)
				c.pause(2 * time.Millisecond) // so as not to starve the backend
			}
		})
	}
	return t
}

// waitForMore waits until each of the clients has connected a few times more.
func (t *traffic) waitForMore(probes []probe) {
	for goal := t.connections.Load() + int64(5*len(probes)); t.connections.Load() < goal; {
		time.Sleep(time.Millisecond)
	}
}

func (t *traffic) stop() {
	t.cancel()
	t.wg.Wait()
}

func churn(c *checker) {
	s := c.build(func(s *step, v variant) { c.addBusyService(s, v, nil, v.podEndpoint(0)) })
	if !c.sync(s.state()) {
		return
	}
	t := c.traffic(s.probes)
	defer t.stop()
	for i := range 60 {
		if !c.syncAndCheck(func(s *step, v variant) {
			// Of what was there, something stays: a packet may be on its way.
			window := append(v.endpoints(), v.endpoints()...)[i%6:]
			c.addBusyService(s, v, nil, window[:2+i*7%5]...)
			s.probes = nil
			s.addClusterIP(v, 2+i%5, v.podEndpoint(i%3))
		}) {
			return
		}
	}
	t.waitForMore(s.probes)
}

func restartWithTraffic(c *checker) {
	flows, ok := c.syncAndOpen(func(s *step, v variant) {
		c.addBusyService(s, v, nil, v.podEndpoint(0), v.remoteEndpoint(0))
		for i := range 100 { // so that it is not over at once
			s.addPort(v, fmt.Sprint("more", i), localsink.Port{Pools: poolList(newPool(v.podEndpoint(i%3), v.podEndpoint(4))), Frontends: []localsink.Frontend{v.frontend(localsink.KindClusterIP, 100+i)}})
		}
	})
	defer closeAll(flows)
	if !ok {
		return
	}
	var probes []probe
	for _, f := range flows {
		probes = append(probes, f.probe)
	}
	t := c.traffic(probes)
	defer t.stop()
	for range 5 {
		t.waitForMore(probes)
		if !c.restart() {
			return
		}
		c.checkFlows("after a restart", flows)
	}
	t.waitForMore(probes)
}
