// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A Base is what nodes have in common of one Kubernetes Service.
type Base struct {
	Name  localsink.ServiceName
	Ports []Port
	// HealthCheckPort is where load balancers ask each node for endpoints of its own;
	// 0 when they do not.
	HealthCheckPort uint16
	Problems        []localsink.Problem
}

// A Port is one port of a Service.
type Port struct {
	Name      string
	Protocol  localsink.Protocol
	Affinity  time.Duration
	Frontends []Frontend
	// Endpoints are ordered by address and port, without duplicates.
	Endpoints []Endpoint
}

// A Frontend is one address that clients dial; see [localsink.Frontend].
type Frontend struct {
	Kind localsink.FrontendKind
	Addr netip.AddrPort
	// SourceRanges are the client addresses that are let in; nil lets in everybody.
	SourceRanges []netip.Prefix
	// NodeSourceRanges are let in as well on nodes that have an address in Sources.
	NodeSourceRanges []netip.Prefix
	Routes           []Route
}

// A Route sends one kind of client to one pool; see [localsink.Route].
type Route struct {
	From localsink.From
	// Pools are in order of preference: the first that has endpoints on the node and in
	// the frontend's address family is used, and the last when none has. There is at
	// least one.
	Pools        []Pool
	Masquerade   bool
	EmptyVerdict localsink.Verdict
	// Condition leaves the route to some nodes.
	Condition Condition
}

// A Condition says on which nodes a route exists.
type Condition uint8

const (
	// ConditionAlways is on every node.
	ConditionAlways Condition = iota
	// ConditionPodsKnown is on nodes that can tell packets of their own pods in the frontend's
	// address family.
	ConditionPodsKnown
	// ConditionPodsUnknown is on the others.
	ConditionPodsUnknown
)

// A Pool numbers a set of endpoints of a port, from 0 to [MaxPool].
type Pool uint8

// MaxPool is the largest number of a pool.
const MaxPool Pool = 7

// PoolSet is a set of pools.
type PoolSet uint8

// NewPoolSet returns the set of the given pools.
func NewPoolSet(pools ...Pool) (set PoolSet) {
	for _, p := range pools {
		set |= 1 << p
	}
	return set
}

// Has reports whether p is in the set.
func (s PoolSet) Has(p Pool) bool { return s&(1<<p) != 0 }

// An Endpoint is where connections to a port may end.
type Endpoint struct {
	Addr netip.AddrPort
	// Pools are those that the endpoint is in.
	Pools PoolSet
	// Drain says that connections which the endpoint has go on when it is in no pool that
	// a node uses.
	Drain bool
}

// An Overlay is what one node has of its own of a Service.
type Overlay struct {
	// Endpoints are ordered by port, then by address.
	Endpoints []OverlayEndpoint
	// LocalEndpoints is what load balancers are told; see [localsink.HealthCheck].
	LocalEndpoints int
}

// An OverlayEndpoint adds, on one node, to what the common part says of an endpoint, which
// need not be there.
type OverlayEndpoint struct {
	// Port is an index into [Base.Ports].
	Port int
	// Endpoint has the pools that are added, and Keep if that is to be set.
	Endpoint
	// Local says that the endpoint is on this node.
	Local bool
}

// Equal reports whether a and b say the same; nil is the empty Own.
func (a *Overlay) Equal(b *Overlay) bool {
	if a == nil || b == nil {
		return a.empty() && b.empty()
	}
	return a.LocalEndpoints == b.LocalEndpoints && slices.Equal(a.Endpoints, b.Endpoints)
}

func (a *Overlay) empty() bool { return a == nil || a.LocalEndpoints == 0 && len(a.Endpoints) == 0 }
