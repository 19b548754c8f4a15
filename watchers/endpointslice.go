// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"net/netip"
	"time"
)

// An EndpointSlice is the part of a Kubernetes EndpointSlice that a proxy reads.
type EndpointSlice struct {
	Namespace, Name string
	// Service is the Service in the label kubernetes.io/service-name.
	Service ServiceName
	Family  IPFamily
	Ports   []EndpointPort
	// Endpoints have one address each, of the family above.
	Endpoints []Endpoint
	// Details is empty, or has one element for each element of Endpoints, with the same
	// index. Most sources leave it empty.
	Details []EndpointDetails
	// Extensions lists the vendor-specific properties of the slice. They apply to each
	// endpoint that does not have the same key itself.
	Extensions Extensions
	// Problems lists the invalid fields.
	Problems []Problem

	// TriggerTime is the annotation endpoints.kubernetes.io/last-change-trigger-time, or
	// the zero time. It is not part of the content: a slice that differs only in its
	// TriggerTime is not a change.
	TriggerTime time.Time
}

// An EndpointPort is an entry of ports. All endpoints of the slice have the port.
type EndpointPort struct {
	Name     string
	Protocol Protocol
	Port     uint16
}

// An Endpoint is an entry of endpoints.
type Endpoint struct {
	Addr netip.Addr
	// Node is the name of the endpoint's node. It may be empty.
	Node                        string
	Ready, Serving, Terminating bool
	// Hints is nil if there are none. Endpoints may share it.
	Hints *Hints
}

// Hints lists the zones and nodes whose clients should use an endpoint.
type Hints struct{ Zones, Nodes []string }

// EndpointDetails holds the rarely used properties of an endpoint.
type EndpointDetails struct {
	// Weight is the endpoint's share of new connections in relation to the other endpoints
	// of the Service; nil stands for 1. With weight 0 the endpoint gets no new connections
	// and keeps its established ones, while it is serving.
	Weight *uint32
	// Extensions lists the vendor-specific properties of the endpoint.
	Extensions Extensions

	// Hostname is the name of the endpoint for DNS.
	Hostname string
	// Zone is the zone of the endpoint, which is not a hint.
	Zone string
	// Target is the object that the endpoint is an address of, usually a pod.
	Target ObjectReference
}

// An ObjectReference is the kind and name of an object. Each field may be empty.
type ObjectReference struct{ Kind, Namespace, Name string }
