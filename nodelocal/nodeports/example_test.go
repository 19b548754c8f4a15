// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodeports_test

import (
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/nodelocal/nodeports"
)

// A proxy with rules for each address needs the addresses of the node that serve node ports:
// here the one of the Node object, and those in a storage network.
func ExampleSelection_Addresses() {
	selection, err := nodeports.Parse([]string{"primary", "198.51.100.0/24"})
	if err != nil {
		fmt.Println(err)
		return
	}
	nodeIPs := []netip.Addr{netip.MustParseAddr("192.0.2.1")} // status.addresses of the Node
	interfaces := []netip.Addr{                               // of the machine
		netip.MustParseAddr("127.0.0.1"),
		netip.MustParseAddr("192.0.2.1"),
		netip.MustParseAddr("198.51.100.7"),
		netip.MustParseAddr("10.244.0.1"),
	}
	fmt.Println("addresses:", selection.Addresses(nodeIPs, interfaces))

	// A proxy with rules that match networks, or with a listener, follows the interfaces
	// without a list of them.
	fmt.Println("networks:", selection.Networks(nodeIPs))
	// Output:
	// addresses: [192.0.2.1 198.51.100.7]
	// networks: [192.0.2.1/32 198.51.100.0/24]
}
