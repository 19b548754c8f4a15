// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"

// A hostileCase is a list of messages that replace the second message of a stream.
type hostileCase struct {
	name  string
	sends []any
	error string // in the log of the client
	keeps bool   // the client resumes with the state that it holds
}

// original, in a list of messages, stands for the message of the server.
type original struct{}

func serviceMessage(in *kpng.Service) *response {
	return &response{Services: []*kpng.ServiceChange{{Namespace: "ns", Name: "svc-1", Digest: 1, Change: &kpng.ServiceChange_Service{Service: in}}}}
}

func portMessage(in *kpng.Port) *response {
	return serviceMessage(&kpng.Service{Ports: []*kpng.Port{{}, in}})
}

func routesMessage(in ...*kpng.Route) *response {
	return portMessage(&kpng.Port{Protocol: 6, RouteLists: []*kpng.RouteList{{Routes: in}}})
}

func deltaMessage(name string, in *kpng.PortDelta) *response {
	return &response{Services: []*kpng.ServiceChange{{Namespace: "ns", Name: name, Digest: 1, Change: &kpng.ServiceChange_Delta{Delta: &kpng.ServiceDelta{Ports: []*kpng.PortDelta{in}}}}}}
}

func overlayMessage(in ...*kpng.OverlayEndpoint) *response {
	return &response{Overlays: []*kpng.OverlayChange{{Namespace: "ns", Name: "svc-1", Endpoints: in}}}
}

func commitMessage(revision uint64) *response {
	return &response{Commit: &kpng.Commit{Revision: revision}}
}

func endpoint(ip byte, port uint32) *kpng.Endpoint {
	return &kpng.Endpoint{Address: []byte{10, 0, 0, ip}, Port: port}
}

// hostileStreams have invalid encodings, sizes, revisions and digests.
func hostileStreams() []hostileCase {
	return []hostileCase{
		{"invalid protobuf", []any{rawMessage("\xff\xff\xff\xff\xff")}, "unmarshal", true},
		{"invalid UTF-8", []any{rawMessage("\x12\x04\x0a\x02\xff\xfe")}, "UTF-8", true},
		{"a message that is too large", []any{rawMessage(make([]byte, 5<<20))}, "larger than max", true},
		{"commit 0", []any{commitMessage(0)}, "commit: revision 0 is not greater than 0", false},
		{"decreasing revisions", []any{original{}, commitMessage(1000), commitMessage(999)}, "commit: revision 999 is not greater than 1000", false},
		{"a repeated revision", []any{original{}, commitMessage(1000), commitMessage(1000)}, "commit: revision 1000 is not greater than 1000", false},
		{"more removed digests than Services", []any{&response{RemovedDigests: []uint64{1, 2, 3}}, &response{RemovedDigests: []uint64{1, 2, 3}}}, "removed_digests: 6 digests for 5 held Services", false},
	}
}

func hostileDeltas() []hostileCase {
	return []hostileCase{
		{"a delta for an unknown Service", []any{deltaMessage("svc-none", &kpng.PortDelta{})}, "delta for unknown Service ns/svc-none", false},
		{"a delta for an unknown port", []any{deltaMessage("svc-1", &kpng.PortDelta{Port: 9})}, "Service ns/svc-1 has no port 9", false},
		{"a delta for port 4294967295", []any{deltaMessage("svc-1", &kpng.PortDelta{Port: 1<<32 - 1})}, "Service ns/svc-1 has no port", false},
		{"removal of an unknown endpoint", []any{deltaMessage("svc-1", &kpng.PortDelta{Removed: []*kpng.Endpoint{endpoint(99, 1)}})}, "Service ns/svc-1, port 0: no endpoint 10.0.0.99:1 to remove", false},
		{"a delta with unordered endpoints", []any{deltaMessage("svc-1", &kpng.PortDelta{Set: []*kpng.Endpoint{endpoint(2, 1), endpoint(1, 1)}})}, "Service ns/svc-1: delta: ports[0].set: 10.0.0.1:1 is out of order", false},
	}
}

func hostileNames() []hostileCase {
	change := func(namespace, name, origin string) []any {
		return []any{&response{Services: []*kpng.ServiceChange{{Namespace: namespace, Name: name, Origin: origin}}}}
	}
	return []hostileCase{
		{"a name with a slash", change("ns", "a/b", ""), `name: \"a/b\" is not the name of an object`, false},
		{"a namespace with a line break", change("a\nb", "svc-1", ""), `namespace: \"a\\nb\" is not the name of an object`, false},
		{"no namespace", change("", "svc-1", ""), `namespace: \"\" is not the name of an object`, false},
		{"an origin with a colon", change("ns", "svc-1", "a:b"), `ns/svc-1: origin: \"a:b\"`, false},
		{"an overlay without a name", []any{&response{Overlays: []*kpng.OverlayChange{{Namespace: "ns"}}}}, `overlay: name: \"\" is not the name of an object`, false},
	}
}

func hostileEndpoints() []hostileCase {
	return []hostileCase{
		{"an address of three bytes", []any{portMessage(&kpng.Port{Endpoints: []*kpng.Endpoint{{Address: []byte{1, 2, 3}}}})}, "Service ns/svc-1: ports[1].endpoints: address", false},
		{"an endpoint without fields", []any{portMessage(&kpng.Port{Endpoints: []*kpng.Endpoint{nil}})}, "Service ns/svc-1: ports[1].endpoints: address", false},
		{"port 65536", []any{portMessage(&kpng.Port{Endpoints: []*kpng.Endpoint{endpoint(1, 65536)}})}, "Service ns/svc-1: ports[1].endpoints: port", false},
		{"a duplicate endpoint", []any{portMessage(&kpng.Port{Endpoints: []*kpng.Endpoint{endpoint(1, 1), endpoint(1, 1)}})}, "ports[1].endpoints: 10.0.0.1:1 is out of order", false},
		{"a port name with a line break", []any{portMessage(&kpng.Port{Name: "a\nb"})}, `Service ns/svc-1: ports[1].name: \"a\\nb\" is not the name of a port`, false},
		{"a health check on port 65536", []any{serviceMessage(&kpng.Service{HealthCheckPort: 65536})}, "Service ns/svc-1: health_check_port", false},
	}
}

func hostileFrontends() []hostileCase {
	v4 := []byte{10, 0, 0, 1}
	last := &kpng.Route{Pools: []uint32{1}}
	return []hostileCase{
		{"an unknown route list", []any{portMessage(&kpng.Port{Protocol: 6, Frontends: []*kpng.Frontend{{Kind: 1, Address: v4, RouteList: 3}}})}, "ports[1].frontends[0].route_list: 3 is out of range [0,0)", false},
		{"no routes", []any{routesMessage()}, "ports[1].route_lists[0].routes: the last route of a node must have from FROM_UNSPECIFIED", false},
		{"a last route that is not for all clients", []any{routesMessage(&kpng.Route{From: 1, Pools: []uint32{1}})}, "the last route of a node must have from FROM_UNSPECIFIED", false},
		{"no route on some nodes", []any{routesMessage(&kpng.Route{Condition: 1, Pools: []uint32{1}})}, "the last route of a node must have from FROM_UNSPECIFIED", false},
		{"a last route that is not for all clients of some nodes", []any{routesMessage(last, &kpng.Route{From: 1, Condition: 2, Pools: []uint32{1}})}, "the last route of a node must have from FROM_UNSPECIFIED", false},
		{"a route without pools", []any{routesMessage(&kpng.Route{})}, "route_lists[0].routes[0].pools: required", false},
		{"a pool out of range", []any{routesMessage(&kpng.Route{Pools: []uint32{8}})}, "routes[0].pools: 8 is out of range 0-7", false},
		{"a network of 33 bits", []any{portMessage(&kpng.Port{Protocol: 6, RouteLists: []*kpng.RouteList{{Routes: []*kpng.Route{last}}}, Frontends: []*kpng.Frontend{
			{Kind: 1, Address: v4, SourceRanges: &kpng.Networks{Networks: []*kpng.Network{{Address: v4, Length: 33}}}}}})}, "frontends[0].source_ranges: networks[0]", false},
	}
}

// hostileNodes have invalid overlays and nodes.
func hostileNodes() []hostileCase {
	return []hostileCase{
		{"unordered overlay endpoints", []any{overlayMessage(&kpng.OverlayEndpoint{ServicePort: 1, Endpoint: endpoint(1, 1)}, &kpng.OverlayEndpoint{Endpoint: endpoint(1, 1)})}, "overlay of Service ns/svc-1: endpoints[1]: 10.0.0.1:1 is out of order", false},
		{"an overlay endpoint without fields", []any{overlayMessage(&kpng.OverlayEndpoint{})}, "overlay of Service ns/svc-1: endpoints[0].address", false},
		{"a node with an invalid address", []any{&response{Node: &kpng.Node{Ips: [][]byte{{1}}}}}, "node: ips[0]", false},
		{"a node with an invalid loopback address", []any{&response{Node: &kpng.Node{LoopbackNodePorts: [][]byte{{127, 0, 0, 1}, {1}}}}}, "node: loopback_node_ports[1]", false},
		{"a node with an invalid network", []any{&response{Node: &kpng.Node{ServiceNetworks: []*kpng.Network{{}}}}}, "node: service_networks[0]", false},
	}
}
