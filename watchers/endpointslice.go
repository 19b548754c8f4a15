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
