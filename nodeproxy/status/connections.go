// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"fmt"
	"io"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

// connectionState is the numbers of new connections of one Service in JSON.
type connectionState struct {
	Frontends []frontendConnections `json:"frontends,omitempty"`
	Endpoints []endpointConnections `json:"endpoints,omitempty"`
	// Error is why the numbers could not be read.
	Error string `json:"error,omitempty"`
}

type frontendConnections struct {
	Port     string         `json:"port,omitempty"`
	Protocol string         `json:"protocol"`
	Kind     string         `json:"kind"`
	Address  netip.AddrPort `json:"address"`
	Count    uint64         `json:"count"`
}

type endpointConnections struct {
	Port     string `json:"port,omitempty"`
	Protocol string `json:"protocol"`
	// Frontend is empty if the connections to all frontends of the port are counted together.
	Frontend string         `json:"frontend,omitempty"`
	Endpoint netip.AddrPort `json:"endpoint"`
	Count    uint64         `json:"count"`
}

// readConnections returns the numbers of a Service, nil if connections are not counted.
func readConnections(ctx context.Context, c localsink.ConnectionCounter, name localsink.ServiceName) *connectionState {
	if c == nil {
		return nil
	}
	frontends, err := c.FrontendConnections(ctx, name)
	if err != nil {
		return &connectionState{Error: err.Error()}
	}
	endpoints, err := c.EndpointConnections(ctx, name)
	if err != nil {
		return &connectionState{Error: err.Error()}
	}
	s := &connectionState{}
	for _, f := range frontends {
		s.Frontends = append(s.Frontends, frontendConnections{f.Port, f.Protocol.String(), f.Kind.String(), f.Addr, f.Count})
	}
	for _, e := range endpoints {
		out := endpointConnections{Port: e.Port, Protocol: e.Protocol.String(), Endpoint: e.Endpoint, Count: e.Count}
		if e.Frontend.IsValid() {
			out.Frontend = e.Frontend.String()
		}
		s.Endpoints = append(s.Endpoints, out)
	}
	return s
}

// write writes s, which may be nil, as text.
func (s *connectionState) write(w io.Writer) {
	if s == nil {
		return
	}
	fmt.Fprintln(w, "# new connections")
	if s.Error != "" {
		fmt.Fprintf(w, "error: %s\n", s.Error)
	}
	for _, f := range s.Frontends {
		fmt.Fprintf(w, "%s %v/%s: %d\n", f.Kind, f.Address, f.Protocol, f.Count)
	}
	for _, e := range s.Endpoints {
		from := e.Frontend
		if from == "" {
			from = fmt.Sprintf("port %q", e.Port)
		}
		fmt.Fprintf(w, "  %s/%s -> %v: %d\n", from, e.Protocol, e.Endpoint, e.Count)
	}
}
