// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

func flowCases() []behaviour {
	tcp, udp := []localsink.Protocol{localsink.ProtocolTCP}, []localsink.Protocol{localsink.ProtocolUDP}
	all := []behaviour{
		{id: "DP-14", title: "established connections survive the removal of their endpoint", protocols: tcp, check: flowsSurviveEndpoints},
		{id: "DP-14-update", title: "established connections survive changes of their Service and of others", check: flowsSurviveChanges},
		{id: "DP-34", title: "established connections survive source ranges that exclude their client; new ones get no answer",
			needs: localsink.FeatureLoadBalancer | localsink.FeatureSourceRanges, check: sourceRangesLater},
		{id: "CT-02", title: "UDP flows to a draining endpoint continue", protocols: udp, check: flowsToDrainingEndpoint},
		{id: "CT-03", title: "a UDP client reaches another endpoint after its endpoint is removed", protocols: udp, check: udpEndpointReplaced},
		{id: "CT-03-first", title: "a UDP client that sent before the first endpoint existed reaches that endpoint", protocols: udp, check: udpBeforeFirstEndpoint},
		{id: "CT-08", title: "UDP flows end when their Service is removed", protocols: udp, check: udpServiceRemoved},
		{id: "churn", title: "no new connection fails while endpoints change", check: churn},
		{id: "OP-05", title: "a restart fails no new connection and ends no established one", noProxy: endsWithProxy, check: restartWithTraffic},
	}
	for i := range all {
		all[i].needs |= localsink.FeatureClusterIP | localsink.FeatureNodePort
	}
	return all
}

// addBusyService adds a Service with a cluster IP and a node port, and probes from each
// kind of client.
func (c *checker) addBusyService(s *step, v variant, draining []localsink.Endpoint, endpoints ...localsink.Endpoint) {
	ip, port := v.frontend(localsink.KindClusterIP, 1), v.frontend(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})
	p := localsink.Port{Pools: onePool(endpoints...), Frontends: []localsink.Frontend{ip, port}}
	for _, e := range sorted(draining) {
		p.Draining = append(p.Draining, e.Addr)
	}
	s.addPort(v, "busy", p)
	s.addProbes(v, c.testbed.clientsOfEachKind(), v.destinationsOf(ip, port)...)
}

// openFlows opens a flow for each probe.
func (c *checker) openFlows(probes []probe) []*flow {
	var flows []*flow
	for _, p := range probes {
		f, err := p.open(p.client.limits.Answer)
		c.count(p.variant, answer{})
		if err != nil {
			c.failf(p.variant, "%s: %v", p, err)
			continue
		}
		flows = append(flows, f)
	}
	return flows
}

// checkFlows checks that flows still reach the same endpoint.
func (c *checker) checkFlows(when string, flows []*flow) {
	var wg sync.WaitGroup
	for _, f := range flows {
		wg.Go(func() {
			if err := f.exchange(64); err != nil {
				c.failf(f.variant, "%s: flow of %s to endpoint %s: %v", when, f.probe, f.server, err)
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

// syncAndOpen syncs a state and opens a flow for each probe.
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
		draining, ready []int
	}{
		{"after all endpoints started draining", []int{0, 3}, []int{1, 4}},
		{"after all endpoints were replaced", nil, []int{1, 4}},
		{"after the last endpoint left", nil, nil},
	} {
		endpoints := func(v variant, list []int) (all []localsink.Endpoint) {
			for _, i := range list {
				all = append(all, v.endpoints()[i])
			}
			return all
		}
		if !c.syncAndCheck(func(s *step, v variant) {
			c.addBusyService(s, v, endpoints(v, then.draining), endpoints(v, then.ready)...)
		}) {
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
			s.addPort(v, "busy", localsink.Port{
				Name:      "more" + v.protocol.String(),
				Pools:     onePool(v.podEndpoint(1)),
				Frontends: []localsink.Frontend{more},
			})
		})
		c.checkFlows("after a change of the Service", flows)
	}
}

func sourceRangesLater(c *checker) {
	serve := func(sources func(v variant) []netip.Prefix) func(s *step, v variant) {
		return func(s *step, v variant) {
			fe := v.frontend(localsink.KindLoadBalancer, 1)
			fe.SourceRanges = sources(v)
			s.addPort(v, "a", localsink.Port{Pools: onePool(v.podEndpoint(0), v.remoteEndpoint(0)), Frontends: []localsink.Frontend{fe}})
			s.addProbes(v, []client{c.testbed.localPodClient(), c.testbed.remotePodClient(), c.testbed.externalClient(0), c.testbed.externalClient(1)}, fe.Addr)
		}
	}
	flows, ok := c.syncAndOpen(serve(func(variant) []netip.Prefix { return nil }))
	defer closeAll(flows)
	if ok && c.syncAndCheck(serve(func(v variant) []netip.Prefix { return []netip.Prefix{prefix(v.clientAddr(1), 32, 128)} })) {
		c.checkFlows("after source ranges excluded all clients but one", flows)
	}
	if ok && c.syncAndCheck(serve(func(variant) []netip.Prefix { return []netip.Prefix{} })) {
		c.checkFlows("after source ranges excluded all clients", flows)
	}
}

func flowsToDrainingEndpoint(c *checker) {
	flows, ok := c.syncAndOpen(func(s *step, v variant) { c.addBusyService(s, v, nil, v.podEndpoint(0), v.remoteEndpoint(0)) })
	defer closeAll(flows)
	if ok && c.syncAndCheck(func(s *step, v variant) {
		c.addBusyService(s, v, []localsink.Endpoint{v.podEndpoint(0), v.remoteEndpoint(0)}, v.podEndpoint(1))
	}) {
		c.checkFlows("after the endpoint started draining", flows)
	}
	if ok && c.syncAndCheck(func(s *step, v variant) {
		c.addBusyService(s, v, []localsink.Endpoint{v.podEndpoint(0), v.remoteEndpoint(0)})
	}) {
		c.checkFlows("after the last endpoint started draining", flows)
	}
}

// checkMoved checks that flows now reach the endpoint to. It allows for lost packets.
func (c *checker) checkMoved(flows []*flow, to func(v variant) localsink.Endpoint) {
	var wg sync.WaitGroup
	for _, f := range flows {
		wg.Go(func() {
			var err error
			for range 3 {
				if err = f.handshake(time.Second); err == nil && f.server == to(f.variant).Addr {
					return
				}
				if err != nil && c.backend.Sockets {
					err = f.reconnect(time.Second)
				}
			}
			c.failf(f.variant, "%[1]s with the same source port reaches %[2]s, expected %[4]s: %[3]v", f.probe, f.server, err, to(f.variant).Addr)
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
		conn, p, err := p.dial(p.client.limits.Answer)
		if err != nil {
			c.failf(p.variant, "%s: %v", p, err)
			continue
		}
		f := &flow{probe: p, conn: conn}
		_ = f.handshake(10 * time.Millisecond) // creates a flow without an answer
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
			if f.handshake(f.client.limits.Silence) == nil {
				c.failf(f.variant, "%s still reaches %s, expected no answer", f.probe, f.server)
			}
		})
	}
	wg.Wait()
}

// A traffic creates new connections until stop.
type traffic struct {
	cancel      context.CancelFunc
	wg          sync.WaitGroup
	connections atomic.Int64
}

// traffic connects for each probe repeatedly, and records failures.
func (c *checker) traffic(probes []probe) *traffic {
	ctx, stop := context.WithCancel(c.ctx)
	t := &traffic{cancel: stop}
	for _, p := range probes {
		p.port = 0 // a new source port for each connection
		t.wg.Go(func() {
			for ctx.Err() == nil {
				a := p.run(p.client.limits.Answer)
				c.count(p.variant, a)
				if a.err != nil && !c.closedWithEndpoint(p, a.err) {
					c.failf(p.variant, "new connection of %s: expected an endpoint, observed: %s", p, a)
				}
				t.connections.Add(1)
				c.pause(2 * time.Millisecond) // leaves CPU time for the backend
			}
		})
	}
	return t
}

// closedWithEndpoint reports whether a UDP socket was closed because its endpoint was removed
// after the client had connected, see Backend.Sockets.
func (c *checker) closedWithEndpoint(p probe, err error) bool {
	return c.backend.Sockets && p.variant.protocol == localsink.ProtocolUDP &&
		(errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EDESTADDRREQ))
}

// waitForMore waits for five more connections per probe.
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
			// Some endpoints stay from step to step, for packets that are in flight.
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
		for i := range 100 { // so that a restart takes time
			s.addPort(v, fmt.Sprint("more", i), localsink.Port{
				Pools: onePool(v.podEndpoint(i%3), v.podEndpoint(4)), Frontends: []localsink.Frontend{v.frontend(localsink.KindClusterIP, 100+i)},
			})
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
