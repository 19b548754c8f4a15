// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestSyncDumpsEachFamilyOnce: Sync dumps a family once, and only if it may have stale
// flows. Only flows to permitted addresses of the node are node port flows.
func TestSyncDumpsEachFamilyOnce(t *testing.T) {
	const vip6, endpoint6 = "[fd00:96::1]:53", "[fd00::1]:5353"
	b, table := newFake()
	table.local = append(table.local, netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1"))
	table.flows = []flow{
		{addr(vip), addr(one)}, {addr(vip), addr(two)},
		{addr(onNode), addr(two)}, {addr(elsewhere), addr(two)}, {addr("203.0.113.1:30053"), addr(two)},
		{addr(vip6), addr(endpoint6)},
	}
	node := &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	d := sinktest.Driver{Sink: b, Node: node}
	frontends := []string{vip, nodePort}

	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(udp("dns", frontends, []string{one, two}))))
	require.Equal(t, []bool{true}, table.dumps, "no IPv6 frontend")
	require.Len(t, table.flows, 6)
	require.Equal(t, Stats{Dumps: 1}, b.Stats())
	require.Empty(t, table.log.String())

	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(udp("dns", frontends, []string{one, two, old}))))
	require.Len(t, table.dumps, 1, "an added endpoint causes no dump")

	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(udp("dns", frontends, []string{one, old}), udp("six", []string{vip6}, []string{endpoint6}))))
	require.Equal(t, []bool{true, true, false}, table.dumps)
	require.Equal(t, []flow{
		{addr(vip), addr(one)}, {addr(elsewhere), addr(two)}, {addr("203.0.113.1:30053"), addr(two)}, {addr(vip6), addr(endpoint6)},
	}, table.flows)
	require.Equal(t, Stats{Dumps: 3, Removed: 2}, b.Stats())
	require.Contains(t, table.log.String(), "flows=2")
	require.Len(t, table.done, 6, "one for each Sync and family")
	require.EqualValues(t, 2, table.done[4].Removed)
	require.Positive(t, table.done[4].Duration)
	require.True(t, table.done[5].IPv6)
	require.Equal(t, Reconciliation{IPv6: true}, table.done[3], "nothing could be stale")

	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(udp("dns", frontends, []string{one, old}))))
	require.Equal(t, []bool{true, true, false, false}, table.dumps)
	require.Len(t, table.flows, 3)
	require.NoError(t, b.Close())
	require.True(t, table.closed)
}

// TestFlowsThatBeganWithoutRulesAreRemoved: after an external change of the rules, Sync receives an
// update without a delta.
func TestFlowsThatBeganWithoutRulesAreRemoved(t *testing.T) {
	b, table := newFake()
	d := sinktest.Driver{Sink: b, Node: &localsink.Node{}}
	state := sinktest.NewState(udp("dns", []string{vip, nodePort}, []string{one}))
	require.NoError(t, d.Sync(t.Context(), state))
	table.flows = []flow{{addr(vip), addr(vip)}, {addr(vip), addr(one)}, {addr(elsewhere), addr(elsewhere)}}
	require.NoError(t, b.Sync(t.Context(), &localsink.Update{Node: d.Node, All: state, NodeChanged: true}))
	require.Len(t, table.flows, 3, "another property of the node")
	require.NoError(t, b.Sync(t.Context(), &localsink.Update{Node: d.Node, All: state}))
	require.Equal(t, []flow{{addr(vip), addr(one)}, {addr(elsewhere), addr(elsewhere)}}, table.flows)
}

// TestFlowsAreComparedAfterRepairs: with a count of repairs, an update without a delta costs no dump, and
// one with a delta that follows a repair examines all frontends.
func TestFlowsAreComparedAfterRepairs(t *testing.T) {
	b, table := newFake()
	repairs := uint64(0)
	b.counts = func() (uint64, bool) { return repairs, true }
	d := sinktest.Driver{Sink: b, Node: &localsink.Node{}}
	dns := udp("dns", []string{vip, nodePort}, []string{one})
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(dns)))
	empty := func(state localsink.State) error {
		return b.Sync(t.Context(), &localsink.Update{Node: d.Node, All: state})
	}
	dumps := len(table.dumps)
	require.NoError(t, empty(sinktest.NewState(dns)))
	require.Len(t, table.dumps, dumps, "no repair")

	flows := []flow{{addr(vip), addr(vip)}, {addr(vip), addr(one)}, {addr(vip), addr(two)}, {addr("10.96.0.8:53"), addr("10.96.0.8:53")}}
	table.flows = slices.Clone(flows)
	repairs++
	withAdded := sinktest.NewState(udp("dns", []string{vip, nodePort}, []string{one, two}), udp("new", []string{"10.96.0.8:53"}, []string{one}))
	injected := errors.New("injected")
	table.removeErr = injected
	require.ErrorIs(t, d.Sync(t.Context(), withAdded), injected)
	table.removeErr = nil
	require.NoError(t, d.Sync(t.Context(), withAdded))
	require.Equal(t, []flow{flows[1], flows[2]}, table.flows, "flows to the added endpoint stay")

	table.flows, repairs = slices.Clone(flows), repairs+5
	require.NoError(t, empty(withAdded))
	require.Equal(t, []flow{flows[1], flows[2]}, table.flows)
	dumps = len(table.dumps)
	require.NoError(t, empty(withAdded))
	require.Len(t, table.dumps, dumps)

	// If the number is not known, only updates without a delta may follow a repair.
	b.counts = func() (uint64, bool) { repairs++; return repairs, false }
	more := sinktest.NewState(udp("dns", []string{vip, nodePort}, []string{one, two, old}), udp("new", []string{"10.96.0.8:53"}, []string{one}))
	require.NoError(t, d.Sync(t.Context(), more))
	require.Len(t, table.dumps, dumps)
	require.NoError(t, empty(more))
	require.Len(t, table.dumps, dumps+1)
}

// TestChangedNodePortAddresses: where node ports begin to answer, flows that are not translated
// end; where they no longer do, those that are.
func TestChangedNodePortAddresses(t *testing.T) {
	const other = "203.0.113.1:30053"
	b, table := newFake()
	table.local = append(table.local, addr(other).Addr())
	networks := func(s ...string) *localsink.Node {
		n := &localsink.Node{}
		for _, text := range s {
			n.NodePortAddresses = append(n.NodePortAddresses, netip.MustParsePrefix(text))
		}
		return n
	}
	d := sinktest.Driver{Sink: b, Node: networks("192.0.2.0/24")}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(udp("dns", []string{vip, nodePort}, []string{one}))))
	dumps := len(table.dumps)
	flows := []flow{
		{addr(onNode), addr(one)}, {addr(onNode), addr(onNode)}, {addr(other), addr(other)}, {addr(other), addr(two)},
		{addr(vip), addr(one)}, {addr(elsewhere), addr(one)}, {addr("192.0.2.1:99"), addr("192.0.2.1:99")},
	}
	table.flows = slices.Clone(flows)

	// A failed Sync, then one with another endpoint: the flow to it stays.
	injected := errors.New("injected")
	d.Node, table.removeErr = networks("203.0.113.0/24"), injected
	state := sinktest.NewState(udp("dns", []string{vip, nodePort}, []string{one, two}))
	require.ErrorIs(t, d.Sync(t.Context(), state), injected)
	table.removeErr = nil
	require.NoError(t, d.Sync(t.Context(), state))
	require.Equal(t, []flow{flows[1], flows[3], flows[4], flows[5], flows[6]}, table.flows)
	require.Len(t, table.dumps, dumps+2)

	table.flows = nil
	require.NoError(t, b.Sync(t.Context(), &localsink.Update{Node: d.Node, All: state, NodeChanged: true}))
	require.Len(t, table.dumps, dumps+2, "the addresses are the same")
}

// TestFailedUpdateIsReverted: the sinks before this one apply an update that fails here. When the
// next one reverts it, flows that began meanwhile are removed.
func TestFailedUpdateIsReverted(t *testing.T) {
	const other, added = "203.0.113.1:30053", "10.96.0.7:53"
	injected := errors.New("injected")
	b, table := newFake()
	table.local = append(table.local, addr(other).Addr())
	before := &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	after := &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	d := sinktest.Driver{Sink: b, Node: before}
	state := sinktest.NewState(udp("dns", []string{vip, nodePort}, []string{one}))
	require.NoError(t, d.Sync(t.Context(), state))

	table.removeErr, d.Node = injected, after
	changed := sinktest.NewState(udp("dns", []string{vip, nodePort}, []string{two}), udp("added", []string{added}, []string{one}))
	require.ErrorIs(t, d.Sync(t.Context(), changed), injected)
	table.flows = []flow{
		{addr(vip), addr(two)}, {addr(vip), addr(one)}, {addr(added), addr(one)},
		{addr(onNode), addr(onNode)}, {addr(onNode), addr(one)}, {addr(other), addr(two)}, {addr(other), addr(other)},
	}
	flows := slices.Clone(table.flows)
	table.removeErr, d.Node = nil, before
	require.NoError(t, d.Sync(t.Context(), state))
	require.Equal(t, []flow{flows[1], flows[4], flows[6]}, table.flows)

	dumps := len(table.dumps)
	require.NoError(t, b.Sync(t.Context(), &localsink.Update{Node: before, All: state, NodeChanged: true}))
	require.Len(t, table.dumps, dumps, "nothing has failed since")
}

// TestOP14ErrorsAreRetried: after an error the next Sync examines the same frontends.
func TestOP14ErrorsAreRetried(t *testing.T) {
	injected := errors.New("injected")
	b, table := newFake()
	table.flows = []flow{{addr(vip), addr(old)}}
	d := sinktest.Driver{Sink: b, Node: &localsink.Node{}}
	state := sinktest.NewState(udp("dns", []string{vip}, []string{one}))

	table.removeErr = injected
	require.ErrorIs(t, d.Sync(t.Context(), state), injected)
	require.Len(t, table.dumps, 1, "an error is not retried within Sync")
	table.removeErr, table.addressErr = nil, injected
	err := d.Sync(t.Context(), state)
	require.ErrorIs(t, err, injected)
	require.ErrorContains(t, err, "conntrack: list node addresses: ")
	table.addressErr = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, d.Sync(ctx, state), context.Canceled)
	require.Len(t, table.dumps, 1)
	require.Empty(t, b.applied)
	require.NoError(t, d.Sync(t.Context(), state))
	require.Empty(t, table.flows)
	require.Len(t, b.applied, 1)
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState()))
	require.Empty(t, b.applied)
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(tcpOnly(udp("web", []string{vip}, []string{one})))))
	require.Empty(t, b.applied, "a Service without UDP has no entry")
}
