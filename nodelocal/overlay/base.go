// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"net/netip"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A Base is the part of a Service's desired state that all nodes of a zone share.
type Base struct {
	Name  localsink.ServiceName
	Ports []Port
	// HealthCheckPort is the TCP port on which load balancers check each node for ready
	// local endpoints; 0 means no health check.
	HealthCheckPort uint16
	Problems        []localsink.Problem
	Extensions      localsink.Extensions
}

// A Port is one port of a Service.
type Port struct {
	Name     string
	Protocol localsink.Protocol
	// Selection and RefusedPerMille are those of [localsink.Port].
	Selection       localsink.Selection
	RefusedPerMille uint16
	Affinity        time.Duration
	Frontends       []Frontend
	// Endpoints are ordered by address and port, without duplicates.
	Endpoints []Endpoint
	// EndpointExtensions holds the extensions of endpoints, including those that only some
	// node overlays have; nil if there are none.
	EndpointExtensions map[netip.AddrPort]localsink.Extensions
}

// A Frontend is one address that clients connect to; see [localsink.Frontend].
type Frontend struct {
	Kind localsink.FrontendKind
	Addr netip.AddrPort
	// SourceRanges are the permitted client addresses; nil permits all, empty permits none.
	SourceRanges []netip.Prefix
	// NodeSourceRanges are permitted in addition on nodes that have an address in
	// SourceRanges.
	NodeSourceRanges []netip.Prefix
	Routes           []Route
}

// A Route sends the traffic of one kind of client to one pool; see [localsink.Route].
type Route struct {
	From localsink.From
	// Pools are in order of preference: the first that has endpoints of the frontend's
	// address family is used, and the last when none has. There is at least one.
	Pools        []Pool
	Masquerade   bool
	EmptyVerdict localsink.Verdict
	// Condition selects the nodes that have the route.
	Condition Condition
}

// A Condition selects the nodes on which a route exists.
type Condition uint8

const (
	// ConditionAlways selects every node.
	ConditionAlways Condition = iota
	// ConditionPodsKnown selects nodes that recognise packets of their local pods in the
	// frontend's address family.
	ConditionPodsKnown
	// ConditionPodsUnknown selects nodes that do not.
	ConditionPodsUnknown
)

// A Pool is the number of a set of endpoints of one port, from 0 to [MaxPool].
type Pool uint8

// MaxPool is the largest pool number.
const MaxPool Pool = 7

// A PoolSet is a set of pools.
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

// An Endpoint is an address to which connections to a port may be sent.
type Endpoint struct {
	Addr netip.AddrPort
	// Pools are the pools that the endpoint is in.
	Pools PoolSet
	// Drain reports whether the endpoint keeps its established connections when it is in
	// no pool that a node uses.
	Drain bool
	// Weight is the share of new connections in relation to other endpoints; 0 stands for 1.
	Weight uint32
}
