// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestTextHasAllContent(t *testing.T) {
	addr := netip.MustParseAddrPort
	s := &localsink.Service{
		Name: localsink.ServiceName{Namespace: "default", Name: "web"},
		Ports: []localsink.Port{{
			Name: "http", Protocol: localsink.ProtocolTCP, Affinity: time.Hour, Selection: localsink.SelectionFlow, RefusedPerMille: 5,
			EndpointExtensions: map[netip.AddrPort]localsink.Extensions{
				addr("10.1.0.2:8080"): localsink.NewExtensions(localsink.Extension{Key: "z"}), addr("10.1.0.1:8080"): ext("x", "1", "y", "2"),
			},
			Frontends: []localsink.Frontend{
				{Kind: localsink.KindClusterIP, Addr: addr("10.0.0.1:80"), Routes: []localsink.Route{
					{From: localsink.FromLocalPods, Pool: 0},
					{From: localsink.FromAny, Pool: 0, Masquerade: true},
				}},
				{
					Kind: localsink.KindLoadBalancer, Addr: addr("192.0.2.1:80"),
					SourceRanges: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
					Routes:       []localsink.Route{{Pool: 1, EmptyVerdict: localsink.VerdictDrop}},
				},
			},
			Pools: []localsink.Pool{
				{Endpoints: []localsink.Endpoint{{Addr: addr("10.1.0.1:8080"), Local: true, Weight: 1}, {Addr: addr("10.1.0.2:8080"), Weight: 7}}},
				{},
			},
			Draining: []netip.AddrPort{addr("10.1.0.3:8080")},
		}},
		HealthCheck: &localsink.HealthCheck{Port: 30000, LocalEndpoints: 1}, Extensions: ext("k", "\xff"),
		Problems: []localsink.Problem{{Object: "Service default/web", Field: "spec.externalIPs[0]", Message: "invalid address"}},
	}
	require.Equal(t, `default/web
  port "http" TCP, affinity 1h0m0s, selection Flow, 5‰ refused
    draining: [10.1.0.3:8080]
    extensions of 10.1.0.1:8080: x="1", y="2"
    extensions of 10.1.0.2:8080: z=""
    ClusterIP 10.0.0.1:80
      LocalPods -> 10.1.0.1:8080(local) 10.1.0.2:8080(weight 7)
      Any -> 10.1.0.1:8080(local) 10.1.0.2:8080(weight 7) masqueraded
    LoadBalancer 192.0.2.1:80 for [198.51.100.0/24]
      Any -> drop
  health check on port 30000: 1 local endpoints
  extensions: k="\xff"
  problem: Service default/web: spec.externalIPs[0]: invalid address
`, s.Text())
	require.Equal(t, "/\n", (&localsink.Service{}).Text())
}

func TestTextHasOptionalContent(t *testing.T) {
	addr := netip.MustParseAddrPort
	s := &localsink.Service{
		Name:       localsink.ServiceName{Namespace: "default", Name: "web", Origin: "ServiceImport"},
		Extensions: ext("acme.example/mode", "dsr", "acme.example/key", "a \"b\"\n\xff"),
		Ports: []localsink.Port{{
			Name: "http", Protocol: localsink.ProtocolUDP, Affinity: time.Second,
			Selection: localsink.SelectionLeastConnections, RefusedPerMille: 800,
			Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: addr("10.0.0.1:80"), Routes: []localsink.Route{
				{From: localsink.FromThisNode, Pool: 1, EmptyVerdict: localsink.VerdictPass},
				{From: localsink.FromAny},
			}}},
			Pools: []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: addr("10.1.0.1:80"), Local: true, Weight: 3}, {Addr: addr("10.1.0.2:80"), Weight: 1}}}, {}},
			EndpointExtensions: map[netip.AddrPort]localsink.Extensions{
				addr("10.1.0.2:80"):  ext("acme.example/rack", "7"),
				addr("10.1.0.10:80"): ext("b", "2", "a", "1"),
			},
		}},
	}
	require.Equal(t, `ServiceImport:default/web
  port "http" UDP, affinity 1s, selection LeastConnections, 800‰ refused
    extensions of 10.1.0.2:80: acme.example/rack="7"
    extensions of 10.1.0.10:80: a="1", b="2"
    ClusterIP 10.0.0.1:80
      ThisNode -> pass
      Any -> 10.1.0.1:80(local)(weight 3) 10.1.0.2:80
  extensions: acme.example/key="a \"b\"\n\xff", acme.example/mode="dsr"
`, s.Text())
}
