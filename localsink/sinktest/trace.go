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

// A Packet is the first packet of a connection, as it arrives at a node.
type Packet struct {
	From      netip.Addr
	Interface string // the input interface; empty if a process of the node sent the packet
	To        netip.AddrPort
	Protocol  localsink.Protocol
}

// An Outcome is what a dataplane must do with a connection. The zero value means that no
// Service is concerned.
type Outcome struct {
	// Endpoints lists the possible destinations. It is empty unless the connection is
	// forwarded.
	Endpoints []netip.AddrPort
	// Weights holds the share of each endpoint in relation to the others, with the same
	// index. It is nil if all have the same share.
	Weights []uint32
	// Selection is how the connection gets one of several endpoints.
	Selection localsink.Selection
	// RefusedPerMille is the share of such connections, in 1/1000, that is rejected instead
	// of forwarded. 1000 occurs only with session affinity: clients without an affinity
	// entry are rejected.
	RefusedPerMille uint16
	// Masquerade reports whether endpoints see an address of the node as the source. Hairpin
	// connections are masqueraded in any case.
	Masquerade bool
	// Rejected reports whether the connection is rejected, with a response to the client.
	Rejected bool
	// Dropped reports whether the connection is dropped without a response.
	Dropped bool
}

// String returns "rejected", "dropped" or "none", or the endpoints as "ENDPOINT[*WEIGHT]..."
// followed by those of "masqueraded", "by-client", "by-flow", "by-least-connections" and
// "refused=N" that apply.
func (a Outcome) String() string {
	switch {
	case a.Rejected:
		return "rejected"
	case a.Dropped:
		return "dropped"
	case len(a.Endpoints) == 0:
		return "none"
	}
	words := make([]string, len(a.Endpoints), len(a.Endpoints)+3)
	for i, e := range a.Endpoints {
		words[i] = e.String()
		if a.Weights != nil {
			words[i] += fmt.Sprint("*", a.Weights[i])
		}
	}
	if a.Masquerade {
		words = append(words, "masqueraded")
	}
	switch a.Selection {
	case localsink.SelectionRandom:
	case localsink.SelectionClient:
		words = append(words, "by-client")
	case localsink.SelectionFlow:
		words = append(words, "by-flow")
	case localsink.SelectionLeastConnections:
		words = append(words, "by-least-connections")
	}
	if a.RefusedPerMille > 0 {
		words = append(words, fmt.Sprint("refused=", a.RefusedPerMille))
	}
	return strings.Join(words, " ")
}

// A Host holds the properties of a node that are not part of its desired state.
type Host struct {
	Addrs []netip.Addr // of all interfaces
}

// Trace is the reference implementation of the contract: it returns what a correct
// dataplane does with p after its sink has acknowledged node and state. It takes time
// proportional to the size of state.
//
// Trace panics if state violates the contract, because a frontend has no route for p.
func Trace(node *localsink.Node, state localsink.State, host Host, p Packet) Outcome {
	t := tracer{node, host, p}
	isClusterIP := false
	var nodePort *Outcome // a frontend with the exact address takes precedence
	for svc := range state.All() {
		for i := range svc.Ports {
			port := &svc.Ports[i]
			for j := range port.Frontends {
				fe := &port.Frontends[j]
				isClusterIP = isClusterIP || fe.Kind == localsink.KindClusterIP && fe.Addr.Addr() == p.To.Addr()
				if port.Protocol != p.Protocol {
					continue
				}
				if fe.Addr == p.To {
					return t.connect(port, fe)
				}
				if fe.Kind == localsink.KindNodePort && t.matchesLoopbackNodePort(port, fe) {
					return t.connectLoopback(port, fe)
				}
				if fe.Kind == localsink.KindNodePort && t.matchesNodePort(fe) {
					a := t.connect(port, fe)
					nodePort = &a
				}
			}
		}
	}
	switch {
	case nodePort != nil:
		return *nodePort
	case isClusterIP:
		return Outcome{Rejected: true}
	case t.isUnassignedServiceAddress():
		return Outcome{Dropped: true}
	}
	return Outcome{}
}

type tracer struct {
	node *localsink.Node
	host Host
	p    Packet
}

// isUnassignedServiceAddress reports whether the destination is an address of a service
// network without a Service. The caller has checked that there is no frontend.
func (t *tracer) isUnassignedServiceAddress() bool {
	return !slices.Contains(t.host.Addrs, t.p.To.Addr()) &&
		slices.ContainsFunc(t.node.ServiceNetworks, func(n netip.Prefix) bool { return n.Contains(t.p.To.Addr()) })
}

func (t *tracer) matchesNodePort(fe *localsink.Frontend) bool {
	to := t.p.To
	return fe.Addr.Port() == to.Port() && fe.Addr.Addr().BitLen() == to.Addr().BitLen() &&
		!to.Addr().IsLoopback() && slices.Contains(t.host.Addrs, to.Addr()) &&
		slices.ContainsFunc(t.node.NodePortAddresses, func(n netip.Prefix) bool { return n.Contains(to.Addr()) })
}

func (t *tracer) matchesLoopbackNodePort(port *localsink.Port, fe *localsink.Frontend) bool {
	return port.Protocol == localsink.ProtocolTCP && t.p.Interface == "" && fe.Addr.Port() == t.p.To.Port() &&
		fe.Addr.Addr().BitLen() == t.p.To.Addr().BitLen() && slices.Contains(t.node.LoopbackNodePorts, t.p.To.Addr())
}

// connectLoopback is connect for node ports on loopback addresses: without endpoints, the
// connection is rejected, otherwise it is masqueraded.
func (t *tracer) connectLoopback(port *localsink.Port, fe *localsink.Frontend) Outcome {
	a := t.connect(port, fe)
	if len(a.Endpoints) == 0 {
		return Outcome{Rejected: true}
	}
	a.Masquerade = true
	return a
}

// connect applies the source ranges and routes of a frontend.
func (t *tracer) connect(port *localsink.Port, fe *localsink.Frontend) Outcome {
	contains := func(n netip.Prefix) bool { return n.Contains(t.p.From) }
	if fe.SourceRanges != nil && !slices.ContainsFunc(fe.SourceRanges, contains) {
		return Outcome{Dropped: true}
	}
	for _, r := range fe.Routes {
		if !t.matches(r.From) {
			continue
		}
		if endpoints := port.Pools[r.Pool].Endpoints; len(endpoints) > 0 {
			return t.forward(port, r, endpoints)
		}
		return Outcome{Rejected: r.EmptyVerdict == localsink.VerdictReject, Dropped: r.EmptyVerdict == localsink.VerdictDrop}
	}
	panic(fmt.Sprintf("sinktest: %s %s: no route matches client %s", fe.Kind, fe.Addr, t.p.From))
}

// forward returns the outcome for a route whose pool has endpoints.
func (t *tracer) forward(port *localsink.Port, r localsink.Route, endpoints []localsink.Endpoint) Outcome {
	if port.RefusedPerMille >= 1000 && port.Affinity == 0 {
		return Outcome{Rejected: true}
	}
	excepted := slices.ContainsFunc(t.node.NoMasquerade, func(n netip.Prefix) bool { return n.Contains(t.p.From) })
	a := Outcome{Masquerade: r.Masquerade && !excepted, RefusedPerMille: port.RefusedPerMille}
	if len(endpoints) > 1 {
		a.Selection = port.Selection
	}
	for _, e := range endpoints {
		a.Endpoints = append(a.Endpoints, e.Addr)
		a.Weights = append(a.Weights, e.Weight)
	}
	if slices.Min(a.Weights) == slices.Max(a.Weights) {
		a.Weights = nil
	}
	return a
}

// matches reports whether the client of the packet is in the given set.
func (t *tracer) matches(from localsink.From) bool {
	switch from {
	case localsink.FromLocalPods:
		pods := &t.node.LocalPods
		return slices.ContainsFunc(pods.Networks, func(n netip.Prefix) bool { return n.Contains(t.p.From) }) ||
			t.p.Interface != "" && (t.p.Interface == pods.Interface ||
				pods.InterfacePrefix != "" && strings.HasPrefix(t.p.Interface, pods.InterfacePrefix))
	case localsink.FromThisNode:
		return slices.Contains(t.host.Addrs, t.p.From)
	case localsink.FromAny:
		return true
	}
	return false
}
