// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sigs.k8s.io/kpng/localsink"
)

// ZoneExtension is the key of the extension of endpoints and of the node that holds their zone.
// Clients use endpoints in the zone of the node, if there are any, as long as they can connect to one.
const ZoneExtension = "topology.kubernetes.io/zone"

// zoneOf returns the zone in extensions.
func zoneOf(x localsink.Extensions) string {
	zone, _ := x.Get(ZoneExtension)
	return zone
}

// frontendOf returns the frontend that clients of the node would dial, or nil: its port is that of
// the Service, and its pool is that of the clients. A port may have several that differ in kind or
// address family.
func frontendOf(p *localsink.Port, node *localsink.Node) *localsink.Frontend {
	var best *localsink.Frontend
	for i := range p.Frontends {
		fe := &p.Frontends[i]
		if fe.Kind != localsink.KindNodePort && (best == nil || compareFrontends(p, node, fe, best) < 0) {
			best = fe
		}
	}
	return best
}

// compareFrontends orders by kind, then by whether there are endpoints, then by whether the family is
// the primary one of the node.
func compareFrontends(p *localsink.Port, node *localsink.Node, a, b *localsink.Frontend) int {
	key := func(fe *localsink.Frontend) (kind, empty, family int) {
		if len(poolOf(p, fe)) == 0 {
			empty = 1
		}
		if len(node.IPs) > 0 && node.IPs[0].Is4() != fe.Addr.Addr().Is4() {
			family = 1
		}
		return int(fe.Kind), empty, family
	}
	kindA, emptyA, familyA := key(a)
	kindB, emptyB, familyB := key(b)
	return cmp.Or(kindA-kindB, emptyA-emptyB, familyA-familyB)
}

// poolOf returns the endpoints for pods of the node that dial a frontend.
func poolOf(p *localsink.Port, fe *localsink.Frontend) []localsink.Endpoint {
	for _, r := range fe.Routes {
		if r.From == localsink.FromLocalPods || r.From == localsink.FromAny {
			if r.Pool >= 0 && r.Pool < len(p.Pools) {
				return p.Pools[r.Pool].Endpoints
			}
			return nil
		}
	}
	return nil
}

// A localityKey identifies the endpoints that are one locality, in order of preference.
type localityKey struct {
	rank    int // becomes the priority
	zone    string
	subZone string
}

func (k localityKey) compare(o localityKey) int {
	return cmp.Or(cmp.Compare(k.rank, o.rank), cmp.Compare(k.zone, o.zone), cmp.Compare(k.subZone, o.subZone))
}

// A locality is a list of endpoints with its key.
type locality struct {
	localityKey
	endpoints []localsink.Endpoint
	sum       uint64 // of the weights of endpoints
}

// endpoints returns the endpoints of a port.
func (r *renderer) endpoints(name string, p *localsink.Port, b balancing, node *localsink.Node) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	if p.RefusedPerMille > 0 {
		out.Policy = &endpointv3.ClusterLoadAssignment_Policy{DropOverloads: dropsOf(uint32(p.RefusedPerMille))}
	}
	fe := frontendOf(p, node)
	if fe == nil {
		return out
	}
	localities := r.localities(p, poolOf(p, fe), b, node)
	priorities := uint32(0)
	for i := range localities {
		if i > 0 && localities[i].rank != localities[i-1].rank {
			priorities++
		}
		out.Endpoints = append(out.Endpoints, localities[i].render(b, priorities, divisorOf(localities)))
	}
	if draining := drainingOf(p, fe); len(draining) > 0 {
		if len(localities) > 0 {
			priorities++ // so that it does not count in the health of the others
		}
		out.Endpoints = append(out.Endpoints, renderDraining(draining, priorities))
	}
	return out
}

// dropsOf returns the shares of calls that clients refuse, one after the other, so that they are perMille
// in all. grpc-go multiplies the numerator by a million in 32 bits, so it has a limit.
func dropsOf(perMille uint32) []*endpointv3.ClusterLoadAssignment_Policy_DropOverload {
	const tenThousand, hundred, limit = typev3.FractionalPercent_TEN_THOUSAND, typev3.FractionalPercent_HUNDRED, math.MaxUint32 / 1_000_000
	drop := func(category string, numerator uint32, denominator typev3.FractionalPercent_DenominatorType) *endpointv3.ClusterLoadAssignment_Policy_DropOverload {
		return &endpointv3.ClusterLoadAssignment_Policy_DropOverload{
			Category: category, DropPercentage: &typev3.FractionalPercent{Numerator: numerator, Denominator: denominator},
		}
	}
	percent, rest := perMille/10, perMille%10
	first := drop("refused", percent, hundred)
	remaining := 1000 - percent*10 // what the first share leaves, of which rest must be refused
	switch {
	case rest == 0:
		return []*endpointv3.ClusterLoadAssignment_Policy_DropOverload{first}
	case perMille*10 <= limit:
		return []*endpointv3.ClusterLoadAssignment_Policy_DropOverload{drop("refused", perMille*10, tenThousand)}
	case rest*10_000/remaining > limit: // of 10 or 20, so it is exact
		return []*endpointv3.ClusterLoadAssignment_Policy_DropOverload{first, drop("refused-rest", rest*100/remaining, hundred)}
	}
	return []*endpointv3.ClusterLoadAssignment_Policy_DropOverload{first, drop("refused-rest", (rest*10_000+remaining/2)/remaining, tenThousand)}
}

// localities returns the endpoints of a pool by locality.
func (r *renderer) localities(p *localsink.Port, pool []localsink.Endpoint, b balancing, node *localsink.Node) []locality {
	byKey := map[localityKey]int{}
	var all []locality
	uneven := b == balanceRandom && slices.ContainsFunc(pool, func(e localsink.Endpoint) bool { return e.Weight != pool[0].Weight })
	nodeZone := zoneOf(node.Extensions)
	for _, e := range pool {
		key := localityKey{zone: zoneOf(p.EndpointExtensions[e.Addr])}
		switch {
		case r.preferLocal && e.Local:
			key.subZone = node.Name
		case nodeZone != "" && key.zone != "" && key.zone != nodeZone && !e.Local:
			key.rank = 2
		default:
			key.rank = 1
		}
		if b != balanceRandom { // one ring for all endpoints of a priority
			key.zone = ""
		}
		if uneven {
			key.subZone += fmt.Sprintf("/weight-%d", e.Weight)
		}
		i, found := byKey[key]
		if !found {
			i = len(all)
			byKey[key] = i
			all = append(all, locality{localityKey: key})
		}
		all[i].endpoints = append(all[i].endpoints, e)
		all[i].sum += uint64(max(1, e.Weight))
	}
	slices.SortFunc(all, func(a, b locality) int { return a.compare(b.localityKey) })
	return all
}

// divisorOf returns by what weights are divided, so that their sum fits into 32 bits.
func divisorOf(localities []locality) uint64 {
	sum := uint64(0)
	for i := range localities {
		sum += localities[i].sum + uint64(len(localities[i].endpoints)) // rounding up
	}
	return sum/math.MaxUint32 + 1
}

// render returns the locality with a priority.
func (l *locality) render(b balancing, priority uint32, divisor uint64) *endpointv3.LocalityLbEndpoints {
	out := &endpointv3.LocalityLbEndpoints{
		Locality: &corev3.Locality{Zone: l.zone, SubZone: l.subZone}, Priority: priority, LoadBalancingWeight: wrapperspb.UInt32(1),
	}
	if b == balanceRandom {
		out.LoadBalancingWeight.Value = uint32(max(1, l.sum/divisor))
	}
	for _, e := range l.endpoints {
		x := renderEndpoint(e.Addr)
		if b != balanceRandom && e.Weight > 1 {
			x.LoadBalancingWeight = wrapperspb.UInt32(uint32(max(1, uint64(e.Weight)/divisor)))
		}
		out.LbEndpoints = append(out.LbEndpoints, x)
	}
	return out
}

func renderEndpoint(a netip.AddrPort) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: a.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
		}}},
	}}}
}

// drainingOf returns the draining endpoints in the family of a frontend.
func drainingOf(p *localsink.Port, fe *localsink.Frontend) []netip.AddrPort {
	var all []netip.AddrPort
	for _, a := range p.Draining {
		if a.Addr().Is4() == fe.Addr.Addr().Is4() {
			all = append(all, a)
		}
	}
	return all
}

// renderDraining returns a locality without a weight, which receives no new connections. Endpoints cannot
// have the weight 0.
func renderDraining(draining []netip.AddrPort, priority uint32) *endpointv3.LocalityLbEndpoints {
	out := &endpointv3.LocalityLbEndpoints{
		Locality: &corev3.Locality{SubZone: "draining"}, Priority: priority,
	}
	for _, a := range draining {
		e := renderEndpoint(a)
		e.HealthStatus = corev3.HealthStatus_DRAINING
		out.LbEndpoints = append(out.LbEndpoints, e)
	}
	return out
}
