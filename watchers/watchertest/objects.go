// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

import (
	"maps"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/watchers"
)

// namespace is the namespace of all objects of the suite.
const namespace = "default"

func service(name, ip string) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Type:       corev1.ServiceTypeClusterIP,
			ClusterIP:  ip,
			ClusterIPs: []string{ip},
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports:      []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
}

func slice(name, service, ip string) *discoveryv1.EndpointSlice {
	port, portName, protocol, yes := int32(8080), "http", corev1.ProtocolTCP, true
	return &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Protocol: &protocol, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses:  []string{ip},
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes},
		}},
	}
}

func node(name, zone string) *corev1.Node {
	return &corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{
			Name:   name,
			Labels: map[string]string{corev1.LabelTopologyZone: zone},
		},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
		},
	}
}

func serviceCIDR(name, network string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "ServiceCIDR"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{network}},
	}
}

// withMetadata returns o with labels and annotations that are not part of its content.
func withMetadata[T metav1.Object](o T) T {
	o.SetAnnotations(map[string]string{
		corev1.EndpointsLastChangeTriggerTime: "2026-01-02T03:04:05Z", // read, but not part of the content
		"example.org/note":                    "written",
	})
	labels := map[string]string{"example.org/team": "blue"}
	maps.Copy(labels, o.GetLabels())
	o.SetLabels(labels)
	return o
}

// withHeartbeat returns n with metadata and status that are not part of its content.
func withHeartbeat(n *corev1.Node) *corev1.Node {
	withMetadata(n)
	n.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue,
		LastHeartbeatTime: metav1.NewTime(time.Unix(1_800_000_000, 0)),
	}}
	n.Status.Images = []corev1.ContainerImage{{Names: []string{"example.org/web:1"}, SizeBytes: 1}}
	return n
}

// A condition reports whether a snapshot has a property.
type condition func(watchers.Snapshot) bool

func not(c condition) condition { return func(s watchers.Snapshot) bool { return !c(s) } }

func all(conditions ...condition) condition {
	return func(s watchers.Snapshot) bool {
		for _, c := range conditions {
			if !c(s) {
				return false
			}
		}
		return true
	}
}

func hasService(name string) condition {
	return func(s watchers.Snapshot) bool { return s.Service(serviceName(name)) != nil }
}

func serves(name, ip string) condition {
	return func(s watchers.Snapshot) bool {
		svc := s.Service(serviceName(name))
		return svc != nil && svc.ClusterIP == netip.MustParseAddr(ip) && len(svc.Ports) == 1 && svc.Ports[0].Port == 80
	}
}

func hasSlice(service, name string) condition {
	return func(s watchers.Snapshot) bool { return find(s, service, name) != nil }
}

func hasEndpoint(service, name, ip string) condition {
	return func(s watchers.Snapshot) bool {
		slice := find(s, service, name)
		return slice != nil && len(slice.Endpoints) == 1 && slice.Endpoints[0].Addr == netip.MustParseAddr(ip) &&
			slice.Endpoints[0].Ready && len(slice.Ports) == 1 && slice.Ports[0].Port == 8080
	}
}

func find(s watchers.Snapshot, service, name string) *watchers.EndpointSlice {
	for slice := range s.EndpointSlices(serviceName(service)) {
		if slice.Name == name {
			return slice
		}
	}
	return nil
}

func nodeExists(name string) condition {
	return func(s watchers.Snapshot) bool { return s.Node(name) != nil }
}

func hasServiceCIDR(name, network string) condition {
	return func(s watchers.Snapshot) bool {
		for c := range s.ServiceCIDRs() {
			if c.Name == name && len(c.Networks) == 1 && c.Networks[0].String() == network {
				return true
			}
		}
		return false
	}
}

func hasNode(name, zone string) condition {
	return func(s watchers.Snapshot) bool {
		n := s.Node(name)
		return n != nil && n.Zone == zone
	}
}

func serviceName(name string) watchers.ServiceName {
	return watchers.ServiceName{Namespace: namespace, Name: name}
}

func newService(name string) *watchers.Service { return &watchers.Service{Name: serviceName(name)} }

func sliceOf(service, name string) *watchers.EndpointSlice {
	return &watchers.EndpointSlice{Namespace: namespace, Name: name, Service: serviceName(service), Family: watchers.FamilyIPv4}
}

func keys(s watchers.Snapshot) (keys []watchers.Key) {
	for k := range s.All() {
		keys = append(keys, k)
	}
	return keys
}
