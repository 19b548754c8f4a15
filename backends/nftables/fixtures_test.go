// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"iter"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

// serviceList is a localsink.State with linear search.
type serviceList []*localsink.Service

func (s serviceList) Len() int { return len(s) }

func (s serviceList) Get(name localsink.ServiceName) *localsink.Service {
	for _, svc := range s {
		if svc.Name == name {
			return svc
		}
	}
	return nil
}

func (s serviceList) All() iter.Seq[*localsink.Service] {
	return func(yield func(*localsink.Service) bool) {
		for _, svc := range s {
			if !yield(svc) {
				return
			}
		}
	}
}

func firstUpdate(n *localsink.Node, services ...*localsink.Service) *localsink.Update {
	return &localsink.Update{Node: n, NodeChanged: true, All: serviceList(services), Changed: services}
}

// nextUpdate returns the update from one state to another.
func nextUpdate(n *localsink.Node, from, to serviceList) *localsink.Update {
	u := &localsink.Update{Node: n, All: to}
	for _, s := range to {
		if from.Get(s.Name) != s {
			u.Changed = append(u.Changed, s)
		}
	}
	for _, s := range from {
		if to.Get(s.Name) == nil {
			u.Removed = append(u.Removed, s)
		}
	}
	return u
}

// newService returns a Service with one TCP port.
func newService(name string, port localsink.Port) *localsink.Service {
	if port.Protocol == 0 {
		port.Protocol = localsink.ProtocolTCP
	}
	return &localsink.Service{Name: localsink.ServiceName{Namespace: "test", Name: name}, Ports: []localsink.Port{port}}
}

// newFrontend returns a frontend with these routes; the default is one route for all clients to
// pool 0.
func newFrontend(kind localsink.FrontendKind, addr string, routes ...localsink.Route) localsink.Frontend {
	if routes == nil {
		routes = []localsink.Route{{}}
	}
	return localsink.Frontend{Kind: kind, Addr: netip.MustParseAddrPort(addr), Routes: routes}
}

// newLocalPool returns a pool of endpoints of this node.
func newLocalPool(addrs ...string) localsink.Pool {
	var p localsink.Pool
	for _, a := range addrs {
		p.Endpoints = append(p.Endpoints, localsink.Endpoint{Addr: netip.MustParseAddrPort(a), Local: true, Weight: 1})
	}
	return p
}

// An indexedState is a localsink.State with constant search time.
type indexedState struct {
	serviceList
	index map[localsink.ServiceName]*localsink.Service
}

func (s indexedState) Get(name localsink.ServiceName) *localsink.Service { return s.index[name] }

// manyServices returns Services with one frontend and that many endpoints each, of which one in
// ten is local.
func manyServices(services, endpoints int) indexedState {
	s := indexedState{index: map[localsink.ServiceName]*localsink.Service{}}
	for i := range services {
		svc := newService(fmt.Sprintf("svc-%06d", i), localsink.Port{
			Pools:     []localsink.Pool{{Endpoints: manyEndpoints(i*endpoints, endpoints)}},
			Frontends: []localsink.Frontend{newFrontend(localsink.KindClusterIP, fmt.Sprintf("10.%d.%d.%d:80", 96+i>>16, i>>8&255, i&255))},
		})
		s.serviceList = append(s.serviceList, svc)
		s.index[svc.Name] = svc
	}
	return s
}

func manyEndpoints(first, n int) []localsink.Endpoint {
	list := make([]localsink.Endpoint, n)
	for i := range list {
		list[i] = localsink.Endpoint{Addr: endpointAddr(first + i), Local: i%10 == 0, Weight: 1}
	}
	return list
}

func endpointAddr(i int) netip.AddrPort {
	i += 256
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(128 + i>>16), byte(i >> 8), byte(i)}), 8080)
}
