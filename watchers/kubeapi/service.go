// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/kpng/watchers"
)

// Service makes the fact of a Service, of any type, headless or not.
func Service(s *corev1.Service) *watchers.Service {
	r := &reader{object: "Service " + s.Namespace + "/" + s.Name}
	spec := &s.Spec
	out := &watchers.Service{
		Name:    watchers.ServiceName{Namespace: intern(s.Namespace), Name: intern(s.Name)},
		Created: s.CreationTimestamp.Time,
		Type:    r.serviceType(spec.Type),

		ClusterIP:    r.clusterIP(spec.ClusterIP, "spec.clusterIP"),
		ExternalIPs:  r.addrs(spec.ExternalIPs, "spec.externalIPs[%d]"),
		Ingress:      r.ingress(s.Status.LoadBalancer.Ingress),
		SourceRanges: r.prefixes(spec.LoadBalancerSourceRanges, "spec.loadBalancerSourceRanges[%d]"),

		InternalPolicy: r.policy(string(deref(spec.InternalTrafficPolicy, "")), "spec.internalTrafficPolicy"),
		ExternalPolicy: r.policy(string(spec.ExternalTrafficPolicy), "spec.externalTrafficPolicy"),

		HealthCheckNodePort: r.optionalPort(spec.HealthCheckNodePort, "spec.healthCheckNodePort"),
		Affinity:            r.affinity(spec),
		Ports:               r.servicePorts(spec.Ports),
		ProxyName:           proxyName(s),
	}
	ranges := notBlank(spec.LoadBalancerSourceRanges)
	out.HasSourceRanges, out.HasInvalidSourceRanges = ranges > 0, ranges > len(out.SourceRanges)
	for i, ip := range spec.ClusterIPs {
		out.ClusterIPs = appendOnce(out.ClusterIPs, r.clusterIP(ip, "spec.clusterIPs[%d]", i), len(spec.ClusterIPs))
	}
	for i, f := range spec.IPFamilies {
		out.IPFamilies = appendOnce(out.IPFamilies, r.family(f, i), len(spec.IPFamilies))
	}
	r.pairs(spec)
	out.Problems = r.problems
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

// pairs checks that cluster IPs and families come in pairs. Headless Services may have
// more families, and without families the addresses speak for themselves.
func (r *reader) pairs(spec *corev1.ServiceSpec) {
	assigned := spec.ClusterIP != "" && spec.ClusterIP != corev1.ClusterIPNone && spec.Type != corev1.ServiceTypeExternalName
	if !assigned || len(spec.IPFamilies) == 0 {
		return
	}
	ips, families := len(spec.ClusterIPs), len(spec.IPFamilies)
	for i := ips; i < families; i++ {
		r.missing(fmt.Sprintf("has no address in spec.clusterIPs[%d]; ignored", i), "spec.ipFamilies[%d]", i)
	}
	for i := families; i < ips; i++ {
		r.missing(fmt.Sprintf("has no family in spec.ipFamilies[%d]; ignored", i), "spec.clusterIPs[%d]", i)
	}
}

func (r *reader) serviceType(t corev1.ServiceType) watchers.ServiceType {
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
	r.problem(string(t), "is not a type of Service", "taken as ClusterIP", "spec.type")
	return watchers.TypeClusterIP
}

func (r *reader) clusterIP(s, field string, index ...any) netip.Addr {
	if s == corev1.ClusterIPNone {
		return netip.Addr{}
	}
	return r.addr(s, field, index...)
}

func (r *reader) family(f corev1.IPFamily, index int) watchers.IPFamily {
	switch f {
	case corev1.IPv4Protocol:
		return watchers.IPv4
	case corev1.IPv6Protocol:
		return watchers.IPv6
	}
	r.problem(string(f), "is not an IP family", ignored, "spec.ipFamilies[%d]", index)
	return 0
}

func (r *reader) policy(p, field string) watchers.TrafficPolicy {
	switch p {
	case "", string(corev1.ServiceExternalTrafficPolicyCluster):
		return watchers.PolicyCluster
	case string(corev1.ServiceExternalTrafficPolicyLocal):
		return watchers.PolicyLocal
	}
	r.problem(p, "is not a traffic policy", "taken as Cluster", "%s", field)
	return watchers.PolicyCluster
}

// affinity reads the session affinity. The API server fills in the timeout, but the
// objects of others may lack it.
func (r *reader) affinity(spec *corev1.ServiceSpec) time.Duration {
	switch spec.SessionAffinity {
	case "", corev1.ServiceAffinityNone:
		return 0
	case corev1.ServiceAffinityClientIP:
	default:
		r.problem(string(spec.SessionAffinity), "is not a session affinity", "taken as None", "spec.sessionAffinity")
		return 0
	}
	const standard = corev1.DefaultClientIPServiceAffinitySeconds
	seconds := standard
	if c := spec.SessionAffinityConfig; c != nil && c.ClientIP != nil {
		seconds = deref(c.ClientIP.TimeoutSeconds, standard)
	}
	if seconds < 1 || seconds > 86400 {
		r.problem(seconds, "is not a number of seconds from 1 to 86400", "taken as 10800",
			"spec.sessionAffinityConfig.clientIP.timeoutSeconds")
		seconds = standard
	}
	return time.Duration(seconds) * time.Second
}

// ingress reads the addresses of load balancers. A mode that is not known cannot be
// one in which the node may take the packets.
func (r *reader) ingress(list []corev1.LoadBalancerIngress) []watchers.Ingress {
	var out []watchers.Ingress
	for i, in := range list {
		ip := r.addr(in.IP, "status.loadBalancer.ingress[%d].ip", i)
		if !ip.IsValid() {
			continue
		}
		mode := deref(in.IPMode, corev1.LoadBalancerIPModeVIP)
		if mode != corev1.LoadBalancerIPModeVIP && mode != corev1.LoadBalancerIPModeProxy {
			r.problem(string(mode), "is not an IP mode", "taken as Proxy", "status.loadBalancer.ingress[%d].ipMode", i)
		}
		out = appendOnce(out, watchers.Ingress{IP: ip, Proxy: mode != corev1.LoadBalancerIPModeVIP}, len(list)-i)
	}
	return out
}

func (r *reader) servicePorts(list []corev1.ServicePort) []watchers.ServicePort {
	var out []watchers.ServicePort
	for i := range list {
		p := &list[i]
		protocol, known := r.protocol(p.Protocol, "spec.ports[%d].protocol", i)
		number, valid := r.port(p.Port, "spec.ports[%d].port", i)
		if !known || !valid {
			continue
		}
		out = appendOnce(out, watchers.ServicePort{
			Name:     intern(p.Name),
			Protocol: protocol,
			Port:     number,
			NodePort: r.optionalPort(p.NodePort, "spec.ports[%d].nodePort", i),
		}, len(list)-i)
	}
	return out
}

func notBlank(list []string) (n int) {
	for _, s := range list {
		if strings.TrimSpace(s) != "" {
			n++
		}
	}
	return n
}
