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
		{id: "DP-14", title: "established connections go on when their endpoint leaves the pool", protocols: tcp, check: endpointLeaves},
		{id: "DP-14-update", title: "established connections go on while their Service and others change", check: serviceChanges},
		{id: "DP-34", title: "established connections go on when their client is shut out later, and new ones get no answer",
			needs: localsink.FeatureLoadBalancer | localsink.FeatureSourceRanges, check: shutOutLater},
		{id: "CT-02", title: "UDP flows to an endpoint that is retained go on", protocols: udp, check: retained},
		{id: "CT-03", title: "a UDP client that goes on sending reaches another endpoint when its own is gone", protocols: udp, check: udpMovesOn},
		{id: "CT-03-first", title: "a UDP client that began before there was an endpoint reaches the first one", protocols: udp, check: udpBeganEarly},
		{id: "CT-08", title: "UDP flows end with their Service", protocols: udp, check: udpServiceRemoved},
		{id: "churn", title: "no new connection fails while endpoints come and go", check: churn},
		{id: "OP-05", title: "a restart of the program fails no new connection and ends no established one", check: restartUnderTraffic},
	}
	for i := range all {
		all[i].needs |= localsink.FeatureClusterIP | localsink.FeatureNodePort
	}
	return all
}

// busy has a cluster IP and a node port, and clients everywhere.
func (c *checker) busy(s *step, v variant, retained []localsink.Endpoint, endpoints ...localsink.Endpoint) {
	ip, port := v.front(localsink.KindClusterIP, 1), v.front(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})
	p := localsink.Port{Pools: pools(pool(endpoints...)), Frontends: []localsink.Frontend{ip, port}}
	for _, e := range sorted(retained) {
		p.Draining = append(p.Draining, e.Addr)
	}
	s.serve(v, "busy", p)
	s.ask(v, c.w.everyone(), v.dialsAll(ip, port)...)
}

// hold opens a flow for each probe.
func (c *checker) hold(probes []probe) []*flow {
	var flows []*flow
	for _, p := range probes {
		f, err := p.open(patience)
		c.count(p.v, answer{})
		if err != nil {
			c.fail(p.v, "%s: %v", p, err)
			continue
		}
		flows = append(flows, f)
	}
	return flows
}

// alive checks that flows go on, to where they went before.
func (c *checker) alive(when string, flows []*flow) {
	var wg sync.WaitGroup
	for _, f := range flows {
		wg.Go(func() {
			if err := f.exchange(64); err != nil {
				c.fail(f.v, "%s: %s, which had reached %s: %v", when, f.probe, f.server, err)
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

// begun syncs a state and opens the flows that its probes ask for.
func (c *checker) begun(f func(s *step, v variant)) ([]*flow, bool) {
	s := c.plan(f)
	if !c.sync(s.state()) {
		return nil, false
	}
	return c.hold(s.probes), true
}

func endpointLeaves(c *checker) {
	flows, ok := c.begun(func(s *step, v variant) { c.busy(s, v, nil, v.pod(0), v.remote(0)) })
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
		if !c.step(func(s *step, v variant) { c.busy(s, v, pick(v, then.retained), pick(v, then.stays)...) }) {
			return
		}
		c.alive(then.when, flows)
	}
}

func serviceChanges(c *checker) {
	flows, ok := c.begun(func(s *step, v variant) { c.busy(s, v, nil, v.pod(0), v.remote(0)) })
	defer closeAll(flows)
	for i := 0; ok && i < 6; i++ {
		ok = c.step(func(s *step, v variant) {
			c.busy(s, v, nil, append([]localsink.Endpoint{v.pod(0), v.remote(0)}, v.endpoints()[1:1+i%3]...)...)
			s.probes = nil
			s.simple(v, 10+i, v.pod(i))
			more := v.front(localsink.KindClusterIP, 1)
			more.Addr = netip.AddrPortFrom(more.Addr.Addr(), uint16(100+i))
			s.serve(v, "busy", localsink.Port{Name: "more" + v.protocol.String(), Pools: pools(pool(v.pod(1))), Frontends: []localsink.Frontend{more}})
		})
		c.alive("after a change of the Service", flows)
	}
}

func shutOutLater(c *checker) {
	serve := func(sources func(v variant) []netip.Prefix) func(s *step, v variant) {
		return func(s *step, v variant) {
			fe := v.front(localsink.KindLoadBalancer, 1)
			fe.SourceRanges = sources(v)
			s.serve(v, "a", localsink.Port{Pools: pools(pool(v.pod(0), v.remote(0))), Frontends: []localsink.Frontend{fe}})
			s.ask(v, []client{c.w.localPod(), c.w.remotePod(), c.w.external(0), c.w.external(1)}, fe.Addr)
		}
	}
	flows, ok := c.begun(serve(func(variant) []netip.Prefix { return nil }))
	defer closeAll(flows)
	if ok && c.step(serve(func(v variant) []netip.Prefix { return []netip.Prefix{prefix(v.clientAddr(1), 32, 128)} })) {
		c.alive("after all but one client were shut out", flows)
	}
	if ok && c.step(serve(func(variant) []netip.Prefix { return []netip.Prefix{} })) {
		c.alive("after all clients were shut out", flows)
	}
}

func retained(c *checker) {
	flows, ok := c.begun(func(s *step, v variant) { c.busy(s, v, nil, v.pod(0), v.remote(0)) })
	defer closeAll(flows)
	if ok && c.step(func(s *step, v variant) { c.busy(s, v, []localsink.Endpoint{v.pod(0), v.remote(0)}, v.pod(1)) }) {
		c.alive("after the endpoint became retained", flows)
	}
	if ok && c.step(func(s *step, v variant) { c.busy(s, v, []localsink.Endpoint{v.pod(0), v.remote(0)}) }) {
		c.alive("after the last endpoint became retained", flows)
	}
}

// moved checks that flows reach one of the endpoints from now on. One packet that is
// lost on the way over is no fault.
func (c *checker) moved(flows []*flow, to func(v variant) localsink.Endpoint) {
	var wg sync.WaitGroup
	for _, f := range flows {
		wg.Go(func() {
			var err error
			for range 3 {
				if err = f.hello(time.Second); err == nil && f.server == to(f.v).Addr {
					return
				}
			}
			c.fail(f.v, "%s from the same port goes on to reach %s: %v", f.probe, f.server, err)
		})
	}
	wg.Wait()
}

func udpMovesOn(c *checker) {
	flows, ok := c.begun(func(s *step, v variant) { c.busy(s, v, nil, v.pod(0)) })
	defer closeAll(flows)
	for _, i := range []int{1, 4} {
		if !ok || !c.step(func(s *step, v variant) { c.busy(s, v, nil, v.endpoints()[i]) }) {
			return
		}
		c.moved(flows, func(v variant) localsink.Endpoint { return v.endpoints()[i] })
	}
}

func udpBeganEarly(c *checker) {
	s := c.plan(func(s *step, v variant) { c.busy(s, v, nil, v.pod(0)) })
	if !c.sync(c.plan(func(*step, variant) {}).state()) { // no Service yet
		return
	}
	var flows []*flow
	for _, p := range s.probes {
		conn, err := p.dial(patience)
		if err != nil {
			c.fail(p.v, "%s: %v", p, err)
			continue
		}
		f := &flow{probe: p, conn: conn}
		_ = f.hello(10 * time.Millisecond) // of no avail
		flows = append(flows, f)
	}
	defer closeAll(flows)
	if c.sync(s.state()) {
		c.moved(flows, func(v variant) localsink.Endpoint { return v.pod(0) })
	}
}

func udpServiceRemoved(c *checker) {
	flows, ok := c.begun(func(s *step, v variant) { c.busy(s, v, nil, v.pod(0), v.remote(0)) })
	defer closeAll(flows)
	if !ok || !c.sync(c.plan(func(*step, variant) {}).state()) {
		return
	}
	var wg sync.WaitGroup
	for _, f := range flows {
		wg.Go(func() {
			if f.hello(silence) == nil {
				c.fail(f.v, "%s goes on to reach %s", f.probe, f.server)
			}
		})
	}
	wg.Wait()
}

// A traffic makes new connections without end.
type traffic struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
	made atomic.Int64
}

// traffic connects for each probe over and over, and notes what fails.
func (c *checker) traffic(probes []probe) *traffic {
	ctx, stop := context.WithCancel(c.ctx)
	t := &traffic{stop: stop}
	for _, p := range probes {
		p.port = 0 // another each time
		t.wg.Go(func() {
			for ctx.Err() == nil {
				a := p.ask(patience)
				c.count(p.v, a)
				if a.err != nil {
					c.fail(p.v, "new connection of %s: %s", p, a)
				}
				t.made.Add(1)
				c.pause(2 * time.Millisecond) // so as not to starve the backend
			}
		})
	}
	return t
}

// more waits until each of the clients has connected a few times more.
func (t *traffic) more(probes []probe) {
	for goal := t.made.Load() + int64(5*len(probes)); t.made.Load() < goal; {
		time.Sleep(time.Millisecond)
	}
}

func (t *traffic) end() {
	t.stop()
	t.wg.Wait()
}

func churn(c *checker) {
	s := c.plan(func(s *step, v variant) { c.busy(s, v, nil, v.pod(0)) })
	if !c.sync(s.state()) {
		return
	}
	t := c.traffic(s.probes)
	defer t.end()
	for i := range 60 {
		if !c.step(func(s *step, v variant) {
			// Of what was there, something stays: a packet may be on its way.
			window := append(v.endpoints(), v.endpoints()...)[i%6:]
			c.busy(s, v, nil, window[:2+i*7%5]...)
			s.probes = nil
			s.simple(v, 2+i%5, v.pod(i%3))
		}) {
			return
		}
	}
	t.more(s.probes)
}

func restartUnderTraffic(c *checker) {
	flows, ok := c.begun(func(s *step, v variant) {
		c.busy(s, v, nil, v.pod(0), v.remote(0))
		for i := range 100 { // so that it is not over at once
			s.serve(v, fmt.Sprint("more", i), localsink.Port{Pools: pools(pool(v.pod(i%3), v.pod(4))), Frontends: []localsink.Frontend{v.front(localsink.KindClusterIP, 100+i)}})
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
	defer t.end()
	for range 5 {
		t.more(probes)
		if !c.restart() {
			return
		}
		c.alive("after a restart", flows)
	}
	t.more(probes)
}
