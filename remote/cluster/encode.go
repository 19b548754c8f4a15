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

// Field numbers of WatchClusterResponse. An encoded object is a field of it.
const (
	fieldObjects        protowire.Number = 2
	fieldRemovedDigests protowire.Number = 3
	fieldCommit         protowire.Number = 4
)

// Field numbers of ObjectChange and of EndpointSliceObject.
const (
	fieldKey         protowire.Number = 1
	fieldDigest      protowire.Number = 2
	fieldService     protowire.Number = 3
	fieldSlice       protowire.Number = 4
	fieldNode        protowire.Number = 5
	fieldServiceCIDR protowire.Number = 6
	fieldTriggerTime protowire.Number = 6
)

// encode encodes an object for all streams; it returns nil for other types. The digest does
// not cover the trigger time of a slice, which differs between otherwise equal versions.
func encode(key objectKey, object watchers.Object) *fanout.Encoding {
	content, trigger, field := contentOf(object)
	if field == 0 {
		return nil
	}
	name := marshal(&kpng.ObjectKey{
		Kind: key.kind, Namespace: protoconv.Text(key.namespace), Name: protoconv.Text(key.name), Origin: protoconv.Text(key.origin),
	})
	d := xxhash.New()
	_, _ = d.Write(protowire.AppendBytes(nil, name))
	_, _ = d.Write(content)
	digest := max(d.Sum64(), 1)

	keyPart := protowire.AppendBytes(protowire.AppendTag(nil, fieldKey, protowire.BytesType), name)
	change := make([]byte, 0, len(keyPart)+len(content)+len(trigger)+24)
	change = append(change, keyPart...)
	change = protowire.AppendFixed64(protowire.AppendTag(change, fieldDigest, protowire.Fixed64Type), digest)
	change = protowire.AppendTag(change, field, protowire.BytesType)
	change = protowire.AppendVarint(change, uint64(len(content)+len(trigger)))
	change = append(append(change, content...), trigger...)
	return &fanout.Encoding{Digest: digest, Full: objectField(change), Removal: objectField(keyPart)}
}

// objectField wraps an encoded ObjectChange in a field of WatchClusterResponse.
func objectField(change []byte) []byte {
	b := make([]byte, 0, len(change)+8)
	return protowire.AppendBytes(protowire.AppendTag(b, fieldObjects, protowire.BytesType), change)
}

func marshal(m proto.Message) []byte {
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m) // fails only for invalid UTF-8, which protoconv.Text has replaced
	return b
}

// contentOf encodes an object, with its trigger time separately, and returns the field
// number of the object in ObjectChange; 0 for other types.
func contentOf(object watchers.Object) (content, trigger []byte, field protowire.Number) {
	switch o := object.(type) {
	case *watchers.Service:
		return marshal(toService(o)), nil, fieldService
	case *watchers.EndpointSlice:
		if !o.TriggerTime.IsZero() {
			trigger = protowire.AppendTag(nil, fieldTriggerTime, protowire.Fixed64Type)
			trigger = protowire.AppendFixed64(trigger, uint64(o.TriggerTime.UnixNano()))
		}
		return marshal(toSlice(o)), trigger, fieldSlice
	case *watchers.Node:
		return marshal(&kpng.NodeObject{
			Ips: addrs(o.IPs), PodCidrs: networks(o.PodCIDRs), Zone: protoconv.Text(o.Zone), Deleting: o.Deleting,
			Problems: protoconv.Problems(o.Problems), Extensions: protoconv.Extensions(o.Extensions),
		}), nil, fieldNode
	case *watchers.ServiceCIDR:
		return marshal(&kpng.ServiceCidrObject{Networks: networks(o.Networks), Problems: protoconv.Problems(o.Problems)}), nil, fieldServiceCIDR
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
		Extensions:                 protoconv.Extensions(s.Extensions),
	}
	if !s.Created.IsZero() {
		out.CreatedUnixNs = new(s.Created.UnixNano())
	}
	if s.ProxyName != nil {
		out.ProxyName = new(protoconv.Text(*s.ProxyName))
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
			Selection: protoconv.Selection(p.Selection), RefusedPerMille: uint32(p.RefusedPerMille),
		})
	}
	if d := s.Details; d != nil {
		out.Details = &kpng.ServiceObjectDetails{
			Headless: d.Headless, ExternalName: protoconv.Text(d.ExternalName),
			LoadBalancerClass: protoconv.Text(d.LoadBalancerClass), AppProtocols: texts(d.AppProtocols),
		}
	}
	return out
}

func toSlice(s *watchers.EndpointSlice) *kpng.EndpointSliceObject {
	out := &kpng.EndpointSliceObject{
		Service: protoconv.Text(s.Service.Name), Family: uint32(s.Family), Problems: protoconv.Problems(s.Problems),
		Extensions: protoconv.Extensions(s.Extensions),
	}
	for _, p := range s.Ports {
		out.Ports = append(out.Ports, &kpng.EndpointObjectPort{Name: protoconv.Text(p.Name), Protocol: kpng.Protocol(p.Protocol), Port: uint32(p.Port)})
	}
	parts := make([]kpng.EndpointObject, len(s.Endpoints))
	for i := range s.Endpoints {
		in, e := &s.Endpoints[i], &parts[i]
		if watchers.FamilyOf(in.Addr) != s.Family || in.Addr.Is4In6() {
			continue // invalid in a slice
		}
		e.Address, e.Node = in.Addr.AsSlice(), protoconv.Text(in.Node)
		e.Ready, e.Serving, e.Terminating = in.Ready, in.Serving, in.Terminating
		if in.Hints != nil {
			e.Hints = &kpng.Hints{Zones: texts(in.Hints.Zones), Nodes: texts(in.Hints.Nodes)}
		}
		if i < len(s.Details) {
			e.Details = toDetails(&s.Details[i])
		}
		out.Endpoints = append(out.Endpoints, e)
	}
	return out
}

func toDetails(d *watchers.EndpointDetails) *kpng.EndpointObjectDetails {
	return &kpng.EndpointObjectDetails{
		Weight: d.Weight, Extensions: protoconv.Extensions(d.Extensions),
		Hostname: protoconv.Text(d.Hostname), Zone: protoconv.Text(d.Zone),
		TargetKind: protoconv.Text(d.Target.Kind), TargetNamespace: protoconv.Text(d.Target.Namespace), TargetName: protoconv.Text(d.Target.Name),
	}
}

func texts(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, protoconv.Text(s))
	}
	return out
}

// addr converts an address; the zero Addr becomes empty.
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

// networks converts the valid networks.
func networks(list []netip.Prefix) []*kpng.Network {
	valid := make([]netip.Prefix, 0, len(list))
	for _, p := range list {
		if p.IsValid() && !p.Addr().Is4In6() {
			valid = append(valid, p.Masked())
		}
	}
	return protoconv.Networks(valid)
}
