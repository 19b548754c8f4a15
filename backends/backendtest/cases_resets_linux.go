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
		id: "zero-resets", title: "1,000 busy connections outlive endpoint removal, restarts and rebuilds, and not one is reset",
		needs: localsink.FeatureClusterIP | localsink.FeatureNodePort, protocols: []localsink.Protocol{localsink.ProtocolTCP}, check: zeroResets,
	}}
}

// minConnections is how many there are at least, in all variants together.
const minConnections = 1000

// zeroResets keeps bytes flowing in both directions of each connection while things
// happen. An error of any connection is one too many.
func zeroResets(c *checker) {
	s := c.build(func(s *step, v variant) { c.addBusyServiceAmongMany(s, v, v.podEndpoint(0), v.remoteEndpoint(0), v.podEndpoint(1)) })
	if !c.sync(s.state()) {
		return
	}
	var flows []*flow
	defer func() { closeAll(flows) }()
	for len(flows) < minConnections {
		more := c.openFlows(s.probes)
		flows = append(flows, more...)
		if len(more) < len(s.probes) {
			return // there is no sense in waiting for more to fail
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
		{"one endpoint is removed", endpoints(func(v variant) []localsink.Endpoint { return []localsink.Endpoint{v.podEndpoint(0), v.remoteEndpoint(0)} })},
		{"the program restarts", c.restart},
		{"all endpoints are replaced", endpoints(func(v variant) []localsink.Endpoint { return []localsink.Endpoint{v.podEndpoint(2)} })},
		{"the node changes, and all rules with it", otherNode},
		{"the last endpoint is removed", endpoints(func(variant) []localsink.Endpoint { return nil })},
		{"the program restarts without endpoints", c.restart},
		{"the node changes back", func() bool { return c.changeNode(testbedNode()) }},
	} {
		if !c.exchangeDuring(event.name, flows, &exchanged, event.happen) {
			return
		}
	}
	c.note("%d connections exchanged %d messages meanwhile", len(flows), exchanged.Load())
}

// addBusyServiceAmongMany is busy with many other Services beside, so that rules take their time.
func (c *checker) addBusyServiceAmongMany(s *step, v variant, endpoints ...localsink.Endpoint) {
	c.addBusyService(s, v, nil, endpoints...)
	for i := range 300 {
		s.addPort(v, fmt.Sprint("more", i), localsink.Port{Pools: poolList(newPool(v.podEndpoint(i%3), v.podEndpoint(4))),
			Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.AddrPortFrom(manyClusterIP(v, i), 80), Routes: []localsink.Route{{}}}}})
	}
}

// exchangeDuring has all flows exchange bytes while something happens, and once more after it. It
// is false when there is no sense in going on.
func (c *checker) exchangeDuring(name string, flows []*flow, exchanged *atomic.Int64, happen func() bool) bool {
	over := make(chan struct{})
	var failed atomic.Int64
	var all sync.WaitGroup
	for _, f := range flows {
		all.Go(func() {
			for after := false; ; {
				if err := f.exchange(512); err != nil {
					failed.Add(1)
					c.fail(f.variant, "while %s: %s, which had reached %s: %v", name, f.probe, f.server, err)
					return
				}
				exchanged.Add(1)
				if after {
					return
				}
				select {
				case <-over:
					after = true
				case <-time.After(20 * time.Millisecond): // so as not to starve the backend
				}
			}
		})
	}
	ok := happen()
	close(over)
	all.Wait()
	return ok && failed.Load() == 0
}
