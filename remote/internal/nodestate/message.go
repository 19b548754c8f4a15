// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodestate encodes the desired state of a node as protobuf messages and as JSON.
//
//   - message.go: messages of Services and Nodes as package localsink has them.
//   - json.go: the JSON form of a message, for people and for programs in any language.
package nodestate

import (
	"net/netip"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/remote/internal/protoconv"
)

// Service encodes a Service on a node.
func Service(svc *localsink.Service) *kpng.ServiceState {
	out := &kpng.ServiceState{
		Namespace: svc.Name.Namespace, Name: svc.Name.Name, Origin: svc.Name.Origin,
		Problems: protoconv.Problems(svc.Problems), Text: protoconv.Text(svc.Text()), Extensions: protoconv.Extensions(svc.Extensions),
	}
	if svc.HealthCheck != nil {
		out.HealthCheckPort, out.LocalEndpoints = uint32(svc.HealthCheck.Port), uint32(svc.HealthCheck.LocalEndpoints)
	}
	for i := range svc.Ports {
		out.Ports = append(out.Ports, portState(&svc.Ports[i]))
	}
	return out
}

func portState(p *localsink.Port) *kpng.PortState {
	out := &kpng.PortState{
		Name: p.Name, Protocol: kpng.Protocol(p.Protocol), AffinityNs: uint64(p.Affinity),
		Selection: protoconv.Selection(p.Selection), RefusedPerMille: uint32(p.RefusedPerMille),
		EndpointExtensions: EndpointExtensions(p.EndpointExtensions, false),
	}
	for i := range p.Frontends {
		fe := &p.Frontends[i]
		f := &kpng.FrontendState{
			Kind: Kind(fe.Kind), Address: fe.Addr.Addr().AsSlice(), Port: uint32(fe.Addr.Port()), SourceRanges: Networks(fe.SourceRanges),
		}
		for _, r := range fe.Routes {
			f.Routes = append(f.Routes, &kpng.RouteState{
				From: From(r.From), Pool: uint32(r.Pool), Masquerade: r.Masquerade, EmptyVerdict: Verdict(r.EmptyVerdict),
			})
		}
		out.Frontends = append(out.Frontends, f)
	}
	for _, pool := range p.Pools {
		ps := &kpng.PoolState{}
		for _, e := range pool.Endpoints {
			ps.Endpoints = append(ps.Endpoints, &kpng.EndpointState{
				Address: e.Addr.Addr().AsSlice(), Port: uint32(e.Addr.Port()), Local: e.Local, Weight: e.Weight,
			})
		}
		out.Pools = append(out.Pools, ps)
	}
	for _, a := range p.Draining {
		out.Draining = append(out.Draining, &kpng.Endpoint{Address: a.Addr().AsSlice(), Port: uint32(a.Port())})
	}
	return out
}

// Node encodes a node, without its zone.
func Node(n *localsink.Node) *kpng.Node {
	return &kpng.Node{
		Name: protoconv.Text(n.Name),
		LocalPods: &kpng.PodSources{
			Networks:  protoconv.Networks(n.LocalPods.Networks),
			Interface: protoconv.Text(n.LocalPods.Interface), InterfacePrefix: protoconv.Text(n.LocalPods.InterfacePrefix),
		},
		Ips:               Addrs(n.IPs),
		NodePortAddresses: protoconv.Networks(n.NodePortAddresses),
		LoopbackNodePorts: Addrs(n.LoopbackNodePorts),
		ServiceNetworks:   protoconv.Networks(n.ServiceNetworks),
		Deleting:          n.Deleting,
		NoMasquerade:      protoconv.Networks(n.NoMasquerade),
		Extensions:        protoconv.Extensions(n.Extensions),
	}
}

// Addrs encodes addresses.
func Addrs(list []netip.Addr) [][]byte {
	var out [][]byte
	for _, a := range list {
		out = append(out, a.AsSlice())
	}
	return out
}

// Networks keeps the difference between nil, which allows all sources, and an empty list,
// which allows none.
func Networks(list []netip.Prefix) *kpng.Networks {
	if list == nil {
		return nil
	}
	return &kpng.Networks{Networks: protoconv.Networks(list)}
}

// Kind encodes the kind of a frontend.
func Kind(k localsink.FrontendKind) kpng.FrontendKind {
	switch k {
	case localsink.KindClusterIP:
		return kpng.FrontendKind_FRONTEND_KIND_CLUSTER_IP
	case localsink.KindNodePort:
		return kpng.FrontendKind_FRONTEND_KIND_NODE_PORT
	case localsink.KindExternalIP:
		return kpng.FrontendKind_FRONTEND_KIND_EXTERNAL_IP
	case localsink.KindLoadBalancer:
		return kpng.FrontendKind_FRONTEND_KIND_LOAD_BALANCER
	}
	return kpng.FrontendKind_FRONTEND_KIND_UNSPECIFIED
}

// From encodes a set of clients.
func From(f localsink.From) kpng.From {
	switch f {
	case localsink.FromLocalPods:
		return kpng.From_FROM_LOCAL_PODS
	case localsink.FromThisNode:
		return kpng.From_FROM_THIS_NODE
	case localsink.FromAny: // has no value of its own
	}
	return kpng.From_FROM_UNSPECIFIED
}

// Verdict encodes the action for connections without an endpoint.
func Verdict(v localsink.Verdict) kpng.Verdict {
	switch v {
	case localsink.VerdictDrop:
		return kpng.Verdict_VERDICT_DROP
	case localsink.VerdictPass:
		return kpng.Verdict_VERDICT_PASS
	case localsink.VerdictReject: // has no value of its own
	}
	return kpng.Verdict_VERDICT_UNSPECIFIED
}

// EndpointExtensions encodes the extensions of endpoints. empty reports whether empty lists
// are included.
func EndpointExtensions(extensions map[netip.AddrPort]localsink.Extensions, empty bool) (out []*kpng.EndpointExtensions) {
	for _, g := range overlay.GroupExtensions(extensions) {
		if g.Extensions.Len() == 0 && !empty {
			continue
		}
		group := &kpng.EndpointExtensions{Extensions: protoconv.Extensions(g.Extensions)}
		for _, a := range g.Endpoints {
			group.Endpoints = append(group.Endpoints, &kpng.Endpoint{Address: a.Addr().AsSlice(), Port: uint32(a.Port())})
		}
		out = append(out, group)
	}
	return out
}
