// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/hns"
	"sigs.k8s.io/kpng/backends/hns/hnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestKernelspace programs a fake HNS, on any system.
func TestKernelspace(t *testing.T) {
	_, err := New(ModeKernelspace, Config{})
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "examples/kube-proxy/windows")

	fake := hnstest.New(hnstest.Config{Network: hns.Network{Name: "pods", Type: hns.TypeL2Bridge}, Features: hnstest.AllFeatures()})
	observed := 0
	d, err := New(ModeKernelspace, Config{HNS: hns.Config{HNS: fake, Network: "pods", OnFailure: func(hns.Failure) { observed++ }}})
	require.NoError(t, err)
	require.Nil(t, d.Takeover)
	web := &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: "web"}, Ports: []localsink.Port{{
		Protocol:  localsink.ProtocolTCP,
		Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"), Routes: []localsink.Route{{}}}},
		Pools:     []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: netip.MustParseAddrPort("10.244.1.1:80"), Weight: 1}}}},
	}}}
	driver := sinktest.Driver{Sink: d.Rules, Node: &localsink.Node{Name: "node-1"}}
	fake.SetFaults(hnstest.Faults{Fail: func(c hnstest.Call) error {
		if strings.HasPrefix(c.Name, "CreateLoad") {
			return errors.New("injected")
		}
		return nil
	}})
	require.NoError(t, driver.Sync(t.Context(), sinktest.NewState(web)))
	require.Equal(t, 1, observed)
	registry := prometheus.NewPedanticRegistry()
	for _, c := range d.Collectors {
		require.NoError(t, registry.Register(c))
	}
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP kubeproxy_sync_proxy_rules_winkernel_lb_create_failures_total Failed calls of HNS to create a load balancer.
# TYPE kubeproxy_sync_proxy_rules_winkernel_lb_create_failures_total counter
kubeproxy_sync_proxy_rules_winkernel_lb_create_failures_total{error="other",ip_family="IPv4"} 1
`)))
	fake.SetFaults(hnstest.Faults{})
	require.NoError(t, driver.Sync(t.Context(), sinktest.NewState(web)))
	require.Contains(t, fake.Describe(), "TCP 10.96.0.1:80 -> 80 [10.244.1.1]")
	require.NoError(t, d.Close())
}
