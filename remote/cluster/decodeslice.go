// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"slices"
	"time"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/remote/internal/protoconv"
	"sigs.k8s.io/kpng/watchers"
)

func (d *decoder) slice(key objectKey, in *kpng.EndpointSliceObject) (*watchers.EndpointSlice, error) {
	if in.GetService() == "" {
		return nil, errors.New("service: required")
	}
	out := &watchers.EndpointSlice{
		Namespace: key.namespace, Name: key.name,
		Service: watchers.ServiceName{Namespace: key.namespace, Name: in.GetService(), Origin: key.origin},
		Family:  family(in.GetFamily()),
	}
	d.problems = protoconv.FromProblems(in.GetProblems())
	if in.TriggerTimeUnixNs != nil {
		out.TriggerTime = time.Unix(0, in.GetTriggerTimeUnixNs())
	}
	if uint32(out.Family) != in.GetFamily() {
		d.unsupported(fmt.Sprintf("family %d", in.GetFamily()), "the slice is ignored", "addressType")
		out.Problems = d.problems
		return out, nil
	}
	for i, p := range in.GetPorts() {
		number, err := protoconv.Port(p.GetPort())
		if err != nil {
			return nil, fmt.Errorf("ports[%d].port: %w", i, err)
		}
		if protocol, known := d.protocol(p.GetProtocol(), i); known {
			out.Ports = append(out.Ports, watchers.EndpointPort{Name: intern(p.GetName()), Protocol: protocol, Port: number})
		}
	}
	var err error
	if out.Endpoints, err = endpoints(in.GetEndpoints(), out.Family); err != nil {
		return nil, err
	}
	extensions := extensionReader()
	if out.Extensions, err = extensions.Read(in.GetExtensions()); err != nil {
		return nil, fmt.Errorf("extensions%w", err)
	}
	if out.Details, err = details(in.GetEndpoints(), extensions); err != nil {
		return nil, err
	}
	out.Problems = d.problems
	return out, nil
}

func endpoints(in []*kpng.EndpointObject, family watchers.IPFamily) ([]watchers.Endpoint, error) {
	if len(in) == 0 {
		return nil, nil
	}
	out := make([]watchers.Endpoint, len(in))
	var last *watchers.Hints // consecutive endpoints often share their hints
	for i, e := range in {
		a, err := protoconv.Addr(e.GetAddress())
		switch {
		case err != nil:
			return nil, fmt.Errorf("endpoints[%d].address: %w", i, err)
		case watchers.FamilyOf(a) != family:
			return nil, fmt.Errorf("endpoints[%d].address: %s is not of family IPv%d of the slice", i, a, family)
		}
		out[i] = watchers.Endpoint{
			Addr: a, Node: intern(e.GetNode()), Ready: e.GetReady(), Serving: e.GetServing(), Terminating: e.GetTerminating(),
		}
		if h := e.GetHints(); h != nil {
			if last == nil || !slices.Equal(last.Zones, h.GetZones()) || !slices.Equal(last.Nodes, h.GetNodes()) {
				last = &watchers.Hints{Zones: interned(h.GetZones()), Nodes: interned(h.GetNodes())}
			}
			out[i].Hints = last
		}
	}
	return out, nil
}

// details parses the details of endpoints; nil if no endpoint has any.
func details(in []*kpng.EndpointObject, extensions *protoconv.ExtensionReader) ([]watchers.EndpointDetails, error) {
	if !slices.ContainsFunc(in, func(e *kpng.EndpointObject) bool { return e.GetDetails() != nil }) {
		return nil, nil
	}
	out := make([]watchers.EndpointDetails, len(in))
	var weight *uint32 // consecutive endpoints often have the same
	for i, e := range in {
		d := e.GetDetails()
		out[i] = watchers.EndpointDetails{
			Hostname: d.GetHostname(), Zone: intern(d.GetZone()),
			Target: watchers.ObjectReference{
				Kind: intern(d.GetTargetKind()), Namespace: intern(d.GetTargetNamespace()), Name: d.GetTargetName(),
			},
		}
		var err error
		if out[i].Extensions, err = extensions.Read(d.GetExtensions()); err != nil {
			return nil, fmt.Errorf("endpoints[%d].details.extensions%w", i, err)
		}
		if d != nil && d.Weight != nil {
			if weight == nil || *weight != d.GetWeight() {
				weight = new(d.GetWeight())
			}
			out[i].Weight = weight
		}
	}
	return out, nil
}
