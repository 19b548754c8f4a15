// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

func resetCases() []behaviour {
	return []behaviour{{
		id: "zero-resets", title: "1,000 busy connections survive endpoint removal, restarts and rebuilds without a reset",
		needs: localsink.FeatureClusterIP | localsink.FeatureNodePort, protocols: []localsink.Protocol{localsink.ProtocolTCP},
		noProxy: endsWithProxy, check: zeroResets,
	}}
}

// minConnections is the minimum number of connections of all variants together.
const minConnections = 1000

// zeroResets exchanges bytes on all connections during each event. Any error is a failure.
func zeroResets(c *checker) {
	s := c.build(func(s *step, v variant) {
		c.addBusyServiceAmongMany(s, v, v.podEndpoint(0), v.remoteEndpoint(0), v.podEndpoint(1))
	})
	if !c.sync(s.state()) {
		return
	}
	var flows []*flow
	defer func() { closeAll(flows) }()
	for len(flows) < minConnections {
		more := c.openFlows(s.probes)
		flows = append(flows, more...)
		if len(more) < len(s.probes) {
			return // a flow failed
		}
	}
	endpoints := func(of func(v variant) []localsink.Endpoint) func() bool {
		return func() bool {
			return c.sync(c.build(func(s *step, v variant) { c.addBusyServiceAmongMany(s, v, of(v)...) }).state())
		}
	}
	otherNode := func() bool {
		n := testbedNode()
		n.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		return c.changeNode(n)
	}
	var exchanged atomic.Int64
	for _, event := range []struct {
		name   string
		happen func() bool
	}{
		{"one endpoint is removed", endpoints(func(v variant) []localsink.Endpoint {
			return []localsink.Endpoint{v.podEndpoint(0), v.remoteEndpoint(0)}
		})},
		{"the proxy restarts", c.restart},
		{"all endpoints are replaced", endpoints(func(v variant) []localsink.Endpoint { return []localsink.Endpoint{v.podEndpoint(2)} })},
		{"the node and all rules change", otherNode},
		{"the last endpoint is removed", endpoints(func(variant) []localsink.Endpoint { return nil })},
		{"the proxy restarts without endpoints", c.restart},
		{"the node changes back", func() bool { return c.changeNode(testbedNode()) }},
	} {
		if !c.exchangeDuring(event.name, flows, &exchanged, event.happen) {
			return
		}
	}
	c.notef("%d connections exchanged %d messages", len(flows), exchanged.Load())
}

// addBusyServiceAmongMany adds the busy Service and 300 others, so that programming takes
// time.
func (c *checker) addBusyServiceAmongMany(s *step, v variant, endpoints ...localsink.Endpoint) {
	c.addBusyService(s, v, nil, endpoints...)
	for i := range 300 {
		s.addPort(v, fmt.Sprint("more", i), localsink.Port{Pools: onePool(v.podEndpoint(i%3), v.podEndpoint(4)),
			Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.AddrPortFrom(manyClusterIP(v, i), 80), Routes: []localsink.Route{{}}}}})
	}
}

// exchangeDuring exchanges bytes on all flows while happen runs, and once more after it. It
// reports whether happen and all flows succeeded.
func (c *checker) exchangeDuring(name string, flows []*flow, exchanged *atomic.Int64, happen func() bool) bool {
	done := make(chan struct{})
	var failed atomic.Int64
	var all sync.WaitGroup
	for _, f := range flows {
		all.Go(func() {
			for last := false; ; {
				if err := f.exchange(512); err != nil {
					failed.Add(1)
					c.failf(f.variant, "while %s: flow of %s to endpoint %s: %v", name, f.probe, f.server, err)
					return
				}
				exchanged.Add(1)
				if last {
					return
				}
				select {
				case <-done:
					last = true
				case <-time.After(20 * time.Millisecond): // leaves CPU time for the backend
				}
			}
		})
	}
	ok := happen()
	close(done)
	all.Wait()
	return ok && failed.Load() == 0
}
