// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/localsink"
)

func main() {
	cutter, err := conntrack.NewCutter()
	if err != nil {
		panic(err)
	}
	fmt.Println(cutter.Cut(context.Background(), conntrack.Match{
		Protocol: localsink.ProtocolUDP, Frontend: netip.MustParseAddrPort("10.96.0.1:53"),
	}))
}
