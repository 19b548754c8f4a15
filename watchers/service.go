// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A Service is the part of a Kubernetes Service that a proxy reads.
type Service struct {
	Name ServiceName
	// Created is metadata.creationTimestamp. If two Services claim the same address, the
	// older one gets it.
	Created time.Time
	Type    ServiceType

	// ClusterIP is spec.clusterIP. It is the zero Addr if the field is empty, "None" or
	// invalid.
	ClusterIP netip.Addr
	// ClusterIPs lists spec.clusterIPs with the same indexes, with zero Addrs as above.
	ClusterIPs []netip.Addr
	// IPFamilies lists spec.ipFamilies with the same indexes. Unknown families are 0.
	IPFamilies []IPFamily
	// ExternalIPs lists the valid entries of spec.externalIPs.
	ExternalIPs []netip.Addr
	// Ingress lists the entries of status.loadBalancer.ingress that have an address.
	Ingress []Ingress
	// SourceRanges lists the valid entries of spec.loadBalancerSourceRanges.
	SourceRanges []netip.Prefix
	// HasSourceRanges reports whether spec.loadBalancerSourceRanges has entries, valid or
	// not.
	HasSourceRanges bool
	// HasInvalidSourceRanges reports whether spec.loadBalancerSourceRanges has invalid
	// entries.
	HasInvalidSourceRanges bool

	InternalPolicy TrafficPolicy // spec.internalTrafficPolicy
	ExternalPolicy TrafficPolicy // spec.externalTrafficPolicy
	// HealthCheckNodePort is spec.healthCheckNodePort.
	HealthCheckNodePort uint16
	// Affinity is the timeout of ClientIP session affinity. Zero disables it.
	Affinity time.Duration
	Ports    []ServicePort
	// ProxyName is the label service.kubernetes.io/service-proxy-name. It is nil if the
	// label does not exist, which differs from an empty label; see [Service.IsFor].
	ProxyName *string
	// Problems lists the invalid fields.
	Problems []Problem
	// Extensions lists the vendor-specific properties of the Service.
	Extensions Extensions
	// Details is nil if the source was not asked for it, or has nothing for the Service.
	Details *ServiceDetails
}

// ServiceDetails holds the properties of a Service that a node does not need, for other
// consumers of the cluster state such as a DNS server.
type ServiceDetails struct {
	// Headless reports whether spec.clusterIP is "None".
	Headless bool
	// ExternalName is spec.externalName.
	ExternalName string
	// LoadBalancerClass is spec.loadBalancerClass.
	LoadBalancerClass string
	// AppProtocols is empty, or has the appProtocol of each element of Ports, with the same
	// index.
	AppProtocols []string
}

// IsFor reports whether the proxy with the given name serves s. The cluster's default proxy,
// whose name is "", serves the Services without the service-proxy-name label. No proxy
// serves a Service with an empty label.
func (s *Service) IsFor(proxy string) bool {
	if s.ProxyName == nil || proxy == "" {
		return s.ProxyName == nil && proxy == ""
	}
	return *s.ProxyName == proxy
}

// ClusterIPOf returns the cluster IP of an address family, or the zero Addr if the Service
// does not have the family.
func (s *Service) ClusterIPOf(family IPFamily) netip.Addr {
	ip := s.ClusterIP
	if len(s.IPFamilies) > 0 {
		i := slices.Index(s.IPFamilies, family)
		if i < 0 || i >= len(s.ClusterIPs) {
			return netip.Addr{}
		}
		ip = s.ClusterIPs[i]
	}
	if FamilyOf(ip) != family {
		return netip.Addr{}
	}
	return ip
}

// An Ingress is an address of a load balancer.
type Ingress struct {
	IP netip.Addr
	// Proxy reports whether the load balancer forwards to node ports (ipMode: Proxy). Nodes
	// must not handle the address then.
	Proxy bool
}

// A ServicePort is an entry of spec.ports.
type ServicePort struct {
	Name     string
	Protocol Protocol
	Port     uint16
	NodePort uint16 // 0 if there is none
	// Selection is how the endpoint of a new connection is selected.
	Selection localsink.Selection
	// RefusedPerMille is the share of new connections, in 1/1000, that are rejected whatever
	// endpoints there are; at most 1000.
	RefusedPerMille uint16
}

// A ServiceType is spec.type.
type ServiceType uint8

// The types of Services.
const (
	TypeClusterIP ServiceType = iota
	TypeNodePort
	TypeLoadBalancer
	TypeExternalName
)

// A TrafficPolicy is spec.internalTrafficPolicy or spec.externalTrafficPolicy.
type TrafficPolicy uint8

// The traffic policies.
const (
	PolicyCluster TrafficPolicy = iota
	PolicyLocal
)
