// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/nodelocal/nodeports"
)

func main() {
	selection, err := nodeports.Parse([]string{nodeports.KeywordPrimary})
	if err != nil {
		panic(err)
	}
	ips := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	fmt.Println(selection.Networks(ips), selection.Addresses(ips, ips), selection.Loopback())
}
