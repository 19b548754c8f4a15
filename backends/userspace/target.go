// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"sigs.k8s.io/kpng/localsink"
)

// A target is where a listener sends its clients: a frontend and its port. It is immutable.
type target struct {
	service  *service
	port     *port
	settings *portSettings
	frontend *localsink.Frontend // without source ranges and conditional routes on a loopback node port
	sources  sources
	count    *atomic.Uint64 // new connections
}

// A sources describes the clients of routes.
type sources struct {
	pods localsink.PodSources
	node map[netip.Addr]bool // addresses of the node
}

// loopbackFrontend returns what applies to a node port at a loopback address: all clients match
// as FromThisNode with that address, and are rejected without endpoints. It returns false if
// source ranges exclude them.
func loopbackFrontend(fe *localsink.Frontend, local netip.Addr) (*localsink.Frontend, bool) {
	if fe.SourceRanges != nil && !permits(fe.SourceRanges, local) {
		return nil, false
	}
	i := slices.IndexFunc(fe.Routes, func(r localsink.Route) bool { return r.From != localsink.FromLocalPods })
	if i < 0 {
		return nil, false
	}
	return &localsink.Frontend{Kind: fe.Kind, Addr: fe.Addr, Routes: []localsink.Route{{Pool: fe.Routes[i].Pool}}}, true
}

func permits(ranges []netip.Prefix, client netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(n netip.Prefix) bool { return n.Contains(client) })
}

// rejectsAll reports whether no client can reach an endpoint or must be dropped, so that the
// kernel can refuse them. Verdict Pass is like Reject: without a listener, the packet is treated
// as if there were no Service.
func (t *target) rejectsAll() bool {
	if t.frontend.SourceRanges != nil {
		return false // others are dropped
	}
	if t.settings.refused >= 1000 && t.settings.affinity == 0 && !t.drops() {
		return true
	}
	for _, r := range t.frontend.Routes {
		if len(t.settings.selectors[r.Pool].endpoints) > 0 || r.EmptyVerdict == localsink.VerdictDrop {
			return false
		}
		if r.From == localsink.FromAny {
			break
		}
	}
	return true
}

// drops reports whether some route drops its clients.
func (t *target) drops() bool {
	return slices.ContainsFunc(t.frontend.Routes, func(r localsink.Route) bool {
		return r.EmptyVerdict == localsink.VerdictDrop && len(t.settings.selectors[r.Pool].endpoints) == 0
	})
}

// route returns the selector of the pool for a client that connects to the address local. If
// there is none, it returns the verdict, which is never Pass: a proxy has accepted the
// connection already.
func (t *target) route(client, local netip.Addr) (*selector, localsink.Verdict) {
	client = client.WithZone("")
	if t.frontend.SourceRanges != nil && !permits(t.frontend.SourceRanges, client) {
		return nil, localsink.VerdictDrop
	}
	for _, r := range t.frontend.Routes {
		if !t.sources.match(r.From, client, local) {
			continue
		}
		if s := t.settings.selectors[r.Pool]; len(s.endpoints) > 0 {
			return s, localsink.VerdictReject
		}
		if r.EmptyVerdict == localsink.VerdictDrop {
			return nil, localsink.VerdictDrop
		}
		break
	}
	return nil, localsink.VerdictReject
}

// match reports whether a client is in a set. A process of the node that selects no source
// address has the one that it connects to, local, which may be on no interface.
func (s sources) match(from localsink.From, client, local netip.Addr) bool {
	switch from {
	case localsink.FromAny:
		return true
	case localsink.FromLocalPods:
		return permits(s.pods.Networks, client)
	case localsink.FromThisNode:
		return s.node[client] || client.IsLoopback() || client == local
	}
	return false
}
