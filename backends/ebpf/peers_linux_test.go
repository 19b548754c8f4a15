// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/ebpf/internal/bytecode"
	"sigs.k8s.io/kpng/localsink"
)

// inUse returns how many elements of the map connected belong to a socket.
func inUse(t *testing.T, b *bed) int {
	t.Helper()
	n := 0
	m := b.backend.kernel.(*linuxKernel).shared[bytecode.ServicesMapConnected]
	var index uint32
	var element bytecode.ServicesPeer
	for all := m.Iterate(); all.Next(&index, &element); {
		if element.Socket != 0 {
			n++
		}
	}
	return n
}

// TestPeersOfClosedSocketsAreFreed: each connected socket has one element of the map, until it is
// closed, whether the connection succeeds or not.
func TestPeersOfClosedSocketsAreFreed(t *testing.T) {
	b := newBed(t, Config{})
	for network, protocol := range map[string]localsink.Protocol{"tcp": localsink.ProtocolTCP, "udp": localsink.ProtocolUDP} {
		eachFamily(t, func(t *testing.T, vip string, endpoints []string) {
			b.sync(web(protocol, nil, endpoints...))
			if protocol == localsink.ProtocolTCP {
				_, err := dial(b.pod, network, vip) // no server listens yet
				require.Error(t, err)
				require.Zero(t, inUse(t, b))
			}
			serve(t, b.node, protocol, endpoints...)
			c, err := dial(b.pod, network, vip)
			require.NoError(t, err)
			require.Equal(t, 1, inUse(t, b))
			require.NoError(t, c.Close())
			require.Zero(t, inUse(t, b))
		})
	}
}

// TestPeersWithoutFreeElement: getpeername returns the address of the Service also if the elements
// of the map belong to other sockets.
func TestPeersWithoutFreeElement(t *testing.T) {
	b := newBed(t, Config{})
	m := b.backend.kernel.(*linuxKernel).shared[bytecode.ServicesMapConnected]
	for i := range m.MaxEntries() {
		require.NoError(t, m.Put(i, bytecode.ServicesPeer{Socket: 1<<62 + uint64(i)}))
	}
	eachFamily(t, func(t *testing.T, vip string, endpoints []string) {
		b.sync(web(localsink.ProtocolTCP, nil, endpoints...))
		serve(t, b.node, localsink.ProtocolTCP, endpoints...)
		c, err := dial(b.pod, "tcp", vip)
		require.NoError(t, err)
		require.Equal(t, vip, c.RemoteAddr().String())
		require.NoError(t, c.Close())
		require.Equal(t, int(m.MaxEntries()), inUse(t, b), "the elements of other sockets remain")
	})
}
