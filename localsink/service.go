// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink

import (
	"cmp"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A ServiceName is the namespace and name of a Service, or of another object that is served
// like a Service.
type ServiceName struct {
	Namespace, Name string
	// Origin is the kind of an object that is not a Service, such as "ServiceImport" or
	// "TCPRoute", so that objects with equal names coexist. It is empty for a Service.
	Origin string
}

// String returns "namespace/name", preceded by the origin and a colon if the object is not a
// Service.
func (n ServiceName) String() string {
	if n.Origin != "" {
		return n.Origin + ":" + n.Namespace + "/" + n.Name
	}
	return n.Namespace + "/" + n.Name
}

// Object returns the kind and name of the object, such as "Service default/web", as in
// [Problem.Object].
func (n ServiceName) Object() string {
	return cmp.Or(n.Origin, "Service") + " " + n.Namespace + "/" + n.Name
}

// Compare orders by namespace, then by name, then by origin.
func (n ServiceName) Compare(o ServiceName) int {
	return cmp.Or(strings.Compare(n.Namespace, o.Namespace), strings.Compare(n.Name, o.Name), strings.Compare(n.Origin, o.Origin))
}

// ParseServiceName parses the result of [ServiceName.String]. It returns false if s is not the
// name of a Service or another object.
func ParseServiceName(s string) (ServiceName, bool) {
	var n ServiceName
	if origin, rest, found := strings.Cut(s, ":"); found && origin != "" && !strings.Contains(origin, "/") {
		n.Origin, s = origin, rest
	}
	n.Namespace, n.Name, _ = strings.Cut(s, "/")
	return n, ValidName(n.Namespace) && ValidName(n.Name) && ValidOrigin(n.Origin)
}

// unknown is the name of enum values without one.
const unknown = "unknown"

// maxName is the maximum size of the name of a Kubernetes object in bytes.
const maxName = 253

// ValidName reports whether s can be the name or the namespace of an object: 1 to 253 bytes
// of UTF-8 without control characters and slashes. The names of the Kubernetes API are a part
// of these; other sources have more. The names of all Services that a sink receives are
// valid, so that they can be printed and sent without an escape.
func ValidName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '/' || c >= 0x7f {
			return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r == '/' || unicode.IsControl(r) })
		}
	}
	return true
}

// ValidOrigin reports whether s can be [ServiceName.Origin]: empty, or a valid name without
// colons.
func ValidOrigin(s string) bool {
	return s == "" || ValidName(s) && !strings.Contains(s, ":")
}

// A Service is what a node must do for one Kubernetes Service.
type Service struct {
	Name ServiceName
	// Ports lists the ports in the order of the Kubernetes Service.
	Ports []Port
	// HealthCheck is the health check for external load balancers; nil if there is none.
	HealthCheck *HealthCheck
	// Problems lists the invalid or unsupported parts of the Service's input. They are left
	// out of Ports and HealthCheck; the remaining parts are served.
	Problems []Problem
	// Extensions lists the vendor-specific properties of the Service.
	Extensions Extensions
}

// A Port is one port of a Service: frontends that share the same pools of endpoints.
type Port struct {
	// Name is the name of the port. It may be empty.
	Name     string
	Protocol Protocol
	// Selection is how a new connection gets its endpoint. Session affinity takes precedence.
	Selection Selection
	// RefusedPerMille is the share of new connections, in 1/1000, that are rejected as if
	// the pool were empty and its verdict [VerdictReject]. It is at most 1000. Connections
	// with an affinity entry are not among them. It does not apply to an empty pool, whose
	// verdict applies to all connections.
	RefusedPerMille uint16
	// Affinity is the timeout of session affinity: until this long after its last new
	// connection, a client address stays with its endpoint. All frontends of the port share
	// the affinity entries. Zero disables session affinity.
	Affinity time.Duration
	// Frontends lists the addresses that clients dial. In the state of a node, each
	// combination of address, port and protocol occurs only once.
	Frontends []Frontend
	// Pools lists the sets of endpoints that [Route.Pool] refers to. The endpoints of one
	// pool have the same address family.
	Pools []Pool
	// Draining lists endpoints that are in no pool, ordered by address and port. They get
	// no new connections, but keep established ones. Where connections do not end by
	// themselves (UDP), a backend ends those to endpoints that are neither in Draining nor
	// in a pool.
	Draining []netip.AddrPort
	// EndpointExtensions holds the vendor-specific properties of endpoints: of each, its own
	// and those of its EndpointSlice. It may contain endpoints that are in no pool. It is nil
	// if no endpoint has any.
	EndpointExtensions map[netip.AddrPort]Extensions
}

// A Selection is how the endpoint of a new connection is selected from a pool.
type Selection uint8

const (
	// SelectionRandom selects at random, with the weights of the endpoints.
	SelectionRandom Selection = iota
	// SelectionClient selects by the client's address: on all nodes where the pool is equal,
	// a client gets the same endpoint. If 1 of N endpoints is removed, at most 1/N + 1 % of
	// the clients change their endpoint. Clients are distributed roughly in proportion to the
	// weights. Package localsink/consistent is the algorithm, so that nodes with different
	// backends agree.
	SelectionClient
	// SelectionFlow is like SelectionClient for flows: it selects by the client's address and
	// source port.
	SelectionFlow
	// SelectionLeastConnections prefers the endpoint with the fewest connections in relation
	// to its weight, as far as the backend can tell; it may count only those of this node.
	SelectionLeastConnections
)

// String returns the name of the selection, such as "Random".
func (s Selection) String() string {
	switch s {
	case SelectionRandom:
		return "Random"
	case SelectionClient:
		return "Client"
	case SelectionFlow:
		return "Flow"
	case SelectionLeastConnections:
		return "LeastConnections"
	}
	return unknown
}

// A FrontendKind is the origin of a frontend's address.
type FrontendKind uint8

const (
	// KindClusterIP is an address that is used by one Service only. Packets to any of its
	// ports without a frontend must be rejected.
	KindClusterIP FrontendKind = iota + 1
	// KindNodePort is a port on each address that [Node.NodePortAddresses] permits.
	KindNodePort
	// KindExternalIP is an address that is routed to this node from outside the cluster.
	KindExternalIP
	// KindLoadBalancer is an address of a load balancer that forwards packets without
	// rewriting their destination.
	KindLoadBalancer
)

// String returns the name of the kind, such as "ClusterIP".
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
	return unknown
}

// A Frontend is an address and port that clients dial. If a packet matches both a NodePort
// and a frontend with its exact destination address, the latter applies.
type Frontend struct {
	Kind FrontendKind
	// Addr is the address and port. For a NodePort, the address is the unspecified address
	// of its family (0.0.0.0 or ::), which stands for all addresses that
	// [Node.NodePortAddresses] permits in that family.
	Addr netip.AddrPort
	// SourceRanges lists the permitted client addresses; packets from others are dropped.
	// nil permits all clients, an empty list none.
	SourceRanges []netip.Prefix
	// Routes lists what happens to a connection: the first route whose From matches the
	// client applies. The last route has [FromAny].
	Routes []Route
}

// A From is a set of clients, identified by the source of a packet.
type From uint8

const (
	// FromAny matches all clients.
	FromAny From = iota
	// FromLocalPods matches pods of this node, as described by [Node.LocalPods].
	FromLocalPods
	// FromThisNode matches clients whose source address is an address of this node.
	FromThisNode
)

// String returns the name of the set, such as "LocalPods".
func (f From) String() string {
	switch f {
	case FromAny:
		return "Any"
	case FromLocalPods:
		return "LocalPods"
	case FromThisNode:
		return "ThisNode"
	}
	return unknown
}

// A Verdict is the response to a connection for which there is no endpoint.
type Verdict uint8

const (
	// VerdictReject sends a TCP reset or an ICMP port unreachable message.
	VerdictReject Verdict = iota
	// VerdictDrop sends no response.
	VerdictDrop
	// VerdictPass leaves the packet alone, as if no Service had its destination: it is
	// routed, filtered and answered by others.
	VerdictPass
)

// String returns "Reject", "Drop" or "Pass".
func (v Verdict) String() string {
	switch v {
	case VerdictReject:
		return "Reject"
	case VerdictDrop:
		return "Drop"
	case VerdictPass:
		return "Pass"
	}
	return unknown
}

// A Route sends the connections of a set of clients to a pool. Hairpin connections, whose
// client and endpoint are the same, are masqueraded whatever the route requires.
type Route struct {
	From From
	// Pool is an index of [Port.Pools]. Each connection goes to one of the pool's
	// endpoints; [Port.Selection] is how it is selected.
	Pool int
	// Masquerade replaces the source address by an address of this node, except for clients
	// in [Node.NoMasquerade].
	Masquerade bool
	// EmptyVerdict applies if the pool has no endpoints.
	EmptyVerdict Verdict
}

// A Pool is a set of endpoints, ordered by address and port, without duplicates.
type Pool struct{ Endpoints []Endpoint }

// An Endpoint is a destination of connections.
type Endpoint struct {
	Addr netip.AddrPort
	// Local reports whether the endpoint is on this node.
	Local bool
	// Weight is the share of new connections in relation to the other endpoints of the pool.
	// It is at least 1, and 1 by default. An endpoint whose weight is 0 in the cluster state
	// is in no pool, but in [Port.Draining].
	Weight uint32
}

// A HealthCheck is an HTTP server by which external load balancers check whether this node
// has local endpoints of a Service (spec.healthCheckNodePort).
type HealthCheck struct {
	// Port is the TCP port to listen on.
	Port uint16
	// LocalEndpoints is the number of distinct addresses of ready endpoints on this node.
	// The check succeeds if it is positive.
	LocalEndpoints int
}

// A Protocol is a transport protocol; its value is the IANA protocol number.
type Protocol uint8

// The protocols of Services.
const (
	ProtocolTCP  Protocol = 6
	ProtocolUDP  Protocol = 17
	ProtocolSCTP Protocol = 132
)

// String returns the name of the protocol as in the Kubernetes API.
func (p Protocol) String() string {
	switch p {
	case ProtocolTCP:
		return "TCP"
	case ProtocolUDP:
		return "UDP"
	case ProtocolSCTP:
		return "SCTP"
	}
	return unknown
}

// A Problem is an invalid or unsupported field of a Kubernetes object.
type Problem struct {
	// Object is the kind and name of the object, such as "EndpointSlice default/web-abc12".
	Object string
	// Field is the path of the field, such as "spec.clusterIPs[1]".
	Field string
	// Message describes what is wrong and what the consequence is.
	Message string
}

// String returns "object: field: message".
func (p Problem) String() string { return p.Object + ": " + p.Field + ": " + p.Message }
