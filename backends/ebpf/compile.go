// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"hash/fnv"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/backends/internal/contract"
	"sigs.k8s.io/kpng/localsink"
)

// A compiler resolves the frontends of Services to what the program does.
type compiler struct {
	node     *localsink.Node
	combined bool
	packets  bool // decides about clients outside
}

// A frontend is one frontend of a port with its targets by kind of client.
type frontend struct {
	key          frontendKey
	source       *localsink.Frontend
	host, pod    target
	outside      target
	withoutPods  bool // the address is a loopback address of the node
	sourceRanges []netip.Prefix
}

// A target is what happens to one kind of client of a frontend.
type target struct {
	verdict       verdict
	denied, empty verdict
	pool          int // index of Port.Pools for verdictBalance
}

// servesPort reports whether the program translates the protocol of a port.
func servesPort(p *localsink.Port) bool {
	return p.Protocol == localsink.ProtocolTCP || p.Protocol == localsink.ProtocolUDP
}

// frontends returns the frontends of a port, and the last violation of the contract among them.
func (c *compiler) frontends(p *localsink.Port) (all []frontend, violation string) {
	for i := range p.Frontends {
		fe := &p.Frontends[i]
		if v := contract.FrontendViolation(p, fe); v != "" {
			violation = "frontend " + fe.Addr.String() + ": " + v
			continue
		}
		f := frontend{
			key: newFrontendKey(fe.Addr, p.Protocol), source: fe, sourceRanges: fe.SourceRanges,
			host: c.target(p, fe, false), pod: c.target(p, fe, true), outside: c.outsideTarget(p, fe),
		}
		all = append(all, f)
		if fe.Kind == localsink.KindNodePort && p.Protocol == localsink.ProtocolTCP {
			all = append(all, c.loopbackFrontends(p, f)...)
		}
	}
	return all, violation
}

// loopbackFrontends returns the frontends of a node port at loopback addresses of the node.
func (c *compiler) loopbackFrontends(p *localsink.Port, f frontend) []frontend {
	var all []frontend
	for _, a := range c.node.LoopbackNodePorts {
		if a.Is4() != f.source.Addr.Addr().Is4() || f.sourceRanges != nil {
			continue
		}
		own := f
		own.key = newFrontendKey(netip.AddrPortFrom(a, f.source.Addr.Port()), p.Protocol)
		own.host.empty, own.withoutPods, own.outside = verdictRefuse, true, target{}
		if own.host.verdict != verdictBalance {
			own.host.verdict = verdictRefuse
		}
		all = append(all, own)
	}
	return all
}

// target returns what happens to clients in the network namespace of the node, or in pods.
func (c *compiler) target(p *localsink.Port, fe *localsink.Frontend, inPod bool) target {
	at := slices.IndexFunc(fe.Routes, func(r localsink.Route) bool {
		switch r.From {
		case localsink.FromAny:
			return true
		case localsink.FromLocalPods:
			return inPod && !c.node.LocalPods.Equal(&localsink.PodSources{})
		case localsink.FromThisNode:
			return !inPod
		}
		return false
	})
	if at < 0 {
		return target{}
	}
	r := fe.Routes[at]
	t := target{verdict: verdictBalance, denied: c.drop(), pool: r.Pool}
	switch r.EmptyVerdict {
	case localsink.VerdictReject:
		t.empty = verdictRefuse
	case localsink.VerdictDrop:
		t.empty = c.drop()
	case localsink.VerdictPass:
	}
	empty := len(p.Pools[r.Pool].Endpoints) == 0
	switch {
	case fe.SourceRanges != nil && len(fe.SourceRanges) == 0:
		t.verdict = t.denied
	case empty && fe.SourceRanges == nil && len(p.Draining) == 0:
		t.verdict = t.empty
	case inPod && r.Masquerade && !empty && c.combined:
		// The packets of a pod have its address; only the packet path can replace it.
		t.verdict = verdictPass
	}
	return t
}

// outsideTarget returns what happens to clients outside of the node. What needs state of the packet
// path, or an answer to the client, is left to it.
func (c *compiler) outsideTarget(p *localsink.Port, fe *localsink.Frontend) target {
	at := slices.IndexFunc(fe.Routes, func(r localsink.Route) bool { return r.From == localsink.FromAny })
	if !c.packets || at < 0 || p.Affinity > 0 || p.RefusedPerMille > 0 || (fe.SourceRanges != nil && len(fe.SourceRanges) == 0) {
		return target{}
	}
	r := &fe.Routes[at]
	switch {
	case len(p.Pools[r.Pool].Endpoints) == 0, r.Masquerade && len(c.node.NoMasquerade) > 0:
		return target{}
	case r.Masquerade:
		return target{verdict: verdictMasquerade, pool: r.Pool}
	}
	return target{verdict: verdictBalance, pool: r.Pool}
}

// drop returns the verdict for connections that must be dropped. In the packet path, TCP clients
// repeat their packets until the rules change.
func (c *compiler) drop() verdict {
	if c.combined {
		return verdictPass
	}
	return verdictDrop
}

// affinityID returns an identifier of the affinity entries of a port in one family. It is the
// same in later processes.
func affinityID(name localsink.ServiceName, p *localsink.Port, v4 bool) uint64 {
	h := fnv.New64a()
	for _, s := range []string{name.Origin, name.Namespace, name.Name, p.Name} {
		_, _ = h.Write([]byte(s))
		_, _ = h.Write([]byte{0})
	}
	family := byte(6)
	if v4 {
		family = 4
	}
	_, _ = h.Write([]byte{byte(p.Protocol), family})
	return max(h.Sum64(), 1)
}

// refusedShare returns a share in 1/1000 as one in 1/2^32.
func refusedShare(perMille uint16) uint32 {
	if perMille >= 1000 {
		return always
	}
	return uint32(uint64(perMille) << 32 / 1000)
}

func hashingOf(s localsink.Selection) hashing {
	switch s {
	case localsink.SelectionClient:
		return hashingClient
	case localsink.SelectionFlow:
		return hashingFlow
	case localsink.SelectionRandom, localsink.SelectionLeastConnections:
	}
	return hashingRandom
}
