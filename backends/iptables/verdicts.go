// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A verdict is what the filter table does with those connections of some clients that the nat
// table has not sent to an endpoint.
type verdict struct {
	from   localsink.From
	target string
}

// target returns the target of a verdict in a chain that is called from a chain of the kernel.
func target(v localsink.Verdict) string {
	switch v {
	case localsink.VerdictDrop:
		return "DROP"
	case localsink.VerdictPass:
		return "RETURN"
	case localsink.VerdictReject:
	}
	return chainReject
}

// verdicts returns the verdicts of a frontend, none if each permitted connection gets an endpoint.
func (p *port) verdicts(fe *localsink.Frontend) []verdict {
	var all []verdict
	for _, r := range fe.Routes {
		switch {
		case len(p.pools[r.Pool].endpoints) == 0:
			all = append(all, verdict{r.From, target(r.EmptyVerdict)})
		case p.spec.RefusedPerMille > 0:
			all = append(all, verdict{r.From, chainReject})
		}
		if r.From == localsink.FromAny {
			break
		}
	}
	if len(all) > 0 && !slices.ContainsFunc(all, func(v verdict) bool { return v.target != all[0].target }) {
		return []verdict{{localsink.FromAny, all[0].target}} // routes with endpoints leave no connections
	}
	return all
}

// filterEntries adds the rules of a frontend to the filter table: they drop connections from
// outside of source ranges, then apply verdicts.
func (p *port) filterEntries(fe *localsink.Frontend, verdicts []verdict) {
	firewall, chain := chainProxyFirewall, chainExternalServices
	switch fe.Kind {
	case localsink.KindNodePort:
		firewall, chain = chainNodePortFirewall, chainNodePortVerdicts
		p.loopbackEntry(fe, verdicts)
	case localsink.KindClusterIP:
		chain = chainServices
	case localsink.KindExternalIP, localsink.KindLoadBalancer:
	}
	if fe.SourceRanges != nil {
		match := p.match(fe, purpose(fe.Kind))
		if len(verdicts) > 0 {
			for _, n := range p.family.networks(fe.SourceRanges) {
				p.out.addEntry(tableFilter, firewall, fe.Addr, inNetwork("-s", n), match, "-j RETURN")
			}
		}
		p.out.addEntry(tableFilter, firewall, fe.Addr, match, "-j DROP")
	}
	match := p.match(fe, "has no endpoints")
	for _, v := range verdicts {
		for _, client := range p.matches.from(v.from) {
			p.out.addEntry(tableFilter, chain, fe.Addr, client, match, "-j", v.target)
			if v.target == "RETURN" && chain == chainExternalServices {
				p.out.addEntry(tableFilter, chainServices, fe.Addr, client, match, "-j RETURN")
			}
		}
	}
}

// loopbackEntry refuses connections to a node port on the loopback address, which have no other
// verdict.
func (p *port) loopbackEntry(fe *localsink.Frontend, verdicts []verdict) {
	if p.matches.loopback.IsValid() && p.spec.Protocol == localsink.ProtocolTCP && len(verdicts) > 0 {
		p.out.addEntry(tableFilter, chainNodePortVerdicts, fe.Addr, "-d", host(p.matches.loopback), p.match(fe, "has no endpoints"), "-j", chainReject)
	}
}
