// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/internal/shares"
)

// A target is an SRV record with its addresses in one family.
type target struct {
	priority, weight, port uint16
	addresses              []netip.Addr
}

// An endpoint is a destination of connections with its weight.
type endpoint struct {
	addr   netip.AddrPort
	weight uint32
}

// zeroShare is the weight 1 in relation to the weight 0 beside it. RFC 2782 demands "a very
// small chance" for the weight 0, and the weight 0 of the cluster state is no chance.
const zeroShare = 100

// endpointsOf returns the endpoints of the lowest priority that has any, without duplicates, in
// the order of their addresses.
func endpointsOf(targets []target) []endpoint {
	targets = slices.DeleteFunc(slices.Clone(targets), func(t target) bool { return len(t.addresses) == 0 })
	if len(targets) == 0 {
		return nil
	}
	lowest := slices.MinFunc(targets, func(a, b target) int { return cmp.Compare(a.priority, b.priority) }).priority
	targets = slices.DeleteFunc(targets, func(t target) bool { return t.priority != lowest })
	weighted := slices.ContainsFunc(targets, func(t target) bool { return t.weight > 0 })
	groups := make([]shares.Group, len(targets))
	for i, t := range targets {
		groups[i] = shares.Group{Weight: 1, Members: len(t.addresses)}
		if t.weight > 0 {
			groups[i].Weight = zeroShare * uint64(t.weight)
		} else if !weighted {
			groups[i].Weight = zeroShare
		}
	}
	weights := map[netip.AddrPort]uint32{}
	for i, weight := range shares.Divide(groups) {
		for _, a := range targets[i].addresses {
			weights[netip.AddrPortFrom(a, targets[i].port)] += weight
		}
	}
	out := make([]endpoint, 0, len(weights))
	for addr, weight := range weights {
		out = append(out, endpoint{addr, weight})
	}
	slices.SortFunc(out, func(a, b endpoint) int { return a.addr.Compare(b.addr) })
	return out
}

// slicePrefix begins the names of the slices of a port of s. A slice has one port and family, so
// that endpoints with ports of their own, as registries assign them, have slices of their own.
func (s *Service) slicePrefix(port int) string {
	const maxName = 200 // a name has at most 253 bytes, and more follows
	name := s.Name
	if len(name) > maxName {
		name = fmt.Sprintf("%x", sha256.Sum256([]byte(name)))
	}
	return fmt.Sprintf("%s-%d-", name, port)
}

// endpointSlices returns the slices of a port of s.
func (s *Service) endpointSlices(port int, endpoints []endpoint) []*watchers.EndpointSlice {
	var out []*watchers.EndpointSlice
	byName := map[string]*watchers.EndpointSlice{}
	equal := !slices.ContainsFunc(endpoints, func(e endpoint) bool { return e.weight != 1 })
	for _, e := range endpoints {
		family := watchers.FamilyOf(e.addr.Addr())
		name := fmt.Sprintf("%sipv%d-%d", s.slicePrefix(port), family, e.addr.Port())
		slice := byName[name]
		if slice == nil {
			slice = &watchers.EndpointSlice{
				Namespace: s.Namespace, Name: name, Service: s.name(), Family: family,
				Ports: []watchers.EndpointPort{{Name: s.Ports[port].Name, Protocol: s.Ports[port].Protocol, Port: e.addr.Port()}},
			}
			byName[name] = slice
			out = append(out, slice)
		}
		slice.Endpoints = append(slice.Endpoints, watchers.Endpoint{Addr: e.addr.Addr(), Ready: true, Serving: true})
		if !equal {
			slice.Details = append(slice.Details, watchers.EndpointDetails{Weight: &e.weight})
		}
	}
	return out
}

// object returns the Service for the store.
func (s *Service) object(problems []watchers.Problem) *watchers.Service {
	out := &watchers.Service{Name: s.name(), Affinity: s.Affinity, Problems: problems}
	for _, a := range s.Addresses {
		out.ClusterIP = cmp.Or(out.ClusterIP, a)
		out.ClusterIPs, out.IPFamilies = append(out.ClusterIPs, a), append(out.IPFamilies, watchers.FamilyOf(a))
	}
	if len(s.Addresses) == 0 {
		out.Details = &watchers.ServiceDetails{Headless: true}
	}
	for i := range s.Ports {
		out.Ports = append(out.Ports, watchers.ServicePort{Name: s.Ports[i].Name, Protocol: s.Ports[i].Protocol, Port: s.Ports[i].Port})
	}
	return out
}

// families returns the address families that endpoints of s may have.
func (s *Service) families() []watchers.IPFamily {
	if len(s.Addresses) == 0 {
		return []watchers.IPFamily{watchers.FamilyIPv4, watchers.FamilyIPv6}
	}
	var out []watchers.IPFamily
	for _, a := range s.Addresses {
		out = append(out, watchers.FamilyOf(a))
	}
	return out
}
