// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

// TestConnections connects from the node and from a pod over TCP and UDP, in both families.
func TestConnections(t *testing.T) {
	b := newBed(t, Config{})
	eachFamily(t, func(t *testing.T, vip string, endpoints []string) {
		for network, protocol := range map[string]localsink.Protocol{"tcp": localsink.ProtocolTCP, "udp": localsink.ProtocolUDP} {
			b.sync(web(protocol, nil, endpoints...))
			serve(t, b.node, protocol, endpoints...)
			for _, from := range []*netnstest.Namespace{b.node, b.pod} {
				used := map[string]int{}
				for range 40 {
					used[ask(t, from, network, vip)]++
				}
				require.Len(t, used, 2, used)
				c, err := dial(from, network, vip)
				require.NoError(t, err)
				require.Equal(t, vip, c.RemoteAddr().String(), "getpeername")
				require.NoError(t, c.Close())
			}
		}
	})
}

// TestUnconnectedUDP: the packets of a socket to one frontend go to one endpoint, and answers
// come from the frontend.
func TestUnconnectedUDP(t *testing.T) {
	b := newBed(t, Config{})
	eachFamily(t, func(t *testing.T, vip string, endpoints []string) {
		b.sync(web(localsink.ProtocolUDP, nil, endpoints...))
		serve(t, b.node, localsink.ProtocolUDP, endpoints...)
		to, err := net.ResolveUDPAddr("udp", vip)
		require.NoError(t, err)
		used := map[string]int{}
		for range 20 {
			c := listenUDP(t, b.pod, "")
			first := ""
			for range 5 {
				_, err := c.WriteTo([]byte("x"), to)
				require.NoError(t, err)
				require.NoError(t, c.SetDeadline(time.Now().Add(3*time.Second)))
				var buf [100]byte
				n, from, err := c.ReadFrom(buf[:])
				require.NoError(t, err)
				require.Equal(t, vip, from.String())
				if first == "" {
					first = string(buf[:n])
				}
				require.Equal(t, first, string(buf[:n]))
			}
			used[first]++
		}
		require.Len(t, used, 2, used)
	})
}

// TestRefused: without endpoints, connecting and sending fail at once.
func TestRefused(t *testing.T) {
	b := newBed(t, Config{})
	tcp, udp := web(localsink.ProtocolTCP, nil), web(localsink.ProtocolUDP, nil)
	tcp.Ports = append(tcp.Ports, udp.Ports...)
	b.sync(tcp)
	for _, network := range []string{"tcp", "udp"} {
		start := time.Now()
		_, err := dial(b.pod, network, "10.96.0.1:80")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.Less(t, time.Since(start), time.Second, "without an answer, a client sends again after a second")
	}
	_, err := listenUDP(t, b.pod, "").WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(10, 96, 0, 1), Port: 80})
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}
