// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestSyncReadsWhatItMust: a family is read once, only when something in it is
// suspicious, and only flows at the node's own permitted addresses are node port flows.
func TestSyncReadsWhatItMust(t *testing.T) {
	const six, sixth = "[fd00:96::1]:53", "[fd00::1]:5353"
	b, k := faked()
	k.local = append(k.local, netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1"))
	k.flows = []flow{
		{addr(vip), addr(one)}, {addr(vip), addr(two)},
		{addr(onNode), addr(two)}, {addr(elsewhere), addr(two)}, {addr("203.0.113.1:30053"), addr(two)},
		{addr(six), addr(sixth)},
	}
	node := &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	d := sinktest.Driver{Sink: b, Node: node}
	fronts := []string{vip, nodePort}

	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(udp("dns", fronts, []string{one, two}))))
	require.Equal(t, []bool{true}, k.dumps, "nothing is of IPv6")
	require.Len(t, k.flows, 6)
	require.Equal(t, Stats{Dumps: 1}, b.Stats())
	require.Empty(t, k.log.String())

	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(udp("dns", fronts, []string{one, two, old}))))
	require.Len(t, k.dumps, 1, "one more endpoint is harmless")

	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(udp("dns", fronts, []string{one, old}), udp("six", []string{six}, []string{sixth}))))
	require.Equal(t, []bool{true, true, false}, k.dumps)
	require.Equal(t, []flow{
		{addr(vip), addr(one)}, {addr(elsewhere), addr(two)}, {addr("203.0.113.1:30053"), addr(two)}, {addr(six), addr(sixth)},
	}, k.flows)
	require.Equal(t, Stats{Dumps: 3, Removed: 2}, b.Stats())
	require.Contains(t, k.log.String(), "flows=2")

	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(udp("dns", fronts, []string{one, old}))))
	require.Equal(t, []bool{true, true, false, false}, k.dumps)
	require.Len(t, k.flows, 3)
	b.Close()
	require.True(t, k.closed)
}

// TestOP14ErrorsAcceptNothing: what was suspicious is so again after an error.
func TestOP14ErrorsAcceptNothing(t *testing.T) {
	injected := errors.New("injected")
	b, k := faked()
	k.flows = []flow{{addr(vip), addr(old)}}
	d := sinktest.Driver{Sink: b, Node: &localsink.Node{}}
	state := sinktest.NewState(udp("dns", []string{vip}, []string{one}))

	k.removeErr = injected
	require.ErrorIs(t, d.Sync(t.Context(), state), injected)
	require.Len(t, k.dumps, 1, "no second attempt at once")
	k.removeErr, k.addressErr = nil, injected
	err := d.Sync(t.Context(), state)
	require.ErrorIs(t, err, injected)
	require.ErrorContains(t, err, "conntrack: addresses of the node: ")
	k.addressErr = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, d.Sync(ctx, state), context.Canceled)
	require.Len(t, k.dumps, 1)
	require.Empty(t, b.acknowledged)
	require.NoError(t, d.Sync(t.Context(), state))
	require.Empty(t, k.flows)
	require.Len(t, b.acknowledged, 1)
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState()))
	require.Empty(t, b.acknowledged)
	tcp := udp("web", []string{vip}, []string{one})
	tcp.Ports = tcp.Ports[1:]
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(tcp)))
	require.Empty(t, b.acknowledged, "Services without UDP take no place")
}
