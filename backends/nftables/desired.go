// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/backends/internal/contract"
	"sigs.k8s.io/kpng/localsink"
)

// A desiredFrontend is a frontend of one family as the update describes it.
type desiredFrontend struct {
	key       frontendKey
	clusterIP bool
	dispatch  dispatch
	pools     [maxPools]int // index in portPools of each pool of the dispatch, or -1

	// Of the Service port:
	port      int // index in the Service
	affinity  time.Duration
	refused   uint16
	selection localsink.Selection
	portID    string // whose connections are counted together; empty unless they are
	portPools []localsink.Pool

	restricted bool // has source ranges, perhaps none
	sources    sourceRanges
}

// indexOfDesired returns the index of the frontend with the key, or -1. It looks at guess
// first.
func indexOfDesired(all []desiredFrontend, k frontendKey, guess int) int {
	if guess < len(all) && all[guess].key == k {
		return guess
	}
	return slices.IndexFunc(all, func(f desiredFrontend) bool { return f.key == k })
}

// desiredFrontends returns the frontends of the table's family. It skips what violates the
// contract of package localsink and notes it as a problem.
func (st *tableState) desiredFrontends(c *serviceChange) []desiredFrontend {
	delete(st.problems, c.name)
	if c.desired == nil {
		return nil
	}
	var all []desiredFrontend
	for i := range c.desired.Ports {
		p := &c.desired.Ports[i]
		if !slices.ContainsFunc(p.Frontends, func(fe localsink.Frontend) bool { return st.family.has(fe.Addr.Addr()) }) {
			continue
		}
		if all == nil {
			all = make([]desiredFrontend, 0, len(p.Frontends))
		}
		pools, id, first := validPools(st.family, p), affinityIDOf(c.desired, i), len(all)
		slots := pools
		if id == "" && !st.selectsConsistently(p) {
			slots = withRepeatedEndpoints(pools)
		}
		for j := range p.Frontends {
			fe := &p.Frontends[j]
			if !st.family.has(fe.Addr.Addr()) {
				continue
			}
			if problem, usable := checkFrontend(st.family, p, fe, pools); problem != "" {
				st.addProblem(c.name, fmt.Sprintf("ports[%d].frontends[%d]", i, j), problem)
				if !usable {
					continue
				}
			}
			all = append(all, newDesiredFrontend(st.family, i, p, fe, slots, id))
		}
		st.setSelection(c, i, all[first:])
		if id != "" {
			if st.counting {
				st.countedPorts[id] = c.name
			}
			clearUnusedPools(all[first:], pools)
		}
	}
	return all
}

// selectsConsistently reports whether clients of a port get the same endpoint again, as far as the
// kernel supports that.
func (st *tableState) selectsConsistently(p *localsink.Port) bool {
	return !st.withoutHash && isConsistent(p.Selection)
}

// setSelection completes the frontends of a port with what consistent selection needs.
func (st *tableState) setSelection(c *serviceChange, port int, all []desiredFrontend) {
	p := &c.desired.Ports[port]
	if !st.selectsConsistently(p) {
		for i := range all {
			all[i].selection = localsink.SelectionRandom
		}
		return
	}
	if !st.counting || p.Affinity > 0 {
		return
	}
	id := portIDOf(c.desired, port)
	st.countedPorts[id] = c.name
	for i := range all {
		all[i].portID = id
	}
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

func newDesiredFrontend(f *family, port int, p *localsink.Port, fe *localsink.Frontend, pools []localsink.Pool, affinityID string) desiredFrontend {
	d := desiredFrontend{
		key:       frontendKey{addr: fe.Addr, proto: p.Protocol},
		clusterIP: fe.Kind == localsink.KindClusterIP,
		port:      port,
		affinity:  p.Affinity,
		refused:   p.RefusedPerMille,
		selection: p.Selection,
		portPools: pools,
	}
	d.dispatch, d.pools = newDispatch(d.key.matchKind(), fe.Routes, pools)
	if p.Affinity == 0 {
		d.dispatch.refused = p.RefusedPerMille // with affinity, the chain of the pool refuses
	}
	if affinityID != "" {
		d.dispatch = d.dispatch.withAffinity(affinityID, d.pools)
	}
	if fe.SourceRanges != nil {
		d.restricted, d.sources = true, newSourceRanges(f, fe.SourceRanges)
	}
	return d
}

// checkFrontend returns what violates the contract of package localsink, or an empty string.
// It reports whether the frontend can be programmed nevertheless, without some endpoints.
// pools are the valid pools of p.
func checkFrontend(f *family, p *localsink.Port, fe *localsink.Frontend, pools []localsink.Pool) (problem string, usable bool) {
	if violation := contract.FrontendViolation(p, fe); violation != "" {
		return fmt.Sprintf("%v %v/%v: %s; ignored", fe.Kind, fe.Addr, p.Protocol, violation), false
	}
	for _, r := range fe.Routes {
		if n := len(p.Pools[r.Pool].Endpoints) - len(pools[r.Pool].Endpoints); n > 0 {
			return fmt.Sprintf("pools[%d]: %d endpoints are duplicates or not %s addresses with a port; ignored",
				r.Pool, n, f.name), true
		}
	}
	return "", true
}

// validPools returns the pools of a port as their contract requires: endpoints of the family,
// sorted and without duplicates. It returns p.Pools itself if that is valid.
func validPools(f *family, p *localsink.Port) []localsink.Pool {
	pools, cloned := p.Pools, false
	for i := range p.Pools {
		if isValidPool(f, p.Pools[i].Endpoints) {
			continue
		}
		if !cloned {
			pools, cloned = slices.Clone(p.Pools), true
		}
		pools[i].Endpoints = validEndpoints(f, p.Pools[i].Endpoints)
	}
	return pools
}

func isValidEndpoint(f *family, e netip.AddrPort) bool { return f.has(e.Addr()) && e.Port() != 0 }

func isValidPool(f *family, endpoints []localsink.Endpoint) bool {
	for i := range endpoints {
		e := &endpoints[i]
		if !isValidEndpoint(f, e.Addr) || i > 0 && endpoints[i-1].Addr.Compare(e.Addr) >= 0 {
			return false
		}
	}
	return true
}

func validEndpoints(f *family, endpoints []localsink.Endpoint) []localsink.Endpoint {
	if !slices.ContainsFunc(endpoints, func(e localsink.Endpoint) bool { return isValidEndpoint(f, e.Addr) }) {
		return nil // usually a pool of the other family
	}
	valid := slices.DeleteFunc(slices.Clone(endpoints), func(e localsink.Endpoint) bool { return !isValidEndpoint(f, e.Addr) })
	slices.SortStableFunc(valid, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
	return slices.CompactFunc(valid, func(a, b localsink.Endpoint) bool { return a.Addr == b.Addr })
}

// sortedNames returns the keys of m in order.
func sortedNames[V any](m map[localsink.ServiceName]V) []localsink.ServiceName {
	return slices.SortedFunc(maps.Keys(m), localsink.ServiceName.Compare)
}
