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
		{id: "DP-40", title: "a client address keeps its endpoint, over all frontends of the port", check: affinityKeepsEndpoint},
		{id: "DP-41", title: "the memory ends when a client made no new connection for the time given", check: affinityExpires},
		{id: "DP-42", title: "a client whose endpoint is removed gets another and keeps that; others keep theirs", check: affinityEndpointRemoved},
		{id: "DP-43", title: "the memory outlives other changes of the Service and a restart of the program", check: affinitySurvivesChanges},
		{id: "DP-44", title: "another duration takes effect", check: affinityDurationChanges},
		{id: "DP-45", title: "affinity is turned on and off", check: affinitySwitched},
	}
	for i := range all {
		all[i].needs |= localsink.FeatureAffinity | localsink.FeatureClusterIP
	}
	return all
}

// longAffinity is longer than any behaviour takes.
const longAffinity = time.Hour

// endpoints are as many as clients will not pick all alike by chance.
func (v variant) endpoints() []localsink.Endpoint {
	return []localsink.Endpoint{v.podEndpoint(0), v.podEndpoint(1), v.podEndpoint(2), v.remoteEndpoint(0), v.remoteEndpoint(1), v.podEndpoint(3)}
}

// addAffinityService has frontends of every kind that the backend has.
func (c *checker) addAffinityService(s *step, v variant, affinity time.Duration, endpoints ...localsink.Endpoint) []localsink.Frontend {
	var fronts []localsink.Frontend
	for _, kind := range kinds() {
		if c.unsupported()&kindFeature(kind) == 0 {
			fronts = append(fronts, v.frontend(kind, 1, localsink.Route{Masquerade: kind == localsink.KindNodePort}))
		}
	}
	s.addPort(v, "a", localsink.Port{Affinity: affinity, Pools: poolList(newPool(endpoints...)), Frontends: fronts})
	return fronts
}

// A assignment is which endpoint each client of each variant has.
type assignment map[variantClient]netip.AddrPort

type variantClient struct {
	v      variant
	client netip.Addr
}

// connectAll lets all clients outside, and a pod, connect once to the first of the
// frontends.
func (c *checker) connectAll(fronts func(v variant) netip.AddrPort) assignment {
	s := c.build(func(s *step, v variant) {
		s.addProbes(v, append(c.testbed.externalClients(), c.testbed.localPodClient()), fronts(v))
	})
	got := assignment{}
	for i, a := range c.run(s.probes) {
		p := s.probes[i]
		if wrong := c.mismatch(p, a); wrong != "" {
			c.fail(p.variant, "%s: wanted %s: %s", p, c.expect(p), wrong)
		}
		got[variantClient{p.variant, p.from()}] = a.server
	}
	return got
}

// clusterAddr is the frontend at which clients choose.
func clusterAddr(v variant) netip.AddrPort { return v.frontend(localsink.KindClusterIP, 1).Addr }

// checkSame checks that a second choice is the first one.
func (c *checker) checkSame(when string, first, second assignment) {
	for k, server := range second {
		if first[k] != server {
			c.fail(k.v, "%s: %s had %s and got %s", when, k.client, first[k], server)
		}
	}
}

// changedVariants returns the variants in which some client got another endpoint.
func changedVariants(first, second assignment) []variant {
	var all []variant
	for k, server := range second {
		if first[k] != server && !slices.Contains(all, k.v) {
			all = append(all, k.v)
		}
	}
	return all
}

// syncAffinity syncs a sticky Service.
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
			c.fail(v, "%d clients all have the same of %d endpoints: %v", clientCount+1, len(v.endpoints()), servers)
		}
	}
	scratch := c.build(func(*step, variant) {})
	for _, v := range c.variants {
		for _, to := range v.destinationsOf(c.addAffinityService(scratch, v, longAffinity)...) {
			one := func(w variant) netip.AddrPort {
				if w == v {
					return to
				}
				return clusterAddr(w)
			}
			for range 2 {
				c.checkSame(to.String(), first, c.connectAll(one))
			}
		}
	}
}

// shortAffinity is a duration that a test can wait for.
const shortAffinity = 2 * time.Second

// pause waits, since it is the kernel's clock that counts.
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
	for range 4 { // each connection begins the time anew
		c.pause(shortAffinity / 2)
		c.checkSame("within the time", first, c.connectAll(clusterAddr))
	}
	c.checkExpired("after the time", first, shortAffinity)
}

// checkExpired checks that after d some client chooses anew; that all choose the same
// again by chance does not happen in a thousand years.
func (c *checker) checkExpired(when string, first assignment, d time.Duration) {
	c.pause(d + d/2)
	changed := changedVariants(first, c.connectAll(clusterAddr))
	for _, v := range c.variants {
		if !slices.Contains(changed, v) {
			c.fail(v, "%s: %d clients all keep their endpoints", when, clientCount+1)
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
	second := c.connectAll(clusterAddr) // judges that nobody gets what is removed
	for k, server := range second {
		stays := slices.ContainsFunc(fewer(k.v), func(e localsink.Endpoint) bool { return e.Addr == first[k] })
		if stays && server != first[k] {
			c.fail(k.v, "%s had %s, which stays, and got %s", k.client, first[k], server)
		}
	}
	c.checkSame("after choosing anew", second, c.connectAll(clusterAddr))
	if c.syncAffinity(longAffinity, variant.endpoints) {
		c.checkSame("after the removed ones came back", second, c.connectAll(clusterAddr))
	}
}

func affinitySurvivesChanges(c *checker) {
	if !c.syncAffinity(longAffinity, variant.endpoints) {
		return
	}
	first := c.connectAll(clusterAddr)
	more := func(v variant) []localsink.Endpoint { return append(v.endpoints(), v.podEndpoint(5), v.remoteEndpoint(2)) }
	if !c.syncAffinity(longAffinity, more) {
		return
	}
	c.checkSame("after endpoints were added", first, c.connectAll(clusterAddr))
	if !c.syncAndCheck(func(s *step, v variant) {
		c.addAffinityService(s, v, longAffinity, more(v)...)
		s.addPort(v, "a", localsink.Port{Name: "another" + v.protocol.String(), Pools: poolList(newPool(v.podEndpoint(0))),
			Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.AddrPortFrom(v.clusterIP(1), 81), Routes: []localsink.Route{{}}}}})
		s.addPort(v, "b", localsink.Port{Pools: poolList(newPool(v.podEndpoint(0))), Frontends: []localsink.Frontend{v.frontend(localsink.KindClusterIP, 2)}})
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
	first := c.connectAll(clusterAddr) // begins the new time, if the old one is not over at once
	c.checkSame("within the new time", first, c.connectAll(clusterAddr))
	c.checkExpired("after the new, shorter time", first, shortAffinity)
	second := c.connectAll(clusterAddr)
	if !c.syncAffinity(longAffinity, variant.endpoints) {
		return
	}
	c.checkSame("when it is longer again", second, c.connectAll(clusterAddr))
	c.pause(shortAffinity + shortAffinity/2)
	c.checkSame("within the new, longer time", second, c.connectAll(clusterAddr))
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
	c.checkSame("after it was turned on", second, c.connectAll(clusterAddr))
	if !c.syncAffinity(0, variant.endpoints) {
		return
	}
	c.checkDiffers("after affinity was turned off", second, c.connectAll(clusterAddr))
}

// checkDiffers checks that some clients reach another endpoint than before.
func (c *checker) checkDiffers(when string, before, after assignment) {
	changed := changedVariants(before, after)
	for _, v := range c.variants {
		if !slices.Contains(changed, v) {
			c.fail(v, "%s, all clients kept their endpoints", when)
		}
	}
}
