// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A countedChain is a chain of two sinks that count different connections to the same Services: at
// sockets, and in the packet path.
type countedChain struct {
	localsink.Sink

	counters [2]localsink.ConnectionCounter
}

var _ localsink.ConnectionCounter = countedChain{}

// Sinks implements the interface that localsink.Walk looks for.
func (c countedChain) Sinks() []localsink.Sink { return []localsink.Sink{c.Sink} }

// CountsConnections implements localsink.ConnectionCounter.
func (c countedChain) CountsConnections() bool {
	return c.counters[0].CountsConnections() && c.counters[1].CountsConnections()
}

// FrontendConnections implements localsink.ConnectionCounter with the sums of both.
func (c countedChain) FrontendConnections(ctx context.Context, name localsink.ServiceName) ([]localsink.FrontendConnections, error) {
	all, err := c.counters[0].FrontendConnections(ctx, name)
	more, moreErr := c.counters[1].FrontendConnections(ctx, name)
	for _, m := range more {
		same := func(f localsink.FrontendConnections) bool {
			f.Count = m.Count
			return f == m
		}
		if i := slices.IndexFunc(all, same); i >= 0 {
			all[i].Count += m.Count
		} else {
			all = append(all, m)
		}
	}
	return all, errors.Join(err, moreErr)
}

// EndpointConnections implements localsink.ConnectionCounter with the sums of both.
func (c countedChain) EndpointConnections(ctx context.Context, name localsink.ServiceName) ([]localsink.EndpointConnections, error) {
	all, err := c.counters[0].EndpointConnections(ctx, name)
	more, moreErr := c.counters[1].EndpointConnections(ctx, name)
	for _, m := range more {
		same := func(e localsink.EndpointConnections) bool {
			e.Count = m.Count
			return e == m
		}
		if i := slices.IndexFunc(all, same); i >= 0 {
			all[i].Count += m.Count
		} else {
			all = append(all, m)
		}
	}
	slices.SortStableFunc(all, func(a, b localsink.EndpointConnections) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), a.Frontend.Compare(b.Frontend), a.Endpoint.Compare(b.Endpoint))
	})
	return all, errors.Join(err, moreErr)
}
