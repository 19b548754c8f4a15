// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package overlay_test

import (
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
)

// Two nodes share one base. The overlay of node-1 marks the endpoint that is local there.
func ExampleAssemble() {
	const everywhere overlay.Pool = 0
	endpoint := func(addr string) overlay.Endpoint {
		return overlay.Endpoint{Addr: netip.MustParseAddrPort(addr), Pools: overlay.NewPoolSet(everywhere)}
	}
	base := &overlay.Base{
		Name: localsink.ServiceName{Namespace: "default", Name: "web"},
		Ports: []overlay.Port{{
			Name: "http", Protocol: localsink.ProtocolTCP,
			Frontends: []overlay.Frontend{{
				Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.10:80"),
				Routes: []overlay.Route{{Pools: []overlay.Pool{everywhere}}},
			}},
			Endpoints: []overlay.Endpoint{endpoint("10.244.1.4:8080"), endpoint("10.244.2.7:8080")},
		}},
	}
	node1 := &overlay.Overlay{Endpoints: []overlay.NodeEndpoint{{Endpoint: endpoint("10.244.1.4:8080"), Local: true}}}
	fmt.Print(overlay.Assemble(base, node1, &localsink.Node{Name: "node-1"}).Text())
	fmt.Print(overlay.Assemble(base, nil, &localsink.Node{Name: "node-3"}).Text())
	// Output:
	// default/web
	//   port "http" TCP
	//     ClusterIP 10.96.0.10:80
	//       Any -> 10.244.1.4:8080(local) 10.244.2.7:8080
	// default/web
	//   port "http" TCP
	//     ClusterIP 10.96.0.10:80
	//       Any -> 10.244.1.4:8080 10.244.2.7:8080
}
