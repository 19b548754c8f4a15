// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"sigs.k8s.io/kpng/localsink"
)

// A rendering is all that one Service needs in the tables of one family.
type rendering struct {
	chains  []serviceChain // of the nat table
	entries []entry
	// hairpins lists the addresses of local endpoints, perhaps repeatedly.
	hairpins []netip.Addr
	// problems lists the parts that are left out.
	problems []error
}

func (r *rendering) addEntry(table, chain string, frontend netip.AddrPort, options ...string) {
	r.entries = append(r.entries, entry{entryGroup{table, chain, frontend}, join(options...)})
}

// A renderer renders Services for one family and node. Its results depend on nothing else, so
// the difference between two versions of a Service is the difference between their renderings.
type renderer struct {
	family  *family
	matches nodeMatches
}

func (r *renderer) render(s *localsink.Service) *rendering {
	out := &rendering{}
	if s == nil {
		return out
	}
	for i := range s.Ports {
		r.port(out, s, i)
	}
	if s.HealthCheck != nil {
		check := netip.AddrPortFrom(netip.Addr{}, s.HealthCheck.Port)
		out.addEntry(tableFilter, chainNodePorts, check, "-p tcp", comment(s.Name.String()+" health check node port"),
			"-m tcp --dport", strconv.Itoa(int(s.HealthCheck.Port)), "-j ACCEPT")
	}
	// Ports with the same cluster IP have the same rule for its other ports.
	seen := map[entry]bool{}
	out.entries = slices.DeleteFunc(out.entries, func(e entry) bool {
		repeated := seen[e]
		seen[e] = true
		return repeated
	})
	return out
}

// A port renders one port of a Service.
type port struct {
	*renderer
	out   *rendering
	spec  *localsink.Port
	names portNames
	pools []pool // by index in spec.Pools
	// external has the chain for each list of routes, and sources the number of chains for
	// source ranges.
	external []routeChain
	sources  int
}

// A pool is a valid pool of a port.
type pool struct {
	endpoints []localsink.Endpoint
	chain     *serviceChain // nil until a frontend uses it
	number    int           // among the pools of the family
}

// A routeChain is the chain for frontends with equal routes.
type routeChain struct {
	routes []localsink.Route
	name   string
}

func (r *renderer) port(out *rendering, s *localsink.Service, index int) {
	p := port{renderer: r, out: out, spec: &s.Ports[index]}
	if !slices.ContainsFunc(p.spec.Frontends, func(fe localsink.Frontend) bool { return r.family.has(fe.Addr.Addr()) }) {
		return
	}
	p.names = newPortNames(s, index)
	p.addPools()
	for i := range p.spec.Frontends {
		fe := &p.spec.Frontends[i]
		if !r.family.has(fe.Addr.Addr()) {
			continue
		}
		problem, usable := p.check(fe)
		if problem != "" {
			out.problems = append(out.problems, fmt.Errorf("iptables: ports[%d].frontends[%d]: %v %v/%v: %s",
				index, i, fe.Kind, fe.Addr, p.spec.Protocol, problem))
		}
		if usable {
			p.frontend(fe)
		}
	}
	p.finishPools()
}

// addPools fills p.pools with the endpoints of the family.
func (p *port) addPools() {
	p.pools = make([]pool, len(p.spec.Pools))
	number := 0
	for i := range p.spec.Pools {
		p.pools[i] = pool{endpoints: validEndpoints(p.family, p.spec.Pools[i].Endpoints), number: number}
		if len(p.pools[i].endpoints) > 0 {
			number++
		}
	}
}

// poolChain returns the chain of a pool with endpoints.
func (p *port) poolChain(index int) *serviceChain {
	pool := &p.pools[index]
	if pool.chain == nil {
		pool.chain = &serviceChain{name: p.names.pool(pool.number)}
	}
	return pool.chain
}

// finishPools adds the rules that select an endpoint to the chains in use.
func (p *port) finishPools() {
	for i := range p.pools {
		pool := &p.pools[i]
		if pool.chain == nil {
			continue
		}
		p.balance(pool.chain, pool.endpoints)
		p.out.chains = append(p.out.chains, *pool.chain)
		for j := range pool.endpoints {
			if pool.endpoints[j].Local {
				p.out.hairpins = append(p.out.hairpins, pool.endpoints[j].Addr.Addr())
			}
		}
	}
}

// hairpinRule returns the rule for connections from a local endpoint to itself.
func hairpinRule(a netip.Addr) string {
	return join("-s", host(a), "-d", host(a), "-j MASQUERADE --random-fully")
}
