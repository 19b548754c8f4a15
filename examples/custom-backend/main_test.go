// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func service(endpoints ...string) *localsink.Service {
	var pool localsink.Pool
	for _, e := range endpoints {
		pool.Endpoints = append(pool.Endpoints, localsink.Endpoint{Addr: netip.MustParseAddrPort(e), Weight: 1})
	}
	routes := []localsink.Route{{}}
	return &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: "web"}, Ports: []localsink.Port{{
		Protocol: localsink.ProtocolTCP, Pools: []localsink.Pool{pool},
		Frontends: []localsink.Frontend{
			{Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"), Routes: routes},
			{Kind: localsink.KindLoadBalancer, Addr: netip.MustParseAddrPort("203.0.113.1:80"), Routes: routes,
				SourceRanges: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
		},
	}}}
}

func TestFileHasEachEndpointAndItsClients(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lb.conf")
	d := sinktest.Driver{Sink: newConfigFile(path), Node: &localsink.Node{}}
	sync := func(want string, services ...*localsink.Service) os.FileInfo {
		t.Helper()
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(services...)))
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(data))
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info
	}
	const one = "TCP 10.96.0.1:80 from any to 10.0.0.1:80 # ns/web\n" +
		"TCP 203.0.113.1:80 from [198.51.100.0/24] to 10.0.0.1:80 # ns/web\n"
	require.NoError(t, os.WriteFile(path, []byte("of an earlier process\n"), 0o600))
	sync("")
	before := sync(one, service("10.0.0.1:80"))
	require.True(t, os.SameFile(before, sync(one, service("10.0.0.1:80"))), "an equal file stays")
	after := sync("", service())
	require.False(t, os.SameFile(before, after), "a new file replaces the old one")
}

// TestLaws: the file depends on the last state only, and shows what the sink declares.
func TestLaws(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{New: func(t *testing.T) (localsink.Sink, func() string) {
		path := filepath.Join(t.TempDir(), "lb.conf")
		return newConfigFile(path), func() string {
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			return string(data)
		}
	}})
}

func TestWeights(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lb.conf")
	d := sinktest.Driver{Sink: newConfigFile(path), Node: &localsink.Node{}}
	svc := service("10.0.0.1:80", "10.0.0.2:80")
	svc.Ports[0].Pools[0].Endpoints[1].Weight = 3
	svc.Ports[0].Frontends = svc.Ports[0].Frontends[:1]
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(svc)))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "TCP 10.96.0.1:80 from any to 10.0.0.1:80 # ns/web\nTCP 10.96.0.1:80 from any to 10.0.0.2:80 weight 3 # ns/web\n", string(data))
}

func TestFailedUpdateIsWrittenLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	path := filepath.Join(dir, "lb.conf")
	d := sinktest.Driver{Sink: newConfigFile(path), Node: &localsink.Node{}}
	require.Error(t, d.Sync(t.Context(), sinktest.NewState(service("10.0.0.1:80"))))
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(service("10.0.0.1:80"))))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(data), "to 10.0.0.1:80 # ns/web")
}

func TestUsage(t *testing.T) {
	require.EqualError(t, run(t.Context(), nil), "usage: custom-backend [-proxy-name NAME] KUBECONFIG NODE FILE")
}
