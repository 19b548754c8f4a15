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
		{id: "DP-40", title: "a client address keeps its endpoint, over all frontends of the port", check: sticky},
		{id: "DP-41", title: "the memory ends when a client made no new connection for the time given", check: forgetful},
		{id: "DP-42", title: "a client whose endpoint is removed gets another and keeps that; others keep theirs", check: repicked},
		{id: "DP-43", title: "the memory outlives other changes of the Service and a restart of the program", check: remembered},
		{id: "DP-44", title: "another duration takes effect", check: otherDuration},
		{id: "DP-45", title: "affinity is turned on and off", check: switched},
	}
	for i := range all {
		all[i].needs |= localsink.FeatureAffinity | localsink.FeatureClusterIP
	}
	return all
}

// long is longer than any behaviour takes.
const long = time.Hour

// endpoints are as many as clients will not pick all alike by chance.
func (v variant) endpoints() []localsink.Endpoint {
	return []localsink.Endpoint{v.pod(0), v.pod(1), v.pod(2), v.remote(0), v.remote(1), v.pod(3)}
}

// stickyService has frontends of every kind that the backend has.
func (c *checker) stickyService(s *step, v variant, affinity time.Duration, endpoints ...localsink.Endpoint) []localsink.Frontend {
	var fronts []localsink.Frontend
	for _, kind := range kinds() {
		if c.lacks()&kindFeature(kind) == 0 {
			fronts = append(fronts, v.front(kind, 1, localsink.Route{Masquerade: kind == localsink.KindNodePort}))
		}
	}
	s.serve(v, "a", localsink.Port{Affinity: affinity, Pools: pools(pool(endpoints...)), Frontends: fronts})
	return fronts
}

// A choice is which endpoint each client of each variant has.
type choice map[pair]netip.AddrPort

type pair struct {
	v      variant
	client netip.Addr
}

// choose lets all clients outside, and a pod, connect once to the first of the
// frontends.
func (c *checker) choose(fronts func(v variant) netip.AddrPort) choice {
	s := c.plan(func(s *step, v variant) {
		s.ask(v, append(c.w.externals(), c.w.localPod()), fronts(v))
	})
	got := choice{}
	for i, a := range c.ask(s.probes) {
		p := s.probes[i]
		if wrong := c.judge(p, a); wrong != "" {
			c.fail(p.v, "%s: wanted %s: %s", p, c.expect(p), wrong)
		}
		got[pair{p.v, p.from()}] = a.server
	}
	return got
}

// clusterFront is the frontend at which clients choose.
func clusterFront(v variant) netip.AddrPort { return v.front(localsink.KindClusterIP, 1).Addr }

// kept checks that a second choice is the first one.
func (c *checker) kept(when string, first, second choice) {
	for k, server := range second {
		if first[k] != server {
			c.fail(k.v, "%s: %s had %s and got %s", when, k.client, first[k], server)
		}
	}
}

// differ returns the variants in which some client got another endpoint.
func differ(first, second choice) []variant {
	var all []variant
	for k, server := range second {
		if first[k] != server && !slices.Contains(all, k.v) {
			all = append(all, k.v)
		}
	}
	return all
}

// stick syncs a sticky Service.
func (c *checker) stick(affinity time.Duration, endpoints func(v variant) []localsink.Endpoint) bool {
	return c.step(func(s *step, v variant) { c.stickyService(s, v, affinity, endpoints(v)...) })
}

func sticky(c *checker) {
	if !c.stick(long, variant.endpoints) {
		return
	}
	first := c.choose(clusterFront)
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
	scratch := c.plan(func(*step, variant) {})
	for _, v := range c.variants {
		for _, to := range v.dialsAll(c.stickyService(scratch, v, long)...) {
			one := func(w variant) netip.AddrPort {
				if w == v {
					return to
				}
				return clusterFront(w)
			}
			for range 2 {
				c.kept(to.String(), first, c.choose(one))
			}
		}
	}
}

// brief is a duration that a test can wait for.
const brief = 2 * time.Second

// pause waits, since it is the kernel's clock that counts.
func (c *checker) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
	}
}

func forgetful(c *checker) {
	if !c.stick(brief, variant.endpoints) {
		return
	}
	first := c.choose(clusterFront)
	for range 4 { // each connection begins the time anew
		c.pause(brief / 2)
		c.kept("within the time", first, c.choose(clusterFront))
	}
	c.forgotten("after the time", first, brief)
}

// forgotten checks that after d some client chooses anew; that all choose the same
// again by chance does not happen in a thousand years.
func (c *checker) forgotten(when string, first choice, d time.Duration) {
	c.pause(d + d/2)
	changed := differ(first, c.choose(clusterFront))
	for _, v := range c.variants {
		if !slices.Contains(changed, v) {
			c.fail(v, "%s: %d clients all keep their endpoints", when, clientCount+1)
		}
	}
}

func repicked(c *checker) {
	if !c.stick(long, variant.endpoints) {
		return
	}
	first := c.choose(clusterFront)
	fewer := func(v variant) []localsink.Endpoint { return v.endpoints()[3:] }
	if !c.stick(long, fewer) {
		return
	}
	second := c.choose(clusterFront) // judges that nobody gets what is removed
	for k, server := range second {
		stays := slices.ContainsFunc(fewer(k.v), func(e localsink.Endpoint) bool { return e.Addr == first[k] })
		if stays && server != first[k] {
			c.fail(k.v, "%s had %s, which stays, and got %s", k.client, first[k], server)
		}
	}
	c.kept("after choosing anew", second, c.choose(clusterFront))
	if c.stick(long, variant.endpoints) {
		c.kept("after the removed ones came back", second, c.choose(clusterFront))
	}
}

func remembered(c *checker) {
	if !c.stick(long, variant.endpoints) {
		return
	}
	first := c.choose(clusterFront)
	more := func(v variant) []localsink.Endpoint { return append(v.endpoints(), v.pod(5), v.remote(2)) }
	if !c.stick(long, more) {
		return
	}
	c.kept("after endpoints were added", first, c.choose(clusterFront))
	if !c.step(func(s *step, v variant) {
		c.stickyService(s, v, long, more(v)...)
		s.serve(v, "a", localsink.Port{Name: "another" + v.protocol.String(), Pools: pools(pool(v.pod(0))),
			Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.AddrPortFrom(v.clusterIP(1), 81), Routes: []localsink.Route{{}}}}})
		s.serve(v, "b", localsink.Port{Pools: pools(pool(v.pod(0))), Frontends: []localsink.Frontend{v.front(localsink.KindClusterIP, 2)}})
	}) {
		return
	}
	c.kept("after a port and a Service were added", first, c.choose(clusterFront))
	if c.restart() {
		c.kept("after a restart", first, c.choose(clusterFront))
	}
}

func otherDuration(c *checker) {
	if !c.stick(long, variant.endpoints) {
		return
	}
	c.choose(clusterFront)
	if !c.stick(brief, variant.endpoints) {
		return
	}
	first := c.choose(clusterFront) // begins the new time, if the old one is not over at once
	c.kept("within the new time", first, c.choose(clusterFront))
	c.forgotten("after the new, shorter time", first, brief)
	second := c.choose(clusterFront)
	if !c.stick(long, variant.endpoints) {
		return
	}
	c.kept("when it is longer again", second, c.choose(clusterFront))
	c.pause(brief + brief/2)
	c.kept("within the new, longer time", second, c.choose(clusterFront))
}

func switched(c *checker) {
	if !c.stick(0, variant.endpoints) {
		return
	}
	first := c.choose(clusterFront)
	c.changing("before affinity was turned on", first, c.choose(clusterFront))
	if !c.stick(long, variant.endpoints) {
		return
	}
	second := c.choose(clusterFront)
	c.kept("after it was turned on", second, c.choose(clusterFront))
	if !c.stick(0, variant.endpoints) {
		return
	}
	c.changing("after affinity was turned off", second, c.choose(clusterFront))
}

// changing checks that some clients reach another endpoint than before.
func (c *checker) changing(when string, before, after choice) {
	changed := differ(before, after)
	for _, v := range c.variants {
		if !slices.Contains(changed, v) {
			c.fail(v, "%s, all clients kept their endpoints", when)
		}
	}
}
