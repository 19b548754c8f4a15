// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/localsink"
)

// A Packet is the first of a connection, as it reaches a node.
type Packet struct {
	From      netip.Addr
	Interface string // that it came in by; empty when a process on the node sent it
	To        netip.AddrPort
	Protocol  localsink.Protocol
}

// An Answer is what must happen with a connection.
type Answer struct {
	// Endpoints are where it may end, each with the same chance; empty unless
	// something takes it.
	Endpoints []netip.AddrPort
	// Masquerade says that endpoints see an address of the node. Whatever it says,
	// a connection that ends where it began is masqueraded.
	Masquerade bool
	// Refused and Dropped say that nothing takes it, with and without telling the
	// client. Without any of all these, Services have nothing to do with it.
	Refused, Dropped bool
}

// String returns "endpoint... [masqueraded]", "refused", "dropped" or "none".
func (a Answer) String() string {
	switch {
	case a.Refused:
		return "refused"
	case a.Dropped:
		return "dropped"
	case len(a.Endpoints) == 0:
		return "none"
	}
	words := make([]string, len(a.Endpoints), len(a.Endpoints)+1)
	for i, e := range a.Endpoints {
		words[i] = e.String()
	}
	if a.Masquerade {
		words = append(words, "masqueraded")
	}
	return strings.Join(words, " ")
}

// A Host is what Trace must know of a node beyond the contract: the addresses that
// its interfaces have.
type Host struct{ Addrs []netip.Addr }

// Trace is the contract of package localsink, read word by word: it says what a
// correct sink does with a packet when it has accepted node and state. It is slow,
// and walks everything.
func Trace(node *localsink.Node, state localsink.State, host Host, p Packet) Answer {
	t := tracer{node, host, p}
	clusterIP := false
	var nodePort *Answer
	for svc := range state.All() {
		for i := range svc.Ports {
			port := &svc.Ports[i]
			for j := range port.Frontends {
				fe := &port.Frontends[j]
				clusterIP = clusterIP || fe.Kind == localsink.KindClusterIP && fe.Addr.Addr() == p.To.Addr()
				if port.Protocol != p.Protocol {
					continue
				}
				if fe.Addr == p.To {
					return t.enter(port, fe)
				}
				if fe.Kind == localsink.KindNodePort && t.reachesLoopback(port, fe) {
					return t.onLoopback(port, fe)
				}
				if fe.Kind == localsink.KindNodePort && t.reachesNodePort(fe) {
					a := t.enter(port, fe)
					nodePort = &a
				}
			}
		}
	}
	switch {
	case nodePort != nil:
		return *nodePort
	case clusterIP:
		return Answer{Refused: true}
	case t.nobodys():
		return Answer{Dropped: true}
	}
	return Answer{}
}

type tracer struct {
	node *localsink.Node
	host Host
	p    Packet
}

// nobodys says that only a Service could have the address, and none has.
func (t *tracer) nobodys() bool {
	return !slices.Contains(t.host.Addrs, t.p.To.Addr()) &&
		slices.ContainsFunc(t.node.ServiceNetworks, func(n netip.Prefix) bool { return n.Contains(t.p.To.Addr()) })
}

func (t *tracer) reachesNodePort(fe *localsink.Frontend) bool {
	to := t.p.To
	return fe.Addr.Port() == to.Port() && fe.Addr.Addr().BitLen() == to.Addr().BitLen() &&
		!to.Addr().IsLoopback() && slices.Contains(t.host.Addrs, to.Addr()) &&
		slices.ContainsFunc(t.node.NodePortAddresses, func(n netip.Prefix) bool { return n.Contains(to.Addr()) })
}

func (t *tracer) reachesLoopback(port *localsink.Port, fe *localsink.Frontend) bool {
	return port.Protocol == localsink.ProtocolTCP && t.p.Interface == "" && fe.Addr.Port() == t.p.To.Port() &&
		fe.Addr.Addr().BitLen() == t.p.To.Addr().BitLen() && slices.Contains(t.node.LoopbackNodePorts, t.p.To.Addr())
}

// onLoopback is enter for loopback addresses, where what is not served is refused, and
// endpoints never see the client.
func (t *tracer) onLoopback(port *localsink.Port, fe *localsink.Frontend) Answer {
	a := t.enter(port, fe)
	if len(a.Endpoints) == 0 {
		return Answer{Refused: true}
	}
	a.Masquerade = true
	return a
}

func (t *tracer) enter(port *localsink.Port, fe *localsink.Frontend) Answer {
	within := func(n netip.Prefix) bool { return n.Contains(t.p.From) }
	if fe.SourceRanges != nil && !slices.ContainsFunc(fe.SourceRanges, within) {
		return Answer{Dropped: true}
	}
	for _, r := range fe.Routes {
		if !t.matches(r.From) {
			continue
		}
		pool := port.Pools[r.Pool]
		if len(pool.Endpoints) == 0 {
			return Answer{Refused: r.EmptyVerdict == localsink.VerdictReject, Dropped: r.EmptyVerdict == localsink.VerdictDrop}
		}
		a := Answer{Masquerade: r.Masquerade}
		for _, e := range pool.Endpoints {
			a.Endpoints = append(a.Endpoints, e.Addr)
		}
		return a
	}
	panic(fmt.Sprintf("sinktest: no route of %s %s matches %s", fe.Kind, fe.Addr, t.p.From))
}

func (t *tracer) matches(from localsink.From) bool {
	switch from {
	case localsink.FromLocalPods:
		src := &t.node.LocalPods
		return slices.ContainsFunc(src.Networks, func(n netip.Prefix) bool { return n.Contains(t.p.From) }) ||
			t.p.Interface != "" && (t.p.Interface == src.Interface ||
				src.InterfacePrefix != "" && strings.HasPrefix(t.p.Interface, src.InterfacePrefix))
	case localsink.FromThisNode:
		return slices.Contains(t.host.Addrs, t.p.From)
	}
	return true
}
