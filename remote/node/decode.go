// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/remote/internal/protoconv"
	"sigs.k8s.io/kpng/watchers"
)

// fromService parses the shared base of a Service. Enum values that this client does not
// support, sent by a newer server, are left out and become problems of the Service. Values
// that are invalid in every version are errors.
func fromService(name localsink.ServiceName, in *kpng.Service) (*overlay.Base, error) {
	out := &overlay.Base{Name: name}
	port, err := protoconv.Port(in.GetHealthCheckPort())
	if err != nil {
		return nil, fmt.Errorf("health_check_port: %w", err)
	}
	out.HealthCheckPort = port
	out.Problems = protoconv.FromProblems(in.GetProblems())
	extensions := extensionReader()
	if out.Extensions, err = extensions.Read(in.GetExtensions()); err != nil {
		return nil, fmt.Errorf("extensions%w", err)
	}
	if n := len(in.GetPorts()); n > 0 {
		out.Ports = make([]overlay.Port, 0, n)
	}
	for i, p := range in.GetPorts() {
		port, unsupported, err := fromPort(p, extensions)
		if err != nil {
			return nil, fmt.Errorf("ports[%d].%w", i, err)
		}
		for _, u := range unsupported {
			out.Problems = append(out.Problems, localsink.Problem{
				Object: name.Object(), Field: fmt.Sprintf("ports[%d]", i),
				Message: u + ": not supported by this version of the client; ignored",
			})
		}
		if selection, known := protoconv.FromSelection(p.GetSelection()); known {
			port.Selection = selection
		} else {
			out.Problems = append(out.Problems, localsink.Problem{
				Object: name.Object(), Field: fmt.Sprintf("ports[%d].selection", i),
				Message: fmt.Sprintf("selection %d: not supported by this version of the client; handled as Random", p.GetSelection()),
			})
		}
		// Deltas and overlays refer to ports by index, so a port without frontends stays.
		out.Ports = append(out.Ports, port)
	}
	return out, nil
}

// fromName returns the name of the Service that a message is about.
func fromName(in interface {
	GetNamespace() string
	GetName() string
	GetOrigin() string
}) (name localsink.ServiceName, err error) {
	name = localsink.ServiceName{Namespace: in.GetNamespace(), Name: in.GetName(), Origin: in.GetOrigin()}
	switch {
	case !localsink.ValidName(name.Namespace):
		return name, fmt.Errorf("namespace: %q is not the name of an object", name.Namespace)
	case !localsink.ValidName(name.Name):
		return name, fmt.Errorf("name: %q is not the name of an object", name.Name)
	case !localsink.ValidOrigin(name.Origin):
		return name, fmt.Errorf("%s: origin: %q is too long, or has control characters, slashes or colons", name.Object(), name.Origin)
	}
	return name, nil
}

// fromPort parses a port. unsupported describes the parts that are left out.
func fromPort(in *kpng.Port, extensions *protoconv.ExtensionReader) (out overlay.Port, unsupported []string, err error) {
	out = overlay.Port{Name: in.GetName(), Affinity: time.Duration(min(in.GetAffinityNs(), math.MaxInt64))}
	if out.Name != "" && !localsink.ValidName(out.Name) {
		return out, nil, fmt.Errorf("name: %q is not the name of a port", out.Name)
	}
	if out.Endpoints, err = fromEndpoints(in.GetEndpoints()); err != nil {
		return out, nil, fmt.Errorf("endpoints: %w", err)
	}
	if out.RefusedPerMille, err = protoconv.PerMille(in.GetRefusedPerMille()); err != nil {
		return out, nil, fmt.Errorf("refused_per_mille: %w", err)
	}
	if out.EndpointExtensions, err = extensions.ReadEndpoints(in.GetEndpointExtensions(), false); err != nil {
		return out, nil, fmt.Errorf("endpoint_extensions%w", err)
	}
	switch in.GetProtocol() {
	case kpng.Protocol_PROTOCOL_TCP, kpng.Protocol_PROTOCOL_UDP, kpng.Protocol_PROTOCOL_SCTP:
		out.Protocol = localsink.Protocol(in.GetProtocol())
	default:
		return out, []string{fmt.Sprintf("protocol %d", in.GetProtocol())}, nil
	}
	lists := make([][]overlay.Route, 0, len(in.GetRouteLists()))
	unsupportedRoutes := make([]string, len(in.GetRouteLists()))
	for i, l := range in.GetRouteLists() {
		routes, u, err := fromRouteList(l)
		if err != nil {
			return out, nil, fmt.Errorf("route_lists[%d].%w", i, err)
		}
		lists, unsupportedRoutes[i] = append(lists, routes), u
	}
	if n := len(in.GetFrontends()); n > 0 {
		out.Frontends = make([]overlay.Frontend, 0, n)
	}
	for i, f := range in.GetFrontends() {
		fe, u, err := fromFrontend(f)
		if err != nil {
			return out, nil, fmt.Errorf("frontends[%d].%w", i, err)
		}
		index := int(f.GetRouteList())
		if index >= len(lists) {
			return out, nil, fmt.Errorf("frontends[%d].route_list: %d is out of range [0,%d)", i, index, len(lists))
		}
		if u == "" {
			u = unsupportedRoutes[index]
		}
		if u != "" {
			unsupported = append(unsupported, u)
			continue
		}
		fe.Routes = lists[index]
		out.Frontends = append(out.Frontends, fe)
	}
	return out, unsupported, nil
}

// fromFrontend parses a frontend. unsupported is not empty if it must be left out.
func fromFrontend(in *kpng.Frontend) (out overlay.Frontend, unsupported string, err error) {
	if out.Addr, err = protoconv.AddrPort(in.GetAddress(), in.GetPort()); err != nil {
		return out, "", err
	}
	if out.SourceRanges, err = fromNetworks(in.GetSourceRanges()); err != nil {
		return out, "", fmt.Errorf("source_ranges: %w", err)
	}
	if out.NodeSourceRanges, err = fromNetworks(in.GetNodeSourceRanges()); err != nil {
		return out, "", fmt.Errorf("node_source_ranges: %w", err)
	}
	switch in.GetKind() {
	case kpng.FrontendKind_FRONTEND_KIND_CLUSTER_IP:
		out.Kind = localsink.KindClusterIP
	case kpng.FrontendKind_FRONTEND_KIND_NODE_PORT:
		out.Kind = localsink.KindNodePort
	case kpng.FrontendKind_FRONTEND_KIND_EXTERNAL_IP:
		out.Kind = localsink.KindExternalIP
	case kpng.FrontendKind_FRONTEND_KIND_LOAD_BALANCER:
		out.Kind = localsink.KindLoadBalancer
	default:
		return out, fmt.Sprintf("frontend kind %d", in.GetKind()), nil
	}
	return out, "", nil
}

// fromRouteList parses a list of routes. One unsupported route makes the whole list
// unusable, because it may take precedence over the others.
func fromRouteList(in *kpng.RouteList) (out []overlay.Route, unsupported string, err error) {
	out = make([]overlay.Route, 0, len(in.GetRoutes()))
	for i, r := range in.GetRoutes() {
		route := overlay.Route{Masquerade: r.GetMasquerade()}
		switch r.GetFrom() {
		case kpng.From_FROM_UNSPECIFIED:
		case kpng.From_FROM_LOCAL_PODS:
			route.From = localsink.FromLocalPods
		case kpng.From_FROM_THIS_NODE:
			route.From = localsink.FromThisNode
		default:
			unsupported = fmt.Sprintf("route from %d", r.GetFrom())
		}
		switch r.GetEmptyVerdict() {
		case kpng.Verdict_VERDICT_UNSPECIFIED:
		case kpng.Verdict_VERDICT_DROP:
			route.EmptyVerdict = localsink.VerdictDrop
		case kpng.Verdict_VERDICT_PASS:
			route.EmptyVerdict = localsink.VerdictPass
		default:
			unsupported = fmt.Sprintf("verdict %d", r.GetEmptyVerdict())
		}
		switch r.GetCondition() {
		case kpng.Condition_CONDITION_UNSPECIFIED, kpng.Condition_CONDITION_PODS_KNOWN, kpng.Condition_CONDITION_PODS_UNKNOWN:
			route.Condition = overlay.Condition(r.GetCondition())
		default:
			unsupported = fmt.Sprintf("route condition %d", r.GetCondition())
		}
		if len(r.GetPools()) == 0 {
			return nil, "", fmt.Errorf("routes[%d].pools: required", i)
		}
		route.Pools = make([]overlay.Pool, 0, len(r.GetPools()))
		for _, p := range r.GetPools() {
			if p > uint32(overlay.MaxPool) {
				return nil, "", fmt.Errorf("routes[%d].pools: %d is out of range 0-%d", i, p, overlay.MaxPool)
			}
			route.Pools = append(route.Pools, overlay.Pool(p))
		}
		out = append(out, route)
	}
	if unsupported == "" && !(endsWithAnyone(out, overlay.ConditionPodsKnown) && endsWithAnyone(out, overlay.ConditionPodsUnknown)) {
		return out, "", errors.New("routes: the last route of a node must have from FROM_UNSPECIFIED")
	}
	return out, unsupported, nil
}

// endsWithAnyone reports whether the last route on nodes that meet a condition applies to
// all clients. Backends rely on it.
func endsWithAnyone(routes []overlay.Route, node overlay.Condition) bool {
	for _, route := range slices.Backward(routes) {
		if route.Condition == overlay.ConditionAlways || route.Condition == node {
			return route.From == localsink.FromAny
		}
	}
	return false
}

func fromEndpoints(in []*kpng.Endpoint) ([]overlay.Endpoint, error) {
	if len(in) == 0 {
		return nil, nil
	}
	out := make([]overlay.Endpoint, len(in))
	for i, e := range in {
		if err := fromEndpoint(&out[i], e); err != nil {
			return nil, err
		}
		if i > 0 && out[i-1].Addr.Compare(out[i].Addr) >= 0 {
			return nil, fmt.Errorf("%s is out of order", out[i].Addr)
		}
	}
	return out, nil
}

func fromEndpoint(out *overlay.Endpoint, in *kpng.Endpoint) (err error) {
	out.Addr, err = protoconv.AddrPort(in.GetAddress(), in.GetPort())
	out.Pools, out.Drain = overlay.PoolSet(in.GetPools()), !in.GetNoDrain()
	if w := in.GetWeight(); w != 1 { // the default
		out.Weight = w
	}
	return err
}

func fromDelta(in *kpng.ServiceDelta) (*overlay.Delta, error) {
	out, extensions := &overlay.Delta{}, extensionReader()
	for i, p := range in.GetPorts() {
		set, err := fromEndpoints(p.GetSet())
		if err != nil {
			return nil, fmt.Errorf("ports[%d].set: %w", i, err)
		}
		removed, err := fromEndpoints(p.GetRemoved())
		if err != nil {
			return nil, fmt.Errorf("ports[%d].removed: %w", i, err)
		}
		delta := overlay.PortDelta{Port: int(p.GetPort()), Set: set}
		for _, e := range removed {
			delta.Removed = append(delta.Removed, e.Addr)
		}
		if delta.Extensions, err = extensions.ReadEndpoints(p.GetExtensions(), true); err != nil {
			return nil, fmt.Errorf("ports[%d].extensions%w", i, err)
		}
		out.Ports = append(out.Ports, delta)
	}
	return out, nil
}

func fromOverlay(in *kpng.OverlayChange) (*overlay.Overlay, error) {
	out := &overlay.Overlay{LocalEndpoints: int(in.GetLocalEndpoints())}
	for i, e := range in.GetEndpoints() {
		own := overlay.NodeEndpoint{Port: int(e.GetServicePort()), Local: e.GetLocal()}
		if err := fromEndpoint(&own.Endpoint, e.GetEndpoint()); err != nil {
			return nil, fmt.Errorf("endpoints[%d].%w", i, err)
		}
		if n := len(out.Endpoints); n > 0 && (own.Port < out.Endpoints[n-1].Port ||
			own.Port == out.Endpoints[n-1].Port && own.Addr.Compare(out.Endpoints[n-1].Addr) <= 0) {
			return nil, fmt.Errorf("endpoints[%d]: %s is out of order", i, own.Addr)
		}
		out.Endpoints = append(out.Endpoints, own)
	}
	if out.Equal(nil) {
		return nil, nil
	}
	return out, nil
}

func fromNode(in *kpng.Node) (*localsink.Node, error) {
	out := &localsink.Node{Name: in.GetName(), Deleting: in.GetDeleting()}
	for _, list := range []struct {
		name string
		from [][]byte
		to   *[]netip.Addr
	}{
		{"ips", in.GetIps(), &out.IPs},
		{"loopback_node_ports", in.GetLoopbackNodePorts(), &out.LoopbackNodePorts},
	} {
		for i, b := range list.from {
			a, err := protoconv.Addr(b)
			if err != nil {
				return nil, fmt.Errorf("%s[%d]: %w", list.name, i, err)
			}
			*list.to = append(*list.to, a)
		}
	}
	pods := in.GetLocalPods()
	out.LocalPods.Interface, out.LocalPods.InterfacePrefix = pods.GetInterface(), pods.GetInterfacePrefix()
	for _, list := range []struct {
		name string
		from []*kpng.Network
		to   *[]netip.Prefix
	}{
		{"local_pods.networks", pods.GetNetworks(), &out.LocalPods.Networks},
		{"node_port_addresses", in.GetNodePortAddresses(), &out.NodePortAddresses},
		{"service_networks", in.GetServiceNetworks(), &out.ServiceNetworks},
		{"no_masquerade", in.GetNoMasquerade(), &out.NoMasquerade},
	} {
		var err error
		if *list.to, err = protoconv.Prefixes(list.from); err != nil {
			return nil, fmt.Errorf("%s%w", list.name, err)
		}
	}
	extensions := &protoconv.ExtensionReader{Max: localsink.MaxExtensionsSize}
	var err error
	if out.Extensions, err = extensions.Read(in.GetExtensions()); err != nil {
		return nil, fmt.Errorf("extensions%w", err)
	}
	return out, nil
}

// fromKnownNode returns the part of known_node that can replace the Node
// object; nil without one.
func fromKnownNode(in *kpng.Node) (*watchers.Node, error) {
	if in == nil {
		return nil, nil
	}
	node, err := fromNode(in)
	if err != nil {
		return nil, err
	}
	return &watchers.Node{
		Name: node.Name, IPs: node.IPs, PodCIDRs: node.LocalPods.Networks, Zone: in.GetZone(), Extensions: node.Extensions,
	}, nil
}

// extensionReader returns a reader for the extensions of one Service.
func extensionReader() *protoconv.ExtensionReader {
	return &protoconv.ExtensionReader{Max: overlay.MaxExtensionsSize}
}

func fromNetworks(in *kpng.Networks) ([]netip.Prefix, error) {
	if in == nil {
		return nil, nil
	}
	list, err := protoconv.Prefixes(in.GetNetworks())
	if err != nil {
		return nil, fmt.Errorf("networks%w", err)
	}
	if list == nil {
		list = []netip.Prefix{}
	}
	return list, nil
}

// fromFeatures parses a list of features and ignores unknown ones.
func fromFeatures(in []kpng.Feature) (f localsink.Features) {
	for i := range features() {
		if slices.Contains(in, features()[i]) {
			f |= 1 << i
		}
	}
	return f
}

func toFeatures(f localsink.Features) (out []kpng.Feature) {
	for i, name := range features() {
		if f&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// features returns all features in the order of the bits of localsink.Features.
func features() []kpng.Feature {
	return []kpng.Feature{
		kpng.Feature_FEATURE_IPV4, kpng.Feature_FEATURE_IPV6, kpng.Feature_FEATURE_TCP, kpng.Feature_FEATURE_UDP,
		kpng.Feature_FEATURE_SCTP, kpng.Feature_FEATURE_AFFINITY, kpng.Feature_FEATURE_SOURCE_RANGES, kpng.Feature_FEATURE_CLUSTER_IP,
		kpng.Feature_FEATURE_NODE_PORT, kpng.Feature_FEATURE_EXTERNAL_IP, kpng.Feature_FEATURE_LOAD_BALANCER,
		kpng.Feature_FEATURE_WEIGHTS, kpng.Feature_FEATURE_SELECTION_CLIENT, kpng.Feature_FEATURE_SELECTION_FLOW,
		kpng.Feature_FEATURE_SELECTION_LEAST_CONNECTIONS, kpng.Feature_FEATURE_PASS, kpng.Feature_FEATURE_REFUSED_SHARE,
		kpng.Feature_FEATURE_NO_MASQUERADE,
	}
}
