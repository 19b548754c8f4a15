// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"cmp"
	"context"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

var _ localsink.ConnectionCounter = (*Backend)(nil)

// CountsConnections implements localsink.ConnectionCounter.
func (b *Backend) CountsConnections() bool { return b.cfg.CountConnections }

// FrontendConnections implements localsink.ConnectionCounter. It counts what was decided at
// sockets; a UDP socket that is not connected counts once for each frontend and endpoint.
func (b *Backend) FrontendConnections(ctx context.Context, name localsink.ServiceName) ([]localsink.FrontendConnections, error) {
	var all []localsink.FrontendConnections
	err := b.eachCounter(ctx, name, func(port portID, id counterID, count uint64) {
		if id.frontend.IsValid() {
			all = append(all, localsink.FrontendConnections{
				Port: port.name, Protocol: port.protocol, Kind: id.kind, Addr: id.frontend, Count: count,
			})
		}
	})
	slices.SortFunc(all, func(a, b localsink.FrontendConnections) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), a.Addr.Compare(b.Addr))
	})
	return all, err
}

// EndpointConnections implements localsink.ConnectionCounter, for all frontends of a port
// together.
func (b *Backend) EndpointConnections(ctx context.Context, name localsink.ServiceName) ([]localsink.EndpointConnections, error) {
	var all []localsink.EndpointConnections
	err := b.eachCounter(ctx, name, func(port portID, id counterID, count uint64) {
		if id.endpoint.IsValid() {
			all = append(all, localsink.EndpointConnections{Port: port.name, Protocol: port.protocol, Endpoint: id.endpoint, Count: count})
		}
	})
	slices.SortFunc(all, func(a, b localsink.EndpointConnections) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), a.Endpoint.Compare(b.Endpoint))
	})
	return all, err
}

// eachCounter calls f for the counters of a Service that is programmed.
func (b *Backend) eachCounter(ctx context.Context, name localsink.ServiceName, f func(portID, counterID, uint64)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil {
		return nil
	}
	for port, of := range b.state.counters.ports(name) {
		for id, c := range of {
			value := uint64(0)
			if c.index != 0 {
				var err error
				if value, err = b.state.maps.readCounter(c.index); err != nil {
					return err
				}
			}
			f(port, id, c.base+value)
		}
	}
	return nil
}
