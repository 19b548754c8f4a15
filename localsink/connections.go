// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink

import (
	"context"
	"net/netip"
)

// A ConnectionCounter is a [Sink] that can count new connections. Its methods may be called
// concurrently with Sync, and wait for it; they return soon after ctx is done. Counts include
// what the sink has seen of a connection: repeated first packets, and connections that it
// rejected. A count does not decrease as long as its frontend exists, whatever happens to the
// endpoint meanwhile.
type ConnectionCounter interface {
	// CountsConnections reports whether the sink counts. The result is constant.
	CountsConnections() bool
	// FrontendConnections returns the count of each frontend of a Service that is programmed.
	FrontendConnections(ctx context.Context, name ServiceName) ([]FrontendConnections, error)
	// EndpointConnections returns the count of each endpoint of a Service that is programmed,
	// zero included, ordered by port, frontend and endpoint.
	EndpointConnections(ctx context.Context, name ServiceName) ([]EndpointConnections, error)
}

// A FrontendConnections is the number of new connections to a frontend.
type FrontendConnections struct {
	// Port is the name of the port.
	Port     string
	Protocol Protocol
	Kind     FrontendKind
	Addr     netip.AddrPort
	Count    uint64
}

// An EndpointConnections is the number of new connections to an endpoint.
type EndpointConnections struct {
	// Port is the name of the port.
	Port     string
	Protocol Protocol
	// Frontend is the address of the frontend; invalid if the sink counts the connections to
	// all frontends of the port together.
	Frontend netip.AddrPort
	Endpoint netip.AddrPort
	Count    uint64
}
