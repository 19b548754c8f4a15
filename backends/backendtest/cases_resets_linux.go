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

// connections is how many there are at least, in all variants together.
const connections = 1000

// zeroResets keeps bytes flowing in both directions of each connection while things
// happen. An error of any connection is one too many.
func zeroResets(c *checker) {
	s := c.plan(func(s *step, v variant) { c.among(s, v, v.pod(0), v.remote(0), v.pod(1)) })
	if !c.sync(s.state()) {
		return
	}
	var flows []*flow
	defer func() { closeAll(flows) }()
	for len(flows) < connections {
		more := c.hold(s.probes)
		flows = append(flows, more...)
		if len(more) < len(s.probes) {
			return // there is no sense in waiting for more to fail
		}
	}
	endpoints := func(of func(v variant) []localsink.Endpoint) func() bool {
		return func() bool {
			return c.sync(c.plan(func(s *step, v variant) { c.among(s, v, of(v)...) }).state())
		}
	}
	otherNode := func() bool {
		n := worldNode()
		n.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		return c.change(n)
	}
	var exchanged atomic.Int64
	for _, event := range []struct {
		name   string
		happen func() bool
	}{
		{"one endpoint is removed", endpoints(func(v variant) []localsink.Endpoint { return []localsink.Endpoint{v.pod(0), v.remote(0)} })},
		{"the program restarts", c.restart},
		{"all endpoints are replaced", endpoints(func(v variant) []localsink.Endpoint { return []localsink.Endpoint{v.pod(2)} })},
		{"the node changes, and all rules with it", otherNode},
		{"the last endpoint is removed", endpoints(func(variant) []localsink.Endpoint { return nil })},
		{"the program restarts without endpoints", c.restart},
		{"the node changes back", func() bool { return c.change(worldNode()) }},
	} {
		if !c.during(event.name, flows, &exchanged, event.happen) {
			return
		}
	}
	c.note("%d connections exchanged %d messages meanwhile", len(flows), exchanged.Load())
}

// among is busy with many other Services beside, so that rules take their time.
func (c *checker) among(s *step, v variant, endpoints ...localsink.Endpoint) {
	c.busy(s, v, nil, endpoints...)
	for i := range 300 {
		s.serve(v, fmt.Sprint("more", i), localsink.Port{Pools: pools(pool(v.pod(i%3), v.pod(4))),
			Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.AddrPortFrom(far(v, i), 80), Routes: []localsink.Route{{}}}}})
	}
}

// during has all flows exchange bytes while something happens, and once more after it. It
// is false when there is no sense in going on.
func (c *checker) during(name string, flows []*flow, exchanged *atomic.Int64, happen func() bool) bool {
	over := make(chan struct{})
	var failed atomic.Int64
	var all sync.WaitGroup
	for _, f := range flows {
		all.Go(func() {
			for after := false; ; {
				if err := f.exchange(512); err != nil {
					failed.Add(1)
					c.fail(f.v, "while %s: %s, which had reached %s: %v", name, f.probe, f.server, err)
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
