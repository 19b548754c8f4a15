// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/internal/valid"
)

// Service converts a Service of any type, including headless ones. The result has neither
// extensions nor details; see [Converter].
func Service(s *corev1.Service) *watchers.Service { return convertService(s, 0) }

func convertService(s *corev1.Service, details Details) *watchers.Service {
	p := &fieldParser{object: "Service " + s.Namespace + "/" + s.Name}
	spec := &s.Spec
	out := &watchers.Service{
		Name:    watchers.ServiceName{Namespace: intern(s.Namespace), Name: s.Name},
		Created: s.CreationTimestamp.Time,
		Type:    p.serviceType(spec.Type),

		ClusterIP:    p.clusterIP(spec.ClusterIP, "spec.clusterIP"),
		ExternalIPs:  p.addrs(spec.ExternalIPs, valid.ExternalIP, "spec.externalIPs[%d]"),
		Ingress:      p.ingress(s.Status.LoadBalancer.Ingress),
		SourceRanges: p.prefixes(spec.LoadBalancerSourceRanges, valid.Network, "spec.loadBalancerSourceRanges[%d]"),

		InternalPolicy: p.policy(string(deref(spec.InternalTrafficPolicy, "")), "spec.internalTrafficPolicy"),
		ExternalPolicy: p.policy(string(spec.ExternalTrafficPolicy), "spec.externalTrafficPolicy"),

		HealthCheckNodePort: p.optionalPort(spec.HealthCheckNodePort, "spec.healthCheckNodePort"),
		Affinity:            p.affinity(spec),
		ProxyName:           proxyName(s),
	}
	var protocols []string
	out.Ports, protocols = p.servicePorts(spec.Ports, details.has(DetailAppProtocol))
	out.Details = details.ofService(s, protocols)
	ranges := countNonBlank(spec.LoadBalancerSourceRanges)
	out.HasSourceRanges, out.HasInvalidSourceRanges = ranges > 0, ranges > len(out.SourceRanges)
	for i, ip := range spec.ClusterIPs {
		out.ClusterIPs = appendWithRoom(out.ClusterIPs, p.clusterIP(ip, "spec.clusterIPs[%d]", i), len(spec.ClusterIPs))
	}
	for i, f := range spec.IPFamilies {
		out.IPFamilies = appendWithRoom(out.IPFamilies, p.family(f, i), len(spec.IPFamilies))
	}
	out.Problems = p.problems
	return out
}

func proxyName(s *corev1.Service) *string {
	name, labelled := s.Labels[LabelProxyName]
	if !labelled {
		return nil
	}
	name = intern(name)
	return &name
}

func (p *fieldParser) serviceType(t corev1.ServiceType) watchers.ServiceType {
	switch t {
	case "", corev1.ServiceTypeClusterIP:
		return watchers.TypeClusterIP
	case corev1.ServiceTypeNodePort:
		return watchers.TypeNodePort
	case corev1.ServiceTypeLoadBalancer:
		return watchers.TypeLoadBalancer
	case corev1.ServiceTypeExternalName:
		return watchers.TypeExternalName
	}
	p.invalid(string(t), "is not a Service type", "treated as ClusterIP", "spec.type")
	return watchers.TypeClusterIP
}

func (p *fieldParser) clusterIP(s, field string, index ...any) netip.Addr {
	if s == corev1.ClusterIPNone {
		return netip.Addr{}
	}
	return p.addr(s, valid.ServiceAddr, field, index...)
}

func (p *fieldParser) family(f corev1.IPFamily, index int) watchers.IPFamily {
	switch f {
	case corev1.IPv4Protocol:
		return watchers.FamilyIPv4
	case corev1.IPv6Protocol:
		return watchers.FamilyIPv6
	}
	p.invalid(string(f), "is not IPv4 or IPv6", ignored, "spec.ipFamilies[%d]", index)
	return 0
}

func (p *fieldParser) policy(policy, field string) watchers.TrafficPolicy {
	switch policy {
	case "", string(corev1.ServiceExternalTrafficPolicyCluster):
		return watchers.PolicyCluster
	case string(corev1.ServiceExternalTrafficPolicyLocal):
		return watchers.PolicyLocal
	}
	p.invalid(policy, "is not Cluster or Local", "treated as Cluster", "%s", field)
	return watchers.PolicyCluster
}

// affinity returns the timeout of ClientIP session affinity, or 0 for no affinity. The
// API server always sets a timeout; objects from other sources may have none.
func (p *fieldParser) affinity(spec *corev1.ServiceSpec) time.Duration {
	switch spec.SessionAffinity {
	case "", corev1.ServiceAffinityNone:
		return 0
	case corev1.ServiceAffinityClientIP:
	default:
		p.invalid(string(spec.SessionAffinity), "is not None or ClientIP", "treated as None", "spec.sessionAffinity")
		return 0
	}
	const defaultSeconds = int32(valid.DefaultAffinity / time.Second)
	seconds := defaultSeconds
	if c := spec.SessionAffinityConfig; c != nil && c.ClientIP != nil {
		seconds = deref(c.ClientIP.TimeoutSeconds, defaultSeconds)
	}
	if valid.Affinity(time.Duration(seconds)*time.Second) != "" || seconds == 0 {
		p.invalid(seconds, "is out of range 1-86400", "treated as 10800",
			"spec.sessionAffinityConfig.clientIP.timeoutSeconds")
		seconds = defaultSeconds
	}
	return time.Duration(seconds) * time.Second
}

// ingress parses the addresses of load balancers. An unknown IP mode is treated as
// Proxy, the mode in which the node must not handle packets to the address.
func (p *fieldParser) ingress(list []corev1.LoadBalancerIngress) []watchers.Ingress {
	var out []watchers.Ingress
	for i, in := range list {
		ip := p.addr(in.IP, valid.ServiceAddr, "status.loadBalancer.ingress[%d].ip", i)
		if !ip.IsValid() {
			continue
		}
		mode := deref(in.IPMode, corev1.LoadBalancerIPModeVIP)
		if mode != corev1.LoadBalancerIPModeVIP && mode != corev1.LoadBalancerIPModeProxy {
			p.invalid(string(mode), "is not VIP or Proxy", "treated as Proxy", "status.loadBalancer.ingress[%d].ipMode", i)
		}
		out = appendWithRoom(out, watchers.Ingress{IP: ip, Proxy: mode != corev1.LoadBalancerIPModeVIP}, len(list)-i)
	}
	return out
}

// servicePorts parses the valid ports, and their application protocols on request. There are
// no protocols if no port has any.
func (p *fieldParser) servicePorts(list []corev1.ServicePort, withProtocols bool) (out []watchers.ServicePort, protocols []string) {
	for i := range list {
		port := &list[i]
		protocol, known := p.protocol(port.Protocol, "spec.ports[%d].protocol", i)
		number, valid := p.port(port.Port, "spec.ports[%d].port", i)
		if !known || !valid {
			continue
		}
		if withProtocols {
			protocols = appendAligned(protocols, intern(deref(port.AppProtocol, "")), len(out), len(list)-i)
		}
		out = appendWithRoom(out, watchers.ServicePort{
			Name:     intern(port.Name),
			Protocol: protocol,
			Port:     number,
			NodePort: p.optionalPort(port.NodePort, "spec.ports[%d].nodePort", i),
		}, len(list)-i)
	}
	return out, protocols
}

func countNonBlank(list []string) (n int) {
	for _, s := range list {
		if strings.TrimSpace(s) != "" {
			n++
		}
	}
	return n
}
