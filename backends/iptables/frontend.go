// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"net/netip"
	"slices"
	"strconv"

	"sigs.k8s.io/kpng/localsink"
)

// frontend renders one valid frontend.
func (p *port) frontend(fe *localsink.Frontend) {
	verdicts := p.verdicts(fe)
	p.natEntry(fe, p.natTarget(fe))
	p.filterEntries(fe, verdicts)
	if fe.Kind == localsink.KindClusterIP {
		chain := bucketChain(prefixClusterIPs, bucket(fe.Addr.Addr()))
		p.out.addEntry(tableFilter, chain, netip.AddrPortFrom(fe.Addr.Addr(), 0), "-d", host(fe.Addr.Addr()), "-j", chainReject)
	}
}

// match returns the options that match the packets to a frontend, in a chain that only such
// packets reach as have the right kind of destination.
func (p *port) match(fe *localsink.Frontend, note string) string {
	destination := ""
	if fe.Kind != localsink.KindNodePort {
		destination = "-d " + host(fe.Addr.Addr())
	}
	if note != "" {
		note = comment(p.names.port + " " + note)
	}
	return join(destination, "-p", p.names.proto, note, "-m", p.names.proto, "--dport", strconv.Itoa(int(fe.Addr.Port())))
}

// purpose returns what kube-proxy writes into the comments of rules for a kind of frontend.
func purpose(k localsink.FrontendKind) string {
	switch k {
	case localsink.KindClusterIP:
		return "cluster IP"
	case localsink.KindExternalIP:
		return "external IP"
	case localsink.KindLoadBalancer:
		return "loadbalancer IP"
	case localsink.KindNodePort:
	}
	return "node port"
}

// natEntry adds the rule that leads from a shared chain to a target.
func (p *port) natEntry(fe *localsink.Frontend, target string) {
	chain := chainNodePorts
	if fe.Kind != localsink.KindNodePort {
		chain = bucketChain(prefixDispatch, bucket(fe.Addr.Addr()))
	}
	p.out.addEntry(tableNAT, chain, fe.Addr, p.match(fe, purpose(fe.Kind)), "-j", target)
}

// natTarget returns the target for connections to a frontend. The target ACCEPT ends the rules of
// Services in the nat table without a translation.
func (p *port) natTarget(fe *localsink.Frontend) string {
	target := p.routesTarget(fe)
	if fe.SourceRanges == nil {
		return target
	}
	c := serviceChain{name: p.names.sources(p.sources)}
	p.sources++
	for _, n := range p.family.networks(fe.SourceRanges) {
		c.add(inNetwork("-s", n), "-j", target)
	}
	c.add("-j ACCEPT") // the filter table drops them
	p.out.chains = append(p.out.chains, c)
	return c.name
}

// routesTarget returns the target that applies the routes of a frontend.
func (p *port) routesTarget(fe *localsink.Frontend) string {
	first := fe.Routes[0]
	if first.From == localsink.FromAny {
		switch {
		case len(p.pools[first.Pool].endpoints) == 0:
			return "ACCEPT"
		case !first.Masquerade:
			return p.poolChain(first.Pool).name
		}
	}
	if fe.Kind == localsink.KindClusterIP {
		if mark, pool, ok := p.sharedPool(fe.Routes); ok {
			c := p.poolChain(pool)
			c.add(p.match(fe, ""), "-j", mark)
			return c.name
		}
	}
	return p.externalChain(fe.Routes)
}

// sharedPool returns the common pool of routes that only differ in whether they masquerade: those
// of all clients do, or those of all but pods of this node. mark is the chain that decides.
func (p *port) sharedPool(routes []localsink.Route) (mark string, pool int, ok bool) {
	pool = routes[0].Pool
	if len(p.pools[pool].endpoints) == 0 {
		return "", 0, false
	}
	if routes[0].From == localsink.FromAny {
		return chainMarkMasq, pool, routes[0].Masquerade
	}
	ok = len(routes) > 1 && routes[0].From == localsink.FromLocalPods && !routes[0].Masquerade &&
		routes[1].From == localsink.FromAny && routes[1].Masquerade && routes[1].Pool == pool
	return chainMarkMasqRemote, pool, ok
}

// externalChain returns the name of the chain that applies a list of routes.
func (p *port) externalChain(routes []localsink.Route) string {
	if i := slices.IndexFunc(p.external, func(c routeChain) bool { return slices.Equal(c.routes, routes) }); i >= 0 {
		return p.external[i].name
	}
	c := serviceChain{name: p.names.external(len(p.external))}
	p.external = append(p.external, routeChain{routes, c.name})
	for _, r := range routes {
		hasEndpoints := len(p.pools[r.Pool].endpoints) > 0
		for _, client := range p.matches.from(r.From) {
			switch {
			case !hasEndpoints:
				c.add(client, "-j ACCEPT")
				continue
			case r.Masquerade:
				c.add(client, "-j", chainMarkMasq)
			}
			c.add(client, "-j", p.poolChain(r.Pool).name)
		}
		if r.From == localsink.FromAny {
			break
		}
	}
	p.out.chains = append(p.out.chains, c)
	return c.name
}
