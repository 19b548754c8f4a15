// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"net/netip"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/remote/internal/fanout"
	"sigs.k8s.io/kpng/remote/internal/protoconv"
	"sigs.k8s.io/kpng/watchers"
)

// Fields of WatchClusterResponse; facts are encoded as parts of one.
const (
	fieldObjects        protowire.Number = 2
	fieldRemovedDigests protowire.Number = 3
	fieldCommit         protowire.Number = 4
)

// Fields of FactChange and EndpointSliceFact.
const (
	fieldKey         protowire.Number = 1
	fieldDigest      protowire.Number = 2
	fieldService     protowire.Number = 3
	fieldSlice       protowire.Number = 4
	fieldNode        protowire.Number = 5
	fieldServiceCIDR protowire.Number = 6
	fieldTriggerTime protowire.Number = 6
)

// encode encodes a fact for all who are told of it; nil for what is none. When a slice's
// change was asked for is no content: it is told, but the digest does not know it.
func encode(key objectKey, fact watchers.Object) *fanout.Encoding {
	content, triggered, field := contentOf(fact)
	if field == 0 {
		return nil
	}
	name := marshal(&kpng.ObjectKey{Kind: key.kind, Namespace: protoconv.Text(key.namespace), Name: protoconv.Text(key.name)})
	d := xxhash.New()
	_, _ = d.Write(protowire.AppendBytes(nil, name))
	_, _ = d.Write(content)
	digest := max(d.Sum64(), 1)

	keyPart := protowire.AppendBytes(protowire.AppendTag(nil, fieldKey, protowire.BytesType), name)
	change := make([]byte, 0, len(keyPart)+len(content)+len(triggered)+24)
	change = append(change, keyPart...)
	change = protowire.AppendFixed64(protowire.AppendTag(change, fieldDigest, protowire.Fixed64Type), digest)
	change = protowire.AppendTag(change, field, protowire.BytesType)
	change = protowire.AppendVarint(change, uint64(len(content)+len(triggered)))
	change = append(append(change, content...), triggered...)
	return &fanout.Encoding{Digest: digest, Whole: objectField(change), Gone: objectField(keyPart)}
}

// objectField returns an encoded FactChange as part of a message.
func objectField(change []byte) []byte {
	b := make([]byte, 0, len(change)+8)
	return protowire.AppendBytes(protowire.AppendTag(b, fieldObjects, protowire.BytesType), change)
}

func marshal(m proto.Message) []byte {
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m) // fails for no UTF-8, which there is none
	return b
}

// contentOf encodes a fact, and apart from it what is no content, and returns the field
// of FactChange that both are for.
func contentOf(fact watchers.Object) (content, triggered []byte, field protowire.Number) {
	switch f := fact.(type) {
	case *watchers.Service:
		return marshal(toService(f)), nil, fieldService
	case *watchers.EndpointSlice:
		if !f.TriggerTime.IsZero() {
			triggered = protowire.AppendTag(nil, fieldTriggerTime, protowire.Fixed64Type)
			triggered = protowire.AppendFixed64(triggered, uint64(f.TriggerTime.UnixNano()))
		}
		return marshal(toSlice(f)), triggered, fieldSlice
	case *watchers.Node:
		return marshal(&kpng.NodeObject{
			Ips: addrs(f.IPs), PodCidrs: networks(f.PodCIDRs), Zone: protoconv.Text(f.Zone), Deleting: f.Deleting,
			Problems: protoconv.Problems(f.Problems),
		}), nil, fieldNode
	case *watchers.ServiceCIDR:
		return marshal(&kpng.ServiceCidrObject{Networks: networks(f.Networks), Problems: protoconv.Problems(f.Problems)}), nil, fieldServiceCIDR
	}
	return nil, nil, 0
}

func toService(s *watchers.Service) *kpng.ServiceObject {
	out := &kpng.ServiceObject{
		Type:                       kpng.ServiceType(s.Type),
		ClusterIp:                  addr(s.ClusterIP),
		ExternalIps:                addrs(s.ExternalIPs),
		SourceRanges:               networks(s.SourceRanges),
		HasSourceRanges:            s.HasSourceRanges,
		HasInvalidSourceRanges:     s.HasInvalidSourceRanges,
		InternalTrafficPolicyLocal: s.InternalPolicy == watchers.PolicyLocal,
		ExternalTrafficPolicyLocal: s.ExternalPolicy == watchers.PolicyLocal,
		HealthCheckNodePort:        uint32(s.HealthCheckNodePort),
		AffinityNs:                 uint64(max(s.Affinity, 0)),
		Problems:                   protoconv.Problems(s.Problems),
	}
	if !s.Created.IsZero() {
		out.CreatedUnixNs = proto.Int64(s.Created.UnixNano())
	}
	if s.ProxyName != nil {
		out.ProxyName = proto.String(protoconv.Text(*s.ProxyName))
	}
	for _, a := range s.ClusterIPs {
		out.ClusterIps = append(out.ClusterIps, addr(a))
	}
	for _, f := range s.IPFamilies {
		out.IpFamilies = append(out.IpFamilies, uint32(f))
	}
	for _, i := range s.Ingress {
		if i.IP.IsValid() {
			out.Ingress = append(out.Ingress, &kpng.Ingress{Ip: addr(i.IP), Proxy: i.Proxy})
		}
	}
	for _, p := range s.Ports {
		out.Ports = append(out.Ports, &kpng.ServiceObjectPort{
			Name: protoconv.Text(p.Name), Protocol: kpng.Protocol(p.Protocol), Port: uint32(p.Port), NodePort: uint32(p.NodePort),
		})
	}
	return out
}

func toSlice(s *watchers.EndpointSlice) *kpng.EndpointSliceObject {
	out := &kpng.EndpointSliceObject{
		Service: protoconv.Text(s.Service.Name), Family: uint32(s.Family), Problems: protoconv.Problems(s.Problems),
	}
	for _, p := range s.Ports {
		out.Ports = append(out.Ports, &kpng.EndpointObjectPort{Name: protoconv.Text(p.Name), Protocol: kpng.Protocol(p.Protocol), Port: uint32(p.Port)})
	}
	parts := make([]kpng.EndpointObject, len(s.Endpoints))
	for i := range s.Endpoints {
		in, e := &s.Endpoints[i], &parts[i]
		if watchers.FamilyOf(in.Addr) != s.Family || in.Addr.Is4In6() {
			continue // there should be none
		}
		e.Address, e.Node = in.Addr.AsSlice(), protoconv.Text(in.Node)
		e.Ready, e.Serving, e.Terminating = in.Ready, in.Serving, in.Terminating
		if in.Hints != nil {
			e.Hints = &kpng.Hints{Zones: texts(in.Hints.Zones), Nodes: texts(in.Hints.Nodes)}
		}
		out.Endpoints = append(out.Endpoints, e)
	}
	return out
}

func texts(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, protoconv.Text(s))
	}
	return out
}

// addr writes an address, the zero one as nothing.
func addr(a netip.Addr) []byte { return a.Unmap().AsSlice() }

func addrs(list []netip.Addr) [][]byte {
	var out [][]byte
	for _, a := range list {
		if a.IsValid() {
			out = append(out, addr(a))
		}
	}
	return out
}

// networks writes those that can be read: facts have no others.
func networks(list []netip.Prefix) []*kpng.Network {
	valid := make([]netip.Prefix, 0, len(list))
	for _, p := range list {
		if p.IsValid() && !p.Addr().Is4In6() {
			valid = append(valid, p.Masked())
		}
	}
	return protoconv.Networks(valid)
}
