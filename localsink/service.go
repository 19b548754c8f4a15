// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A ServiceName names a Service within its cluster.
type ServiceName struct{ Namespace, Name string }

// String returns "namespace/name".
func (n ServiceName) String() string { return n.Namespace + "/" + n.Name }

// Compare orders by namespace, then by name.
func (n ServiceName) Compare(o ServiceName) int {
	return cmp.Or(strings.Compare(n.Namespace, o.Namespace), strings.Compare(n.Name, o.Name))
}

// A Service is all that a node must do for one Kubernetes Service.
type Service struct {
	Name ServiceName
	// Ports are the Service's ports, in the order of the Service.
	Ports []Port
	// HealthCheck is what a load balancer may ask about this node; nil when there
	// is nothing to answer.
	HealthCheck *HealthCheck
	// Problems lists what was wrong with the input of this Service and is
	// therefore not served. The rest of the Service is served.
	Problems []Problem
}

// A Port is one port of a Service, by which clients of all its frontends reach
// the same choice of endpoints.
type Port struct {
	// Name is the port's name; it may be empty.
	Name     string
	Protocol Protocol
	// Affinity is how long after its last new connection a client address keeps
	// its endpoint; zero spreads every connection anew. It is one memory for all
	// frontends of the port.
	Affinity time.Duration
	// Frontends are the addresses that clients dial. No two frontends of a node's
	// whole state claim the same address, port and protocol.
	Frontends []Frontend
	// Pools are the sets of endpoints that Routes point into. A pool's endpoints
	// are all of one address family.
	Pools []Pool
	// Draining are endpoints in no pool, ordered by address and port: they get no new
	// connections, but those that they have go on. A backend for which a flow ends only
	// when it is cut (UDP) cuts flows to endpoints that are neither here nor in a pool.
	Draining []netip.AddrPort
}

// A FrontendKind says where a frontend's address comes from.
type FrontendKind uint8

const (
	// KindClusterIP is an address that was given to the Service alone: traffic for any
	// port of it that no frontend has must be refused.
	KindClusterIP FrontendKind = iota + 1
	// KindNodePort is a port on each address of [Node.NodePortAddresses].
	KindNodePort
	// KindExternalIP is an address that is routed to this node from outside.
	KindExternalIP
	// KindLoadBalancer is an address of a load balancer that passes packets
	// unchanged.
	KindLoadBalancer
)

// String returns the kind's name as written in Go.
func (k FrontendKind) String() string {
	switch k {
	case KindClusterIP:
		return "ClusterIP"
	case KindNodePort:
		return "NodePort"
	case KindExternalIP:
		return "ExternalIP"
	case KindLoadBalancer:
		return "LoadBalancer"
	}
	return "unknown"
}

// A Frontend is one address and port that clients dial. A frontend with that very
// address comes before a NodePort that also matches.
type Frontend struct {
	Kind FrontendKind
	// Addr is the address and port. The address of a NodePort is the unspecified
	// address of its family (0.0.0.0 or ::) and stands for every address that
	// [Node.NodePortAddresses] permits in that family.
	Addr netip.AddrPort
	// SourceRanges are the client addresses that are let in; packets from others are
	// dropped without an answer. nil lets in everybody.
	SourceRanges []netip.Prefix
	// Routes say what happens with a connection: the first route whose From
	// matches decides. The last route matches [FromAny].
	Routes []Route
}

// A From tells clients apart by where a packet comes from.
type From uint8

const (
	// FromAny matches every client.
	FromAny From = iota
	// FromLocalPods matches clients that [Node.LocalPods] describes.
	FromLocalPods
	// FromThisNode matches clients whose source address is an address of this node.
	FromThisNode
)

// String returns the name as written in Go.
func (f From) String() string {
	switch f {
	case FromAny:
		return "Anyone"
	case FromLocalPods:
		return "LocalPods"
	case FromThisNode:
		return "ThisNode"
	}
	return "unknown"
}

// A Verdict is the answer to a connection that no endpoint can take.
type Verdict uint8

const (
	// VerdictReject answers at once: a TCP reset, or ICMP port unreachable.
	VerdictReject Verdict = iota
	// VerdictDrop leaves the client without an answer.
	VerdictDrop
)

// String returns the name as written in Go.
func (v Verdict) String() string {
	if v == VerdictDrop {
		return "Drop"
	}
	return "Reject"
}

// A Route sends one kind of client to one pool. Whatever the route says, a
// connection that reaches the very endpoint it came from is masqueraded.
type Route struct {
	From From
	// Pool is an index into [Port.Pools]; each connection goes to one of its
	// endpoints, uniformly at random.
	Pool int
	// Masquerade replaces the client's address by one of this node's.
	Masquerade bool
	// EmptyVerdict is the answer when the pool has no endpoints.
	EmptyVerdict Verdict
}

// A Pool is a set of endpoints, ordered by address and port, without duplicates.
type Pool struct{ Endpoints []Endpoint }

// An Endpoint is where a connection ends.
type Endpoint struct {
	Addr netip.AddrPort
	// Local says that the endpoint is on this node.
	Local bool
}

// A HealthCheck is a listener that tells load balancers whether this node has
// endpoints of its own.
type HealthCheck struct {
	// Port is the TCP port to listen on.
	Port uint16
	// LocalEndpoints is the number of distinct addresses of ready endpoints on
	// this node. The node is a good target when it is positive.
	LocalEndpoints int
}

// A Node is what a sink must know of its own node.
type Node struct {
	Name string
	// IPs are the addresses of the node, the primary one first.
	IPs []netip.Addr
	// LocalPods tells which packets come from pods of this node.
	LocalPods PodSources
	// NodePortAddresses are the networks whose local addresses answer on node
	// ports: of these, those addresses that the node has at the time of a packet,
	// and never a loopback address. A family without networks has no NodePorts.
	NodePortAddresses []netip.Prefix
	// LoopbackNodePorts are the loopback addresses, at most one of each family, that
	// answer on TCP node ports as well: to processes of the node, as to any client that
	// is [FromThisNode], and refusing whatever the pool's verdict is when there is no
	// endpoint. Kernels route such packets badly, so this is often the task of a sink of
	// its own; without one, node ports are refused there.
	LoopbackNodePorts []netip.Addr
	// ServiceNetworks are networks in which only Services have addresses: a packet to
	// an address there that no frontend has is dropped without an answer, unless the
	// node itself has the address.
	ServiceNetworks []netip.Prefix
	// Deleting says that there is no such Node, or that it is being deleted or marked for
	// it: load balancers should send it nothing new. It says nothing to a dataplane, for
	// what still comes is served.
	Deleting bool
}

// Equal reports whether n and o are the same in every respect.
func (n *Node) Equal(o *Node) bool {
	return n.Name == o.Name && slices.Equal(n.IPs, o.IPs) && n.LocalPods.Equal(&o.LocalPods) &&
		slices.Equal(n.NodePortAddresses, o.NodePortAddresses) && slices.Equal(n.LoopbackNodePorts, o.LoopbackNodePorts) &&
		slices.Equal(n.ServiceNetworks, o.ServiceNetworks) && n.Deleting == o.Deleting
}

// PodSources describes packets that come from pods of a node: one match is
// enough. The zero value matches nothing.
type PodSources struct {
	// Networks match source addresses.
	Networks []netip.Prefix
	// Interface matches the name of the interface a packet came in by.
	Interface string
	// InterfacePrefix matches the beginning of that name.
	InterfacePrefix string
}

// Equal reports whether p and o describe the same packets, in the same words.
func (p *PodSources) Equal(o *PodSources) bool {
	return slices.Equal(p.Networks, o.Networks) && p.Interface == o.Interface && p.InterfacePrefix == o.InterfacePrefix
}

// A Protocol is a transport protocol, with its IANA number.
type Protocol uint8

// The protocols that Services may have.
const (
	ProtocolTCP  Protocol = 6
	ProtocolUDP  Protocol = 17
	ProtocolSCTP Protocol = 132
)

// String returns the protocol's name as Kubernetes writes it.
func (p Protocol) String() string {
	switch p {
	case ProtocolTCP:
		return "TCP"
	case ProtocolUDP:
		return "UDP"
	case ProtocolSCTP:
		return "SCTP"
	}
	return "unknown"
}

// A Problem is something in the input that could not be honoured.
type Problem struct {
	// Object names the object at fault: "Service default/web",
	// "EndpointSlice default/web-abc12".
	Object string
	// Field is the path of the field at fault: "spec.clusterIPs[1]".
	Field string
	// Message says what is wrong, and what is done about it.
	Message string
}

// String returns "object: field: message".
func (p Problem) String() string { return p.Object + ": " + p.Field + ": " + p.Message }

// Features are abilities that a Service may need of a backend.
type Features uint32

// The features that can be lacking.
const (
	FeatureIPv4 Features = 1 << iota
	FeatureIPv6
	FeatureTCP
	FeatureUDP
	FeatureSCTP
	FeatureAffinity
	FeatureSourceRanges
	FeatureClusterIP
	FeatureNodePort
	FeatureExternalIP
	FeatureLoadBalancer
)

// String lists the names of the features, joined by commas.
func (f Features) String() string {
	names := []string{"IPv4", "IPv6", "TCP", "UDP", "SCTP", "session affinity", "source ranges",
		"ClusterIP", "NodePort", "ExternalIP", "LoadBalancer"}
	var on []string
	for i, name := range names {
		if f&(1<<i) != 0 {
			on = append(on, name)
		}
	}
	return strings.Join(on, ", ")
}

// RequiredFeatures returns the features that serving s takes.
func (s *Service) RequiredFeatures() Features {
	var f Features
	for _, p := range s.Ports {
		switch p.Protocol {
		case ProtocolTCP:
			f |= FeatureTCP
		case ProtocolUDP:
			f |= FeatureUDP
		case ProtocolSCTP:
			f |= FeatureSCTP
		}
		if p.Affinity > 0 {
			f |= FeatureAffinity
		}
		for _, fe := range p.Frontends {
			f |= fe.needs()
		}
	}
	return f
}

func (fe *Frontend) needs() Features {
	f := FeatureIPv6
	if fe.Addr.Addr().Is4() {
		f = FeatureIPv4
	}
	if fe.SourceRanges != nil {
		f |= FeatureSourceRanges
	}
	switch fe.Kind {
	case KindClusterIP:
		f |= FeatureClusterIP
	case KindNodePort:
		f |= FeatureNodePort
	case KindExternalIP:
		f |= FeatureExternalIP
	case KindLoadBalancer:
		f |= FeatureLoadBalancer
	}
	return f
}

// WithUnsupported returns s if a backend without the given features supports it, and
// otherwise a copy of s with a Problem that names the required features that are missing.
// The copy shares its lists with s.
func (s *Service) WithUnsupported(unsupported Features) *Service {
	missing := s.RequiredFeatures() & unsupported
	if missing == 0 {
		return s
	}
	out := *s
	out.Problems = append(slices.Clip(s.Problems), Problem{
		Object:  "Service " + s.Name.String(),
		Field:   "spec",
		Message: "the backend of this node does not support " + missing.String(),
	})
	return &out
}
