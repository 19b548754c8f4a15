// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fidelity

import (
	"fmt"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// randomObjects returns Services with their EndpointSlices, as an API server stores them.
func randomObjects(r *rand.Rand) (svcs []*corev1.Service, slices []*discoveryv1.EndpointSlice) {
	for i := range 1 + r.IntN(3) {
		svc := randomService(r, i)
		svcs = append(svcs, svc)
		for j := range r.IntN(4) {
			slices = append(slices, randomSlice(r, svc, j))
		}
	}
	return svcs, slices
}

func randomService(r *rand.Rand, i int) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("svc-%d", i)}}
	spec := &svc.Spec
	v4, v6 := fmt.Sprintf("10.96.0.%d", i+1), fmt.Sprintf("fd00::%d", i+1)
	switch r.IntN(4) {
	case 0:
		spec.ClusterIPs, spec.IPFamilies = []string{v4}, []corev1.IPFamily{corev1.IPv4Protocol}
	case 1:
		spec.ClusterIPs, spec.IPFamilies = []string{v6}, []corev1.IPFamily{corev1.IPv6Protocol}
	case 2:
		spec.ClusterIPs, spec.IPFamilies = []string{v6, v4}, []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
	case 3:
		spec.ClusterIPs, spec.IPFamilies = []string{v4, v6}, []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	}
	spec.ClusterIP = spec.ClusterIPs[0]
	spec.Type = oneOf(r, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer)
	spec.ExternalIPs = someOf(r, "192.0.2.1", "2001:db8::1", "192.0.2.2")
	internal := oneOf(r, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)
	spec.InternalTrafficPolicy = &internal
	if spec.Type != corev1.ServiceTypeClusterIP || len(spec.ExternalIPs) > 0 {
		spec.ExternalTrafficPolicy = oneOf(r, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	}
	spec.SessionAffinity = corev1.ServiceAffinityNone
	if r.IntN(2) == 0 {
		seconds := int32(1 + r.IntN(86400))
		spec.SessionAffinity = corev1.ServiceAffinityClientIP
		spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
	for j, protocol := range someOf(r, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP) {
		port := corev1.ServicePort{Name: fmt.Sprintf("p%d", j), Protocol: protocol, Port: int32(80 + j)}
		if spec.Type != corev1.ServiceTypeClusterIP {
			port.NodePort = int32(30000 + 10*i + j)
		}
		spec.Ports = append(spec.Ports, port)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		spec.LoadBalancerSourceRanges = someOf(r, "198.51.100.0/24", " 203.0.113.0/24 ", "2001:db8::/32", "0.0.0.0/0", "::/0")
		if spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
			spec.HealthCheckNodePort = int32(32000 + i)
		}
		for _, ip := range someOf(r, "203.0.113.1", "2001:db8::2", "203.0.113.2") {
			mode := oneOf(r, corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeProxy)
			svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip, IPMode: &mode})
		}
	}
	return svc
}

// randomSlice returns a slice. Addresses differ between slices, except for one pod that is
// terminating in each slice but the first.
func randomSlice(r *rand.Rand, svc *corev1.Service, j int) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: svc.Namespace, Name: fmt.Sprintf("%s-%d", svc.Name, j), Labels: map[string]string{discoveryv1.LabelServiceName: svc.Name},
		},
		AddressType: oneOf(r, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6),
	}
	for i := range svc.Spec.Ports {
		port, number := &svc.Spec.Ports[i], int32(8080+i)
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &port.Name, Protocol: &port.Protocol, Port: &number})
	}
	format := "10.244.%d.%d"
	if slice.AddressType == discoveryv1.AddressTypeIPv6 {
		format = "fd01::%d:%d"
	}
	add := func(address string, ready, terminating bool) {
		node := oneOf(r, "node-1", "node-2")
		ep := discoveryv1.Endpoint{Addresses: []string{address}, NodeName: &node}
		serving := ready || r.IntN(2) == 0
		ep.Conditions = discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
		zones, nodes := someOf(r, "a", "b"), someOf(r, "node-1")
		if len(zones)+len(nodes) > 0 {
			ep.Hints = &discoveryv1.EndpointHints{}
			for _, zone := range zones {
				ep.Hints.ForZones = append(ep.Hints.ForZones, discoveryv1.ForZone{Name: zone})
			}
			for _, node := range nodes {
				ep.Hints.ForNodes = append(ep.Hints.ForNodes, discoveryv1.ForNode{Name: node})
			}
		}
		slice.Endpoints = append(slice.Endpoints, ep)
	}
	for i := range r.IntN(4) {
		terminating := r.IntN(3) == 0
		add(fmt.Sprintf(format, j+1, i+1), !terminating && r.IntN(4) > 0, terminating)
	}
	if j < 2 {
		add(fmt.Sprintf(format, 9, 9), j == 0, j > 0)
	}
	return slice
}

func oneOf[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// someOf returns some of the list, in its order.
func someOf[T any](r *rand.Rand, list ...T) (some []T) {
	for _, v := range list {
		if r.IntN(2) == 0 {
			some = append(some, v)
		}
	}
	return some
}
