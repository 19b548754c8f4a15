// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A candidate is a frontend of one family as it is wanted.
type candidate struct {
	key        key
	clusterIP  bool
	plan       plan
	used       [maxPositions]int // the pool of each position, or -1
	port       int               // which port of the Service it is of
	affinity   time.Duration     // of that port
	pools      []localsink.Pool  // of that port
	restricted bool
	sources    sourceList
}

func findCandidate(all []candidate, k key, guess int) int {
	if guess < len(all) && all[guess].key == k {
		return guess
	}
	return slices.IndexFunc(all, func(c candidate) bool { return c.key == k })
}

// candidates returns the frontends of the mirror's family. What breaks the
// contract of package localsink is left out and noted as a problem.
func (m *mirror) candidates(c *change) []candidate {
	delete(m.problems, c.name)
	if c.want == nil {
		return nil
	}
	var all []candidate
	for i := range c.want.Ports {
		p := &c.want.Ports[i]
		if !slices.ContainsFunc(p.Frontends, func(fe localsink.Frontend) bool { return m.family.has(fe.Addr.Addr()) }) {
			continue
		}
		if all == nil {
			all = make([]candidate, 0, len(p.Frontends))
		}
		pools, sticky, first := m.pools(p), stickyIDOf(c.want, i), len(all)
		for j := range p.Frontends {
			fe := &p.Frontends[j]
			if !m.family.has(fe.Addr.Addr()) {
				continue
			}
			if fault := m.fault(p, fe, pools); fault != "" {
				m.problem(c.name, fmt.Sprintf("ports[%d].frontends[%d]", i, j), fault)
				if !servable(p, fe) {
					continue
				}
			}
			all = append(all, m.candidate(i, p, fe, pools, sticky))
		}
		if sticky != "" {
			onlyUsed(all[first:], pools)
		}
	}
	return all
}

// onlyUsed empties the pools that no frontend of a port uses.
func onlyUsed(all []candidate, pools []localsink.Pool) {
	used := make([]localsink.Pool, len(pools))
	for i := range all {
		for _, pool := range all[i].used {
			if pool >= 0 {
				used[pool] = pools[pool]
			}
		}
	}
	for i := range all {
		all[i].pools = used
	}
}

func (m *mirror) candidate(port int, p *localsink.Port, fe *localsink.Frontend, pools []localsink.Pool, sticky string) candidate {
	c := candidate{
		key:       key{addr: fe.Addr, proto: p.Protocol},
		clusterIP: fe.Kind == localsink.KindClusterIP,
		port:      port,
		affinity:  p.Affinity,
		pools:     pools,
	}
	c.plan, c.used = planOf(c.key.role(), fe.Routes, pools)
	if sticky != "" {
		c.plan = c.plan.stuck(sticky, c.used)
	}
	if fe.SourceRanges != nil {
		c.restricted, c.sources = true, sourcesOf(m.family, fe.SourceRanges)
	}
	return c
}

// servable tells whether a frontend means anything.
func servable(p *localsink.Port, fe *localsink.Frontend) bool {
	known := p.Protocol == localsink.ProtocolTCP || p.Protocol == localsink.ProtocolUDP || p.Protocol == localsink.ProtocolSCTP
	inRange := !slices.ContainsFunc(fe.Routes, func(r localsink.Route) bool {
		return r.Pool < 0 || r.Pool >= len(p.Pools) || r.From > localsink.FromThisNode
	})
	return known && inRange && len(fe.Routes) > 0 && fe.Addr.Port() != 0 &&
		fe.Addr.Addr().IsUnspecified() == (fe.Kind == localsink.KindNodePort)
}

// fault says what is wrong with a frontend and what is done about it.
func (m *mirror) fault(p *localsink.Port, fe *localsink.Frontend, pools []localsink.Pool) string {
	if !servable(p, fe) {
		return fmt.Sprintf("%v %v/%v makes no sense and is not served", fe.Kind, fe.Addr, p.Protocol)
	}
	for _, r := range fe.Routes {
		if lost := len(p.Pools[r.Pool].Endpoints) - len(pools[r.Pool].Endpoints); lost > 0 {
			return fmt.Sprintf("pools[%d] holds %d endpoints that are not %s addresses with a port, or there twice; they are left out",
				r.Pool, lost, m.family.name)
		}
	}
	return ""
}

// pools returns the pools of a port with what their contract promises: endpoints
// of the family, in order, each once. Usually they are returned as they are.
func (m *mirror) pools(p *localsink.Port) []localsink.Pool {
	pools := p.Pools
	for i := range pools {
		if m.sound(p.Pools[i].Endpoints) {
			continue
		}
		if &pools[0] == &p.Pools[0] {
			pools = slices.Clone(pools)
		}
		pools[i].Endpoints = m.repair(p.Pools[i].Endpoints)
	}
	return pools
}

func (m *mirror) usable(e netip.AddrPort) bool { return m.family.has(e.Addr()) && e.Port() != 0 }

func (m *mirror) sound(endpoints []localsink.Endpoint) bool {
	for i := range endpoints {
		e := &endpoints[i]
		if !m.usable(e.Addr) || i > 0 && endpoints[i-1].Addr.Compare(e.Addr) >= 0 {
			return false
		}
	}
	return true
}

func (m *mirror) repair(endpoints []localsink.Endpoint) []localsink.Endpoint {
	if !slices.ContainsFunc(endpoints, func(e localsink.Endpoint) bool { return m.usable(e.Addr) }) {
		return nil // usually a pool of the other family
	}
	good := slices.DeleteFunc(slices.Clone(endpoints), func(e localsink.Endpoint) bool { return !m.usable(e.Addr) })
	slices.SortStableFunc(good, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
	return slices.CompactFunc(good, func(a, b localsink.Endpoint) bool { return a.Addr == b.Addr })
}

func (m *mirror) problem(name localsink.ServiceName, field, message string) {
	m.problems[name] = append(m.problems[name], localsink.Problem{
		Object: "Service " + name.String(), Field: field, Message: message,
	})
}

// assign puts the endpoints of a pool, which are in order, into slots. Those that
// hold a slot below the new number of slots keep it; the others fill the rest.
// The result may share memory with pool, and must not be written to.
func assign(held, pool []localsink.Endpoint) []localsink.Endpoint {
	if len(held) == 0 || slices.Equal(held, pool) {
		return pool
	}
	slots := make([]localsink.Endpoint, len(pool))
	placed := make([]bool, len(pool))
	taken := make([]bool, len(pool))
	for i, e := range held[:min(len(held), len(pool))] {
		at, found := slices.BinarySearchFunc(pool, e.Addr, func(e localsink.Endpoint, a netip.AddrPort) int { return e.Addr.Compare(a) })
		if found {
			slots[i], placed[at], taken[i] = pool[at], true, true
		}
	}
	free := 0
	for at, done := range placed {
		if done {
			continue
		}
		for taken[free] {
			free++
		}
		slots[free], taken[free] = pool[at], true
	}
	if slices.Equal(slots, pool) {
		return pool
	}
	return slots
}

// sortedNames returns the keys of m in order.
func sortedNames[V any](m map[localsink.ServiceName]V) []localsink.ServiceName {
	return slices.SortedFunc(maps.Keys(m), func(a, b localsink.ServiceName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}
