// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/test/soak/oracle"
)

// churnNamespace has the objects that operations change.
const churnNamespace = "churn"

// Kinds of Services that cannot change into each other.
const (
	kindProxied = iota // with cluster IPs
	kindHeadless
	kindExternalName
)

// A serviceState is what cannot change while a Service exists.
type serviceState struct{ kind, families int }

// Address families of a Service.
const (
	onlyIPv4 = iota
	onlyIPv6
	bothFamilies
)

func serviceName(slot int) string { return fmt.Sprintf("s%02d", slot) }

// putService creates or changes the Service of a slot.
func (g *generator) putService(slot int) (all []operation) {
	state := g.services[slot]
	if state == nil {
		state = &serviceState{kind: choose(g, kindProxied, kindProxied, kindProxied, kindProxied, kindHeadless, kindExternalName), families: choose(g, onlyIPv4, onlyIPv6, bothFamilies, bothFamilies)}
		g.services[slot] = state
	}
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: churnNamespace, Name: serviceName(slot)},
		Spec:       corev1.ServiceSpec{Selector: nil, Ports: g.ports(slot)},
	}
	if g.chance(25) {
		s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
	}
	switch state.kind {
	case kindExternalName:
		s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, fmt.Sprintf("host%d.example.com", g.rng.IntN(3))
	case kindHeadless:
		s.Spec.ClusterIP, s.Spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
		setFamilies(&s.Spec, state.families)
	default:
		s.Spec.ClusterIPs = clusterIPs(slot, state.families)
		s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
		setFamilies(&s.Spec, state.families)
		g.expose(&s.Spec, slot)
	}
	all = append(all, operation{describe("put Service", s), func(ctx context.Context, f *fixture) error { return f.putService(ctx, s) }})
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		all = append(all, g.putIngress(slot))
	}
	return all
}

// ports returns one to three ports of a Service.
func (g *generator) ports(slot int) (ports []corev1.ServicePort) {
	for i := range 1 + g.rng.IntN(3) {
		ports = append(ports, corev1.ServicePort{
			Name: fmt.Sprintf("p%d", i), Port: 80 + int32(10*i) + g.rng.Int32N(3),
			Protocol: g.protocol(slot, i),
		})
	}
	return ports
}

// protocol returns the protocol of a port. That of a Service and its slices is mostly the same.
func (g *generator) protocol(slot, port int) corev1.Protocol {
	all := []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolTCP, corev1.ProtocolSCTP}
	if g.chance(15) {
		return choose(g, all...)
	}
	return all[(slot+port)%len(all)]
}

func setFamilies(s *corev1.ServiceSpec, families int) {
	policy := corev1.IPFamilyPolicySingleStack
	switch families {
	case onlyIPv4:
		s.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	case onlyIPv6:
		s.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
	default:
		policy = corev1.IPFamilyPolicyRequireDualStack
		s.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	}
	s.IPFamilyPolicy = &policy
}

func clusterIPs(slot, families int) []string {
	both := []string{fmt.Sprintf("10.96.1.%d", 1+slot), fmt.Sprintf("fd00:96::1:%x", 1+slot)}
	switch families {
	case onlyIPv4:
		return both[:1]
	case onlyIPv6:
		return both[1:]
	}
	return both
}

// expose sets the type and everything that concerns clients outside of the cluster.
func (g *generator) expose(s *corev1.ServiceSpec, slot int) {
	s.Type = choose(g, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer)
	if g.chance(3) {
		policy := choose(g, corev1.ServiceInternalTrafficPolicyLocal, corev1.ServiceInternalTrafficPolicyCluster)
		s.InternalTrafficPolicy = &policy
	}
	if g.chance(4) {
		s.ExternalIPs = []string{fmt.Sprintf("203.0.113.%d", 1+g.rng.IntN(4)), fmt.Sprintf("2001:db8:113::%d", 1+g.rng.IntN(4))}
	}
	if g.chance(12) { // the cluster IP of another Service
		s.ExternalIPs = clusterIPs(g.rng.IntN(serviceSlots), bothFamilies)
	}
	if g.chance(4) {
		timeout := choose(g, int32(60), int32(10800), int32(1+g.rng.IntN(86400)))
		s.SessionAffinity = corev1.ServiceAffinityClientIP
		s.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &timeout}}
	} else {
		s.SessionAffinity = corev1.ServiceAffinityNone
	}
	if s.Type != corev1.ServiceTypeClusterIP || len(s.ExternalIPs) > 0 {
		s.ExternalTrafficPolicy = choose(g, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	}
	if s.Type == corev1.ServiceTypeClusterIP {
		return
	}
	for i := range s.Ports {
		s.Ports[i].NodePort = int32(30000 + 4*slot + i)
	}
	if s.Type != corev1.ServiceTypeLoadBalancer {
		return
	}
	allocate := !g.chance(4)
	s.AllocateLoadBalancerNodePorts = &allocate
	if !allocate {
		for i := range s.Ports {
			s.Ports[i].NodePort = 0
		}
	}
	if s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		s.HealthCheckNodePort = int32(32000 + slot)
	}
	switch g.rng.IntN(3) {
	case 0:
		s.LoadBalancerSourceRanges = oracle.PermittedRanges()
	case 1:
		s.LoadBalancerSourceRanges = []string{"10.244.0.0/16"}
	}
}

// putIngress sets the addresses of the load balancer.
func (g *generator) putIngress(slot int) operation {
	var ingress []corev1.LoadBalancerIngress
	number := choose(g, 100+slot, 100+slot, 200+g.rng.IntN(3)) // of the last, Services have the same
	for _, ip := range []string{fmt.Sprintf("203.0.113.%d", number), fmt.Sprintf("2001:db8:113::%x", number)} {
		mode := choose(g, corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeProxy)
		if !g.chance(5) {
			ingress = append(ingress, corev1.LoadBalancerIngress{IP: ip, IPMode: &mode})
		}
	}
	name := serviceName(slot)
	return operation{describe("put load balancer of "+name, ingress), func(ctx context.Context, f *fixture) error {
		services := f.client.CoreV1().Services(churnNamespace)
		s, err := services.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		s.Status.LoadBalancer.Ingress = ingress
		_, err = services.UpdateStatus(ctx, s, metav1.UpdateOptions{})
		return err
	}}
}

func (g *generator) deleteService(slot int) []operation {
	g.services[slot] = nil
	name := serviceName(slot)
	return []operation{{"delete Service " + name, func(ctx context.Context, f *fixture) error {
		return ignoreNotFound(f.client.CoreV1().Services(churnNamespace).Delete(ctx, name, metav1.DeleteOptions{}))
	}}}
}

// putService creates or changes a Service.
func (f *fixture) putService(ctx context.Context, s *corev1.Service) error {
	services := f.client.CoreV1().Services(s.Namespace)
	old, err := services.Get(ctx, s.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = services.Create(ctx, s, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	changed := s.DeepCopy()
	changed.ResourceVersion = old.ResourceVersion
	_, err = services.Update(ctx, changed, metav1.UpdateOptions{})
	return err
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
