// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/remote/internal/codec"
	"sigs.k8s.io/kpng/remote/internal/fanout"
	"sigs.k8s.io/kpng/remote/internal/nodestate"
	"sigs.k8s.io/kpng/remote/internal/protoconv"
)

// Field numbers of WatchNodeResponse. Each piece is an encoded field; a message is any
// concatenation of pieces.
const (
	fieldServices       protowire.Number = 2
	fieldOverlays       protowire.Number = 3
	fieldNode           protowire.Number = 4
	fieldRemovedDigests protowire.Number = 5
	fieldTriggerTimes   protowire.Number = 6
	fieldCommit         protowire.Number = 7
)

// fieldService is the number of the field service of ServiceChange.
const fieldService protowire.Number = 4

// encodeService encodes the shared base of a Service. The digest covers its name and
// content, so that it is the same on all servers.
func encodeService(s *overlay.Base) *fanout.Encoding {
	name := localsink.ServiceName{
		Namespace: protoconv.Text(s.Name.Namespace), Name: protoconv.Text(s.Name.Name), Origin: protoconv.Text(s.Name.Origin),
	}
	e := &fanout.Encoding{Value: s}
	content, _ := proto.MarshalOptions{Deterministic: true}.Marshal(toService(s))
	d := xxhash.New()
	for _, part := range []string{name.Namespace, "/", name.Name, "/"} {
		_, _ = d.WriteString(part)
	}
	if name.Origin != "" { // no content starts with a slash
		_, _ = d.WriteString("/" + name.Origin + "/")
	}
	_, _ = d.Write(content)
	e.Digest = max(d.Sum64(), 1)
	change := func(c *kpng.ServiceChange) []byte {
		c.Namespace, c.Name, c.Origin = name.Namespace, name.Name, name.Origin
		return codec.MessageField(fieldServices, c)
	}
	e.Full = withService(&kpng.ServiceChange{Namespace: name.Namespace, Name: name.Name, Origin: name.Origin, Digest: e.Digest}, content)
	e.Removal = change(&kpng.ServiceChange{})
	e.Delta = func(old *fanout.Encoding) []byte {
		oldBase, ok := old.Value.(*overlay.Base)
		if !ok {
			return nil
		}
		delta, ok := overlay.Diff(oldBase, s)
		if !ok {
			return nil
		}
		b := change(&kpng.ServiceChange{Digest: e.Digest, Change: &kpng.ServiceChange_Delta{Delta: toDelta(delta)}})
		if len(b) >= len(e.Full) {
			return nil
		}
		return b
	}
	return e
}

// withService encodes a change with an encoded Service, which is not encoded again for that.
func withService(c *kpng.ServiceChange, service []byte) []byte {
	options := proto.MarshalOptions{Deterministic: true}
	size := options.Size(c) + protowire.SizeTag(fieldService) + protowire.SizeBytes(len(service))
	b := make([]byte, 0, protowire.SizeTag(fieldServices)+protowire.SizeBytes(size))
	b = protowire.AppendTag(b, fieldServices, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b, _ = options.MarshalAppend(b, c) // fails only for invalid UTF-8, which protoconv.Text has replaced
	b = protowire.AppendTag(b, fieldService, protowire.BytesType)
	return protowire.AppendBytes(b, service)
}

func toService(s *overlay.Base) *kpng.Service {
	out := &kpng.Service{
		HealthCheckPort: uint32(s.HealthCheckPort), Problems: protoconv.Problems(s.Problems), Extensions: protoconv.Extensions(s.Extensions),
	}
	for i := range s.Ports {
		out.Ports = append(out.Ports, toPort(&s.Ports[i]))
	}
	return out
}

func toPort(p *overlay.Port) *kpng.Port {
	out := &kpng.Port{
		Name: protoconv.Text(p.Name), Protocol: kpng.Protocol(p.Protocol), AffinityNs: uint64(p.Affinity),
		Endpoints: toEndpoints(p.Endpoints), Selection: protoconv.Selection(p.Selection), RefusedPerMille: uint32(p.RefusedPerMille),
		EndpointExtensions: nodestate.EndpointExtensions(p.EndpointExtensions, false),
	}
	var heads []*overlay.Route // first route of each list; frontends share lists by pointer
	for i := range p.Frontends {
		fe := &p.Frontends[i]
		f := &kpng.Frontend{
			Kind: nodestate.Kind(fe.Kind), Address: fe.Addr.Addr().AsSlice(), Port: uint32(fe.Addr.Port()),
			SourceRanges: nodestate.Networks(fe.SourceRanges), NodeSourceRanges: nodestate.Networks(fe.NodeSourceRanges),
		}
		index := 0
		for index < len(heads) && (len(fe.Routes) == 0 || heads[index] != &fe.Routes[0]) {
			index++
		}
		if index == len(heads) && len(fe.Routes) > 0 {
			heads = append(heads, &fe.Routes[0])
			out.RouteLists = append(out.RouteLists, toRouteList(fe.Routes))
		}
		f.RouteList = uint32(index)
		out.Frontends = append(out.Frontends, f)
	}
	return out
}

func toRouteList(routes []overlay.Route) *kpng.RouteList {
	out := &kpng.RouteList{}
	for i := range routes {
		r := &routes[i]
		route := &kpng.Route{
			From: nodestate.From(r.From), Masquerade: r.Masquerade, EmptyVerdict: nodestate.Verdict(r.EmptyVerdict), Condition: kpng.Condition(r.Condition),
		}
		for _, p := range r.Pools {
			route.Pools = append(route.Pools, uint32(p))
		}
		out.Routes = append(out.Routes, route)
	}
	return out
}

func toEndpoints(all []overlay.Endpoint) []*kpng.Endpoint {
	if len(all) == 0 {
		return nil
	}
	out, values := make([]*kpng.Endpoint, len(all)), make([]kpng.Endpoint, len(all))
	for i := range all {
		out[i] = &values[i]
		setEndpoint(out[i], &all[i])
	}
	return out
}

func setEndpoint(out *kpng.Endpoint, e *overlay.Endpoint) {
	out.Address, out.Port = e.Addr.Addr().AsSlice(), uint32(e.Addr.Port())
	out.Pools, out.NoDrain = uint32(e.Pools), !e.Drain
	if e.Weight != 1 { // the default
		out.Weight = e.Weight
	}
}

func toDelta(d *overlay.Delta) *kpng.ServiceDelta {
	out := &kpng.ServiceDelta{}
	for i := range d.Ports {
		p := &d.Ports[i]
		port := &kpng.PortDelta{
			Port: uint32(p.Port), Set: toEndpoints(p.Set), Extensions: nodestate.EndpointExtensions(p.Extensions, true),
		}
		for _, a := range p.Removed {
			port.Removed = append(port.Removed, &kpng.Endpoint{Address: a.Addr().AsSlice(), Port: uint32(a.Port())})
		}
		out.Ports = append(out.Ports, port)
	}
	return out
}

// encodeOverlay encodes a node overlay; nil encodes its removal.
func encodeOverlay(name localsink.ServiceName, own *overlay.Overlay) []byte {
	out := &kpng.OverlayChange{
		Namespace: protoconv.Text(name.Namespace), Name: protoconv.Text(name.Name), Origin: protoconv.Text(name.Origin),
	}
	if own != nil {
		out.LocalEndpoints = uint32(own.LocalEndpoints)
		for i := range own.Endpoints {
			e := &own.Endpoints[i]
			o := &kpng.OverlayEndpoint{ServicePort: uint32(e.Port), Endpoint: &kpng.Endpoint{}, Local: e.Local}
			setEndpoint(o.GetEndpoint(), &e.Endpoint)
			out.Endpoints = append(out.Endpoints, o)
		}
	}
	return codec.MessageField(fieldOverlays, out)
}
