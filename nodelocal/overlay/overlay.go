// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package overlay

import "slices"

// An Overlay is what one node adds to the [Base] of a Service.
type Overlay struct {
	// Endpoints are ordered by port, then by address.
	Endpoints []NodeEndpoint
	// LocalEndpoints is the number of ready endpoints on the node, which the health check
	// reports; see [localsink.HealthCheck].
	LocalEndpoints int
}

// An NodeEndpoint adds to an endpoint of the base. The base need not have the endpoint.
type NodeEndpoint struct {
	// Port is an index into [Base.Ports].
	Port int
	// Endpoint holds the pools to add, and Drain if it is to be set. Its Weight applies only
	// if the base does not have the endpoint.
	Endpoint
	// Local reports whether the endpoint is on this node.
	Local bool
}

// Equal reports whether o and other are equal. A nil Overlay equals an empty one.
func (o *Overlay) Equal(other *Overlay) bool {
	if o == nil || other == nil {
		return o.empty() && other.empty()
	}
	return o.LocalEndpoints == other.LocalEndpoints && slices.Equal(o.Endpoints, other.Endpoints)
}

func (o *Overlay) empty() bool { return o == nil || o.LocalEndpoints == 0 && len(o.Endpoints) == 0 }

// endpointsOf returns the endpoints of the port with the given index.
func (o *Overlay) endpointsOf(port int) []NodeEndpoint {
	if o == nil {
		return nil
	}
	begin := slices.IndexFunc(o.Endpoints, func(e NodeEndpoint) bool { return e.Port == port })
	if begin < 0 {
		return nil
	}
	end := begin
	for end < len(o.Endpoints) && o.Endpoints[end].Port == port {
		end++
	}
	return o.Endpoints[begin:end]
}
