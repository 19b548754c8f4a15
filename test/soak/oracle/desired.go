// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// labelProxyName selects another proxy for a Service.
const labelProxyName = "service.kubernetes.io/service-proxy-name"

// Desired returns what a proxy must do on a node.
func (c *Cluster) Desired(node *Node) *Model {
	m := newModel(node, c.ServiceNetworks)
	zone := ""
	for i := range c.Nodes {
		if c.Nodes[i].Name == node.Name {
			zone = c.Nodes[i].Labels[corev1.LabelTopologyZone]
			m.nodePortAddrs = primaryAddrs(&c.Nodes[i])
		}
	}
	served := filterServices(c.Services)
	// The Service whose cluster IP it is, then the older one, then that with the smaller name owns
	// an address and port.
	slices.SortFunc(served, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	for _, onlyClusterIPs := range []bool{true, false} {
		for _, s := range served {
			for i := range s.Spec.Ports {
				r := resolution{Model: m, cluster: c, service: s, port: &s.Spec.Ports[i], zone: zone}
				r.add(onlyClusterIPs)
			}
		}
	}
	return m
}

// primaryAddrs returns the first internal address of each family.
func primaryAddrs(node *corev1.Node) (addrs []netip.Addr) {
	seen := map[bool]bool{}
	for _, a := range node.Status.Addresses {
		addr, err := netip.ParseAddr(a.Address)
		if err == nil && a.Type == corev1.NodeInternalIP && !seen[addr.Is4()] {
			seen[addr.Is4()] = true
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// filterServices returns the Services that have cluster IPs and are for this proxy.
func filterServices(all []corev1.Service) (served []*corev1.Service) {
	for i := range all {
		s := &all[i]
		_, other := s.Labels[labelProxyName]
		if !other && s.Spec.Type != corev1.ServiceTypeExternalName && s.Spec.ClusterIP != corev1.ClusterIPNone && s.Spec.ClusterIP != "" {
			served = append(served, s)
		}
	}
	return served
}

// A resolution adds one port of a Service to a model.
type resolution struct {
	*Model
	cluster *Cluster
	service *corev1.Service
	port    *corev1.ServicePort
	zone    string
}

// add adds the frontends of the cluster IPs, or all others.
func (r *resolution) add(onlyClusterIPs bool) {
	for _, text := range r.service.Spec.ClusterIPs {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		endpoints := r.cluster.endpointsOf(r.service, r.port, addr.Is4())
		if onlyClusterIPs {
			r.clusterIPs[addr] = true
			r.claim(portOf(addr, r.port.Port, r.port), r.internal(endpoints))
			continue
		}
		external := r.external(endpoints)
		if r.port.NodePort != 0 && r.service.Spec.Type != corev1.ServiceTypeClusterIP {
			unspecified := netip.IPv4Unspecified()
			if addr.Is6() {
				unspecified = netip.IPv6Unspecified()
			}
			r.claim(portOf(unspecified, r.port.NodePort, r.port), external)
		}
		for _, e := range ofFamily(r.service.Spec.ExternalIPs, addr.Is4()) {
			r.claim(portOf(e, r.port.Port, r.port), external)
		}
		balanced := *external
		balanced.ranges = rangesOf(r.service, addr.Is4())
		for _, e := range ofFamily(ingressOf(r.service), addr.Is4()) {
			r.claim(portOf(e, r.port.Port, r.port), &balanced)
		}
	}
}

// claim adds a frontend unless another Service has the destination.
func (r *resolution) claim(d destination, f *frontend) {
	if r.frontends[d] != nil {
		return
	}
	r.frontends[d] = f
	for _, t := range []target{f.pod, f.node, f.other} {
		for _, addr := range t.local {
			r.local[addr] = true
		}
	}
}

// internal returns the frontend of a cluster IP.
func (r *resolution) internal(endpoints []endpoint) *frontend {
	t := r.anywhere(endpoints)
	if deref(r.service.Spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster) == corev1.ServiceInternalTrafficPolicyLocal {
		t = r.onThisNode(endpoints)
	}
	masqueraded := t
	masqueraded.masquerade = true
	return &frontend{pod: t, node: masqueraded, other: masqueraded}
}

// external returns the frontend of a node port or an external address.
func (r *resolution) external(endpoints []endpoint) *frontend {
	t := r.anywhere(endpoints)
	masqueraded := t
	masqueraded.masquerade = true
	if r.service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		return &frontend{pod: t, node: masqueraded, other: r.onThisNode(endpoints)}
	}
	return &frontend{pod: masqueraded, node: masqueraded, other: masqueraded}
}

// anywhere returns the target of connections that may leave the node.
func (r *resolution) anywhere(endpoints []endpoint) target {
	return r.target(inZone(preferReady(endpoints), r.zone), outcomeReject)
}

// onThisNode returns the target of connections that must stay on the node. They are dropped if
// another node could serve them.
func (r *resolution) onThisNode(endpoints []endpoint) target {
	verdict := outcomeReject
	if len(preferReady(endpoints)) > 0 {
		verdict = outcomeDrop
	}
	local := filter(endpoints, func(e endpoint) bool { return e.node == r.node.Name })
	return r.target(preferReady(local), verdict)
}

// target returns a target with these endpoints, or with the verdict if there are none.
func (r *resolution) target(endpoints []endpoint, verdict string) target {
	if len(endpoints) == 0 {
		return target{verdict: verdict}
	}
	t := target{affinity: affinityOf(r.service)}
	for _, e := range endpoints {
		t.endpoints = append(t.endpoints, e.addr)
		if e.node == r.node.Name {
			t.local = append(t.local, e.addr.Addr())
		}
	}
	return t
}

func affinityOf(s *corev1.Service) time.Duration {
	if s.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := int32(10800)
	if c := s.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil {
		seconds = deref(c.ClientIP.TimeoutSeconds, seconds)
	}
	return time.Duration(seconds) * time.Second
}

// ingressOf returns the addresses of the load balancer.
func ingressOf(s *corev1.Service) (addrs []string) {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	for _, i := range s.Status.LoadBalancer.Ingress {
		if deref(i.IPMode, corev1.LoadBalancerIPModeVIP) == corev1.LoadBalancerIPModeVIP {
			addrs = append(addrs, i.IP)
		}
	}
	return addrs
}

// rangesOf returns the source ranges of one family; nil if there are none of it.
func rangesOf(s *corev1.Service, is4 bool) (ranges []netip.Prefix) {
	for _, text := range s.Spec.LoadBalancerSourceRanges {
		if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil && p.Addr().Is4() == is4 {
			ranges = append(ranges, p.Masked())
		}
	}
	return ranges
}

func ofFamily(texts []string, is4 bool) (addrs []netip.Addr) {
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && a.Is4() == is4 {
			addrs = append(addrs, a)
		}
	}
	return addrs
}
