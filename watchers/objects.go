// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"net/netip"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// The vocabulary that facts share with what is made of them.
type (
	// ServiceName names a Service within its cluster.
	ServiceName = localsink.ServiceName
	// Protocol is a transport protocol.
	Protocol = localsink.Protocol
	// Problem is something in the input that could not be honoured.
	Problem = localsink.Problem
)

// A Service is what a Kubernetes Service says.
type Service struct {
	Name ServiceName
	// Created is when the Service was created; the older of two Services wins an
	// address that both claim.
	Created time.Time
	Type    ServiceType

	// ClusterIP is spec.clusterIP; the zero Addr when it is empty, "None" or
	// unparsable.
	ClusterIP netip.Addr
	// ClusterIPs are spec.clusterIPs, index by index, with zero Addrs as above.
	ClusterIPs []netip.Addr
	// IPFamilies are spec.ipFamilies, index by index: 4, 6, or 0 when unknown.
	IPFamilies  []IPFamily
	ExternalIPs []netip.Addr
	// Ingress are the addresses of status.loadBalancer.ingress; entries with only
	// a host name are left out.
	Ingress []Ingress
	// SourceRanges are spec.loadBalancerSourceRanges, without what is unparsable.
	SourceRanges []netip.Prefix
	// HasSourceRanges says that spec.loadBalancerSourceRanges has entries, parsable or
	// not, and RangesUnread that some are not.
	HasSourceRanges, HasInvalidSourceRanges bool

	InternalPolicy TrafficPolicy
	ExternalPolicy TrafficPolicy
	// HealthCheckNodePort is spec.healthCheckNodePort.
	HealthCheckNodePort uint16
	// Affinity is the ClientIP session affinity's timeout, or zero for none.
	Affinity time.Duration
	Ports    []ServicePort
	// ProxyName is the label service.kubernetes.io/service-proxy-name; nil when the
	// Service has none, which is not the same as an empty one. See [Base.IsFor].
	ProxyName *string
	Problems  []Problem
}

// IsFor says whether the proxy of the given name serves the Service: the label names it.
// "" is the cluster's ordinary proxy, which serves the Services without the label. A
// Service with an empty label is nobody's.
func (s *Service) IsFor(proxy string) bool {
	if s.ProxyName == nil || proxy == "" {
		return s.ProxyName == nil && proxy == ""
	}
	return *s.ProxyName == proxy
}

// An Ingress is an address of a load balancer.
type Ingress struct {
	IP netip.Addr
	// Proxy says that the load balancer delivers to node ports, so the node must
	// not handle the address itself (ipMode: Proxy).
	Proxy bool
}

// A ServicePort is one entry of spec.ports.
type ServicePort struct {
	Name     string
	Protocol Protocol
	Port     uint16
	NodePort uint16 // 0 for none
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

// An IPFamily is 4 or 6; 0 stands for anything else.
type IPFamily uint8

// The address families.
const (
	IPv4 IPFamily = 4
	IPv6 IPFamily = 6
)

// FamilyOf returns the family of an address, and 0 for the zero Addr.
func FamilyOf(a netip.Addr) IPFamily {
	switch {
	case a.Is4():
		return IPv4
	case a.Is6():
		return IPv6
	}
	return 0
}

// An EndpointSlice is what one EndpointSlice contributes to its Service.
type EndpointSlice struct {
	// Namespace and Name name the slice.
	Namespace, Name string
	// Service is the Service that the slice is labelled with.
	Service ServiceName
	Family  IPFamily
	Ports   []EndpointPort
	// Endpoints have one address each, of Family.
	Endpoints []Endpoint
	Problems  []Problem

	// TriggerTime is the annotation endpoints.kubernetes.io/last-change-trigger-time,
	// or the zero time. It is no content: a slice that differs in nothing else is
	// the same slice.
	TriggerTime time.Time
}

// An EndpointPort is one entry of a slice's ports: every endpoint of the slice
// serves it at the same number.
type EndpointPort struct {
	Name     string
	Protocol Protocol
	Port     uint16
}

// An Endpoint is one entry of a slice's endpoints.
type Endpoint struct {
	Addr netip.Addr
	// Node is the name of the node the endpoint is on; it may be empty.
	Node                        string
	Ready, Serving, Terminating bool
	// Hints is nil when there are none. Endpoints may share it.
	Hints *Hints
}

// Hints say which clients an endpoint is meant for.
type Hints struct{ Zones, Nodes []string }

// A Node is what a Kubernetes Node says.
type Node struct {
	Name string
	// IPs are the InternalIPs in order, then the ExternalIPs.
	IPs      []netip.Addr
	PodCIDRs []netip.Prefix
	// Zone is the label topology.kubernetes.io/zone.
	Zone string
	// Deleting says that the node is being deleted, or marked for deletion by the
	// cluster autoscaler: load balancers should send it nothing new.
	Deleting bool
	Problems []Problem
}

// A ServiceCIDR is networks that cluster IPs are taken from.
type ServiceCIDR struct {
	Name     string
	Networks []netip.Prefix
	Problems []Problem
}
