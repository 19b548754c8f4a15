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

// A desiredFrontend is a frontend of one family as it is wanted.
type desiredFrontend struct {
	key        frontendKey
	clusterIP  bool
	dispatch       dispatch
	pools       [maxPools]int // the pool of each position, or -1
	port       int               // which port of the Service it is of
	affinity   time.Duration     // of that port
	portPools      []localsink.Pool  // of that port
	restricted bool
	sources    sourceRanges
}

func indexOfDesired(all []desiredFrontend, k frontendKey, guess int) int {
	if guess < len(all) && all[guess].key == k {
		return guess
	}
	return slices.IndexFunc(all, func(c desiredFrontend) bool { return c.key == k })
}

// desiredFrontends returns the frontends of the mirror's family. What breaks the
// contract of package localsink is left out and noted as a problem.
func (m *tableState) desiredFrontends(c *serviceChange) []desiredFrontend {
	delete(m.problems, c.name)
	if c.desired == nil {
		return nil
	}
	var all []desiredFrontend
	for i := range c.desired.Ports {
		p := &c.desired.Ports[i]
		if !slices.ContainsFunc(p.Frontends, func(fe localsink.Frontend) bool { return m.family.has(fe.Addr.Addr()) }) {
			continue
		}
		if all == nil {
			all = make([]desiredFrontend, 0, len(p.Frontends))
		}
		pools, sticky, first := m.validPools(p), affinityIDOf(c.desired, i), len(all)
		for j := range p.Frontends {
			fe := &p.Frontends[j]
			if !m.family.has(fe.Addr.Addr()) {
				continue
			}
			if fault := m.checkFrontend(p, fe, pools); fault != "" {
				m.addProblem(c.name, fmt.Sprintf("ports[%d].frontends[%d]", i, j), fault)
				if !isProgrammable(p, fe) {
					continue
				}
			}
			all = append(all, m.newDesiredFrontend(i, p, fe, pools, sticky))
		}
		if sticky != "" {
			clearUnusedPools(all[first:], pools)
		}
	}
	return all
}

// clearUnusedPools empties the pools that no frontend of a port uses.
func clearUnusedPools(all []desiredFrontend, pools []localsink.Pool) {
	used := make([]localsink.Pool, len(pools))
	for i := range all {
		for _, pool := range all[i].pools {
			if pool >= 0 {
				used[pool] = pools[pool]
			}
		}
	}
	for i := range all {
		all[i].portPools = used
	}
}

func (m *tableState) newDesiredFrontend(port int, p *localsink.Port, fe *localsink.Frontend, pools []localsink.Pool, sticky string) desiredFrontend {
	c := desiredFrontend{
		key:       frontendKey{addr: fe.Addr, proto: p.Protocol},
		clusterIP: fe.Kind == localsink.KindClusterIP,
		port:      port,
		affinity:  p.Affinity,
		portPools:     pools,
	}
	c.dispatch, c.pools = newDispatch(c.key.matchKind(), fe.Routes, pools)
	if sticky != "" {
		c.dispatch = c.dispatch.withAffinity(sticky, c.pools)
	}
	if fe.SourceRanges != nil {
		c.restricted, c.sources = true, newSourceRanges(m.family, fe.SourceRanges)
	}
	return c
}

// isProgrammable tells whether a frontend means anything.
func isProgrammable(p *localsink.Port, fe *localsink.Frontend) bool {
	known := p.Protocol == localsink.ProtocolTCP || p.Protocol == localsink.ProtocolUDP || p.Protocol == localsink.ProtocolSCTP
	inRange := !slices.ContainsFunc(fe.Routes, func(r localsink.Route) bool {
		return r.Pool < 0 || r.Pool >= len(p.Pools) || r.From > localsink.FromThisNode
	})
	return known && inRange && len(fe.Routes) > 0 && fe.Addr.Port() != 0 &&
		fe.Addr.Addr().IsUnspecified() == (fe.Kind == localsink.KindNodePort)
}

// checkFrontend says what is wrong with a frontend and what is done about it.
func (m *tableState) checkFrontend(p *localsink.Port, fe *localsink.Frontend, pools []localsink.Pool) string {
	if !isProgrammable(p, fe) {
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

// validPools returns the pools of a port with what their contract promises: endpoints
// of the family, in order, each once. Usually they are returned as they are.
func (m *tableState) validPools(p *localsink.Port) []localsink.Pool {
	pools := p.Pools
	for i := range pools {
		if m.isSorted(p.Pools[i].Endpoints) {
			continue
		}
		if &pools[0] == &p.Pools[0] {
			pools = slices.Clone(pools)
		}
		pools[i].Endpoints = m.sortedEndpoints(p.Pools[i].Endpoints)
	}
	return pools
}

func (m *tableState) isUsable(e netip.AddrPort) bool { return m.family.has(e.Addr()) && e.Port() != 0 }

func (m *tableState) isSorted(endpoints []localsink.Endpoint) bool {
	for i := range endpoints {
		e := &endpoints[i]
		if !m.isUsable(e.Addr) || i > 0 && endpoints[i-1].Addr.Compare(e.Addr) >= 0 {
			return false
		}
	}
	return true
}

func (m *tableState) sortedEndpoints(endpoints []localsink.Endpoint) []localsink.Endpoint {
	if !slices.ContainsFunc(endpoints, func(e localsink.Endpoint) bool { return m.isUsable(e.Addr) }) {
		return nil // usually a pool of the other family
	}
	good := slices.DeleteFunc(slices.Clone(endpoints), func(e localsink.Endpoint) bool { return !m.isUsable(e.Addr) })
	slices.SortStableFunc(good, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
	return slices.CompactFunc(good, func(a, b localsink.Endpoint) bool { return a.Addr == b.Addr })
}

func (m *tableState) addProblem(name localsink.ServiceName, field, message string) {
	m.problems[name] = append(m.problems[name], localsink.Problem{
		Object: "Service " + name.String(), Field: field, Message: message,
	})
}

// assignSlots puts the endpoints of a pool, which are in order, into slots. Those that
// hold a slot below the new number of slots keep it; the others fill the rest.
// The result may share memory with pool, and must not be written to.
func assignSlots(held, pool []localsink.Endpoint) []localsink.Endpoint {
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
