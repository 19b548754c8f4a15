// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

func affinityCases() []behaviour {
	all := []behaviour{
		{id: "DP-40", title: "a client address keeps its endpoint on all frontends of the port", shared: true, check: affinityKeepsEndpoint},
		{id: "DP-41", title: "affinity expires when a client makes no new connection for its duration", check: affinityExpires},
		{id: "DP-42", title: "a client whose endpoint is removed gets and keeps another; other clients keep theirs", check: affinityEndpointRemoved},
		{id: "DP-43", title: "affinity survives other changes of the Service and a restart",
			noProxy: endsWithProxy, check: affinitySurvivesChanges},
		{id: "DP-44", title: "a changed affinity duration takes effect", check: affinityDurationChanges},
		{id: "DP-45", title: "affinity can be turned on and off", check: affinitySwitched},
	}
	for i := range all {
		all[i].needs |= localsink.FeatureAffinity | localsink.FeatureClusterIP
	}
	return all
}

// longAffinity does not expire during a behaviour.
const longAffinity = time.Hour

// endpoints returns enough endpoints that random choices of all clients differ.
func (v variant) endpoints() []localsink.Endpoint {
	return []localsink.Endpoint{v.podEndpoint(0), v.podEndpoint(1), v.podEndpoint(2), v.remoteEndpoint(0), v.remoteEndpoint(1), v.podEndpoint(3)}
}

// addAffinityService adds a Service with a frontend of each kind that the backend supports.
func (c *checker) addAffinityService(s *step, v variant, affinity time.Duration, endpoints ...localsink.Endpoint) []localsink.Frontend {
	var frontends []localsink.Frontend
	for _, kind := range kinds() {
		if c.unsupported()&kindFeature(kind) == 0 {
			frontends = append(frontends, v.frontend(kind, 1, localsink.Route{Masquerade: kind == localsink.KindNodePort}))
		}
	}
	s.addPort(v, "a", localsink.Port{Affinity: affinity, Pools: onePool(endpoints...), Frontends: frontends})
	return frontends
}

// An assignment holds the endpoint that each client reached.
type assignment map[variantClient]netip.AddrPort

type variantClient struct {
	v      variant
	client netip.Addr
}

// connectAll connects once from each external client and a pod to the destination of each
// variant, and returns the endpoints that they reached.
func (c *checker) connectAll(destination func(v variant) netip.AddrPort) assignment {
	s := c.build(func(s *step, v variant) {
		s.addProbes(v, append(c.testbed.externalClients(), c.testbed.localPodClient()), destination(v))
	})
	got := assignment{}
	for i, a := range c.run(s.probes) {
		p := s.probes[i]
		if mismatch := c.mismatch(p, a); mismatch != "" {
			c.failf(p.variant, "%s: expected %s, observed: %s", p, c.expectation(p), mismatch)
		}
		got[variantClient{p.variant, p.from()}] = a.server
	}
	return got
}

// clusterAddr returns the cluster IP and port of the Service.
func clusterAddr(v variant) netip.AddrPort { return v.frontend(localsink.KindClusterIP, 1).Addr }

// checkSame checks that all clients reached the same endpoint as before.
func (c *checker) checkSame(when string, first, second assignment) {
	for k, server := range second {
		if first[k] != server {
			c.failf(k.v, "%s: %s reached %[4]s, expected %[3]s", when, k.client, first[k], server)
		}
	}
}

// changedVariants returns the variants in which some client reached another endpoint.
func changedVariants(first, second assignment) []variant {
	var all []variant
	for k, server := range second {
		if first[k] != server && !slices.Contains(all, k.v) {
			all = append(all, k.v)
		}
	}
	return all
}

// syncAffinity syncs a Service with session affinity.
func (c *checker) syncAffinity(affinity time.Duration, endpoints func(v variant) []localsink.Endpoint) bool {
	return c.syncAndCheck(func(s *step, v variant) { c.addAffinityService(s, v, affinity, endpoints(v)...) })
}

func affinityKeepsEndpoint(c *checker) {
	if !c.syncAffinity(longAffinity, variant.endpoints) {
		return
	}
	first := c.connectAll(clusterAddr)
	for _, v := range c.variants {
		servers := map[netip.AddrPort]bool{}
		for k, server := range first {
			if k.v == v {
				servers[server] = true
			}
		}
		if len(servers) < 2 {
			c.failf(v, "%d clients all reached the same of %d endpoints: %v", clientCount+1, len(v.endpoints()), servers)
		}
	}
	unused := c.build(func(*step, variant) {})
	for _, v := range c.variants {
		for _, to := range v.destinationsOf(c.addAffinityService(unused, v, longAffinity)...) {
			destination := func(w variant) netip.AddrPort {
				if w == v {
					return to
				}
				return clusterAddr(w)
			}
			for range 2 {
				c.checkSame(to.String(), first, c.connectAll(destination))
			}
		}
	}
}

// shortAffinity expires while a behaviour waits.
const shortAffinity = 2 * time.Second

// pause waits in real time: affinity expires by the clock of the kernel.
func (c *checker) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
	}
}

func affinityExpires(c *checker) {
	if !c.syncAffinity(shortAffinity, variant.endpoints) {
		return
	}
	first := c.connectAll(clusterAddr)
	for range 4 { // each connection extends the affinity
		c.pause(shortAffinity / 2)
		c.checkSame("before expiry", first, c.connectAll(clusterAddr))
	}
	c.checkExpired("after expiry", first, shortAffinity)
}

// checkExpired checks that after d some client reaches another endpoint. The chance that
// all clients reach the same endpoint again is negligible.
func (c *checker) checkExpired(when string, first assignment, d time.Duration) {
	c.pause(d + d/2)
	changed := changedVariants(first, c.connectAll(clusterAddr))
	for _, v := range c.variants {
		if !slices.Contains(changed, v) {
			c.failf(v, "%s: all %d clients reached the same endpoints, expected new choices", when, clientCount+1)
		}
	}
}

func affinityEndpointRemoved(c *checker) {
	if !c.syncAffinity(longAffinity, variant.endpoints) {
		return
	}
	first := c.connectAll(clusterAddr)
	fewer := func(v variant) []localsink.Endpoint { return v.endpoints()[3:] }
	if !c.syncAffinity(longAffinity, fewer) {
		return
	}
	second := c.connectAll(clusterAddr) // also checks that no client reaches a removed endpoint
	for k, server := range second {
		stays := slices.ContainsFunc(fewer(k.v), func(e localsink.Endpoint) bool { return e.Addr == first[k] })
		if stays && server != first[k] {
			c.failf(k.v, "%s reached %[3]s, expected %[2]s, which was not removed", k.client, first[k], server)
		}
	}
	c.checkSame("after the new choice", second, c.connectAll(clusterAddr))
	if c.syncAffinity(longAffinity, variant.endpoints) {
		c.checkSame("after removed endpoints were added again", second, c.connectAll(clusterAddr))
	}
}

func affinitySurvivesChanges(c *checker) {
	if !c.syncAffinity(longAffinity, variant.endpoints) {
		return
	}
	first := c.connectAll(clusterAddr)
	more := func(v variant) []localsink.Endpoint {
		return append(v.endpoints(), v.podEndpoint(5), v.remoteEndpoint(2))
	}
	if !c.syncAffinity(longAffinity, more) {
		return
	}
	c.checkSame("after endpoints were added", first, c.connectAll(clusterAddr))
	if !c.syncAndCheck(func(s *step, v variant) {
		c.addAffinityService(s, v, longAffinity, more(v)...)
		s.addPort(v, "a", localsink.Port{Name: "another" + v.protocol.String(), Pools: onePool(v.podEndpoint(0)),
			Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.AddrPortFrom(v.clusterIP(1), 81), Routes: []localsink.Route{{}}}}})
		s.addPort(v, "b", localsink.Port{
			Pools:     onePool(v.podEndpoint(0)),
			Frontends: []localsink.Frontend{v.frontend(localsink.KindClusterIP, 2)},
		})
	}) {
		return
	}
	c.checkSame("after a port and a Service were added", first, c.connectAll(clusterAddr))
	if c.restart() {
		c.checkSame("after a restart", first, c.connectAll(clusterAddr))
	}
}

func affinityDurationChanges(c *checker) {
	if !c.syncAffinity(longAffinity, variant.endpoints) {
		return
	}
	c.connectAll(clusterAddr)
	if !c.syncAffinity(shortAffinity, variant.endpoints) {
		return
	}
	first := c.connectAll(clusterAddr) // starts the new duration, unless the old entry was removed
	c.checkSame("before the new expiry", first, c.connectAll(clusterAddr))
	c.checkExpired("after the new, shorter expiry", first, shortAffinity)
	second := c.connectAll(clusterAddr)
	if !c.syncAffinity(longAffinity, variant.endpoints) {
		return
	}
	c.checkSame("after the duration was extended", second, c.connectAll(clusterAddr))
	c.pause(shortAffinity + shortAffinity/2)
	c.checkSame("before the new, longer expiry", second, c.connectAll(clusterAddr))
}

func affinitySwitched(c *checker) {
	if !c.syncAffinity(0, variant.endpoints) {
		return
	}
	first := c.connectAll(clusterAddr)
	c.checkDiffers("before affinity was turned on", first, c.connectAll(clusterAddr))
	if !c.syncAffinity(longAffinity, variant.endpoints) {
		return
	}
	second := c.connectAll(clusterAddr)
	c.checkSame("after affinity was turned on", second, c.connectAll(clusterAddr))
	if !c.syncAffinity(0, variant.endpoints) {
		return
	}
	c.checkDiffers("after affinity was turned off", second, c.connectAll(clusterAddr))
}

// checkDiffers checks that some clients of each variant reached another endpoint.
func (c *checker) checkDiffers(when string, before, after assignment) {
	changed := changedVariants(before, after)
	for _, v := range c.variants {
		if !slices.Contains(changed, v) {
			c.failf(v, "%s: all clients reached the same endpoints, expected new choices", when)
		}
	}
}
