// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/hns"
)

// TestDocuments compares the documents with those of Windows, as github.com/Microsoft/hcsshim/hcn
// makes and reads them.
func TestDocuments(t *testing.T) {
	for text, value := range map[string]any{
		`{"ID":"A","HostComputeEndpoints":["B","C"],"SourceVIP":"10.244.0.2","FrontendVIPs":["10.96.0.10"],"PortMappings":[{"Protocol":6,"InternalPort":8080,` +
			`"ExternalPort":80,"DistributionType":2,"Flags":2}],"SchemaVersion":{"Major":2,"Minor":0},"Flags":3}`: &hns.LoadBalancer{
			ID: "A", Endpoints: []string{"B", "C"}, SourceVIP: "10.244.0.2", FrontendVIPs: []string{"10.96.0.10"}, Flags: hns.LoadBalancerDSR | hns.LoadBalancerIPv6,
			PortMappings: []hns.PortMapping{{
				Protocol: 6, InternalPort: 8080, ExternalPort: 80, Distribution: hns.DistributionSourceIP, Flags: hns.MappingLocalRoutedVIP,
			}},
			SchemaVersion: hns.Version{Major: 2},
		},
		`{"ID":"A","Name":"n","HostComputeNetwork":"N","Policies":[{"Type":"ProviderAddress","Settings":{"ProviderAddress":"192.0.2.1"}}],` +
			`"IpConfigurations":[{"IpAddress":"10.244.1.7","PrefixLength":24}],"MacAddress":"02-11-0a-f4-01-07","Flags":1,"SchemaVersion":{"Major":2,"Minor":0}}`: &hns.Endpoint{
			ID: "A", Name: "n", Network: "N", IPConfigurations: []hns.IPConfig{{IPAddress: "10.244.1.7", PrefixLength: 24}}, MACAddress: "02-11-0a-f4-01-07",
			Policies: []hns.EndpointPolicy{{Type: hns.PolicyProviderAddress, Settings: hns.ProviderAddress{ProviderAddress: "192.0.2.1"}}},
			Flags:    hns.EndpointRemote, SchemaVersion: hns.Version{Major: 2},
		},
		`{"ID":"N","Name":"vxlan0","Type":"Overlay","Policies":[{"Type":"RemoteSubnetRoute","Settings":{"DestinationPrefix":"10.244.1.0/24","ProviderAddress":"192.0.2.2"}}]}`: &hns.Network{
			ID: "N", Name: "vxlan0", Type: hns.TypeOverlay,
			Policies: []hns.NetworkPolicy{{Type: hns.PolicyRemoteSubnet, Settings: hns.RemoteSubnet{DestinationPrefix: "10.244.1.0/24", ProviderAddress: "192.0.2.2"}}},
		},
	} {
		document, err := json.Marshal(value)
		require.NoError(t, err)
		require.JSONEq(t, text, string(document))
	}
}
