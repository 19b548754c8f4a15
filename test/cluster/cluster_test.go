// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/test/cluster"
)

func TestAllPlacesReachEachOther(t *testing.T) {
	if os.Getuid() != 0 && os.Getenv("KPNG_REQUIRE_NETNS") != "1" {
		t.Skip("needs root")
	}
	defer goleak.VerifyNone(t)
	begin := time.Now()
	c, err := cluster.New(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	t.Logf("built in %v", time.Since(begin).Round(time.Millisecond))

	for _, from := range c.Places {
		for _, to := range c.Places {
			if to == c.Client {
				continue
			}
			for i, addr := range to.Addrs {
				for _, network := range []string{"tcp", "udp"} {
					got := from.Probe(t.Context(), network, netip.AddrPortFrom(addr, cluster.ServerPort), 2*time.Second)
					require.Equal(t, to.Name+":8080", got.Server, "%s to %s %s", from.Name, network, addr)
					if from.Namespace != to.Namespace && from != c.Node {
						require.Equal(t, from.Addrs[i], got.Source, "%s to %s %s", from.Name, network, addr)
					}
					require.True(t, from.Has(got.Source) || from.Namespace == to.Namespace, "%s: source is %v", from.Name, got.Source)
				}
			}
		}
	}
	refused := c.Client.Probe(t.Context(), "udp", netip.AddrPortFrom(c.Node.Addrs[1], 9), 2*time.Second)
	require.Equal(t, cluster.Refused, refused.Server)
	unknown := c.Client.Probe(t.Context(), "tcp", netip.MustParseAddrPort("203.0.113.9:80"), 300*time.Millisecond)
	require.Equal(t, cluster.Timeout, unknown.Server)
	many := c.Node.Probe(t.Context(), "tcp", netip.MustParseAddrPort("10.201.7.9:8082"), 2*time.Second)
	require.Equal(t, "10.201.7.9:8082", many.Server)
}

// With one port for all connections, a second one to another address shares it, unless each has its own.
func TestOwnSourcePorts(t *testing.T) {
	if os.Getuid() != 0 && os.Getenv("KPNG_REQUIRE_NETNS") != "1" {
		t.Skip("needs root")
	}
	c, err := cluster.New(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	out, err := c.Client.Namespace.Output(t.Context(), "sh", "-c", "echo 40000 40000 > /proc/sys/net/ipv4/ip_local_port_range")
	require.NoError(t, err, out)
	dial := func(to string) (*cluster.Conn, error) {
		return c.Client.Dial(t.Context(), "tcp", netip.AddrPortFrom(c.Places[to].Addrs[0], cluster.ServerPort))
	}
	first, err := dial("pod1")
	require.NoError(t, err)
	defer first.Close()
	shared, err := dial("pod2")
	require.NoError(t, err)
	require.NoError(t, shared.Close())
	c.Client.OwnSourcePorts = true
	_, err = dial("pod3")
	require.ErrorIs(t, err, syscall.EADDRINUSE)
}
