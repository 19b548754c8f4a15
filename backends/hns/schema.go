// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns

// This file is the part of the schema of HNS, version 2, that load balancing uses. The names and
// tags are those of the JSON documents of Windows.

// schemaVersion is the version of the documents that the backend creates.
func schemaVersion() Version { return Version{Major: 2} }

// A Version is the version of a document.
type Version struct {
	Major uint32 `json:"Major"`
	Minor uint32 `json:"Minor"`
}

// A LoadBalancer translates the destination of packets to its frontends.
type LoadBalancer struct {
	ID string `json:"ID,omitempty"`
	// Endpoints lists the IDs of endpoints. Windows refuses an empty list.
	Endpoints []string `json:"HostComputeEndpoints,omitempty"`
	// SourceVIP is the source address of packets that must return through this node.
	SourceVIP string `json:"SourceVIP,omitempty"`
	// FrontendVIPs lists the addresses that clients dial; empty means all addresses of the node.
	FrontendVIPs []string `json:"FrontendVIPs,omitempty"`
	// PortMappings may be empty in what Windows lists.
	PortMappings  []PortMapping     `json:"PortMappings,omitempty"`
	SchemaVersion Version           `json:"SchemaVersion"`
	Flags         LoadBalancerFlags `json:"Flags,omitempty"`
}

// A PortMapping is a port of a [LoadBalancer].
type PortMapping struct {
	Protocol     uint32           `json:"Protocol,omitempty"`
	InternalPort uint16           `json:"InternalPort,omitempty"` // of the endpoints
	ExternalPort uint16           `json:"ExternalPort,omitempty"` // that clients dial
	Distribution Distribution     `json:"DistributionType,omitempty"`
	Flags        PortMappingFlags `json:"Flags,omitempty"`
}

// LoadBalancerFlags are options of a [LoadBalancer].
type LoadBalancerFlags uint32

const (
	// LoadBalancerDSR lets endpoints answer clients directly (direct server return).
	LoadBalancerDSR LoadBalancerFlags = 1 << iota
	// LoadBalancerIPv6 must be set for IPv6.
	LoadBalancerIPv6
)

// PortMappingFlags are options of a [PortMapping].
type PortMappingFlags uint32

const (
	// MappingILB makes an internal load balancer.
	MappingILB PortMappingFlags = 1 << iota
	// MappingLocalRoutedVIP lets processes of the node reach the frontend.
	MappingLocalRoutedVIP
	// MappingUseMux enables direct server return for node ports.
	MappingUseMux
	// MappingPreserveDIP leaves the destination address of packets as it is.
	MappingPreserveDIP
	// MappingVIPExternalIP marks a frontend that clients outside of the cluster dial.
	MappingVIPExternalIP
)

// A Distribution is how the endpoint of a connection is selected.
type Distribution uint32

const (
	// DistributionFlow selects by addresses, ports and protocol.
	DistributionFlow Distribution = iota
	// DistributionSourceIPProtocol selects by the address of the client and the protocol.
	DistributionSourceIPProtocol
	// DistributionSourceIP selects by the address of the client.
	DistributionSourceIP
)

// An Endpoint is an address of a network: of a pod of this node, or a remote one.
type Endpoint struct {
	ID               string           `json:"ID,omitempty"`
	Name             string           `json:"Name,omitempty"`
	Network          string           `json:"HostComputeNetwork,omitempty"`
	Policies         []EndpointPolicy `json:"Policies,omitempty"`
	IPConfigurations []IPConfig       `json:"IpConfigurations,omitempty"`
	MACAddress       string           `json:"MacAddress,omitempty"`
	Flags            EndpointFlags    `json:"Flags,omitempty"`
	SchemaVersion    Version          `json:"SchemaVersion"`
}

// An IPConfig is an address of an [Endpoint].
type IPConfig struct {
	IPAddress    string `json:"IpAddress,omitempty"`
	PrefixLength uint8  `json:"PrefixLength,omitempty"`
}

// EndpointFlags are options of an [Endpoint].
type EndpointFlags uint32

// EndpointRemote marks an endpoint that is not on this node.
const EndpointRemote EndpointFlags = 1

// An EndpointPolicy is a policy of an [Endpoint].
type EndpointPolicy struct {
	Type     string          `json:"Type"`
	Settings ProviderAddress `json:"Settings"`
}

// PolicyProviderAddress is the type of the policy with the address of the node of a remote
// endpoint of an overlay network.
const PolicyProviderAddress = "ProviderAddress"

// A ProviderAddress is the settings of PolicyProviderAddress.
type ProviderAddress struct {
	ProviderAddress string `json:"ProviderAddress,omitempty"`
}

// A Network is a network that a CNI plugin created.
type Network struct {
	ID   string `json:"ID,omitempty"`
	Name string `json:"Name,omitempty"`
	// Type is TypeOverlay, TypeL2Bridge or another type. The case of letters varies.
	Type     string          `json:"Type,omitempty"`
	Policies []NetworkPolicy `json:"Policies,omitempty"`
}

// The types of networks that the backend distinguishes.
const (
	TypeOverlay  = "Overlay"
	TypeL2Bridge = "L2Bridge"
)

// A NetworkPolicy is a policy of a [Network].
type NetworkPolicy struct {
	Type     string       `json:"Type"`
	Settings RemoteSubnet `json:"Settings"`
}

// PolicyRemoteSubnet is the type of the policy with the route to the pods of another node.
const PolicyRemoteSubnet = "RemoteSubnetRoute"

// A RemoteSubnet is the settings of PolicyRemoteSubnet.
type RemoteSubnet struct {
	DestinationPrefix string `json:"DestinationPrefix,omitempty"`
	ProviderAddress   string `json:"ProviderAddress,omitempty"`
}

// Features are the abilities of a version of Windows.
type Features struct {
	DSR                bool `json:"DSR"`
	SessionAffinity    bool `json:"SessionAffinity"`
	IPv6DualStack      bool `json:"IPv6DualStack"`
	RemoteSubnet       bool `json:"RemoteSubnet"`
	ModifyLoadBalancer bool `json:"ModifyLoadbalancer"`
}
