// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

const protocolUDP = localsink.ProtocolUDP

// selects reports whether m selects a UDP flow, by definition.
func selects(m Match, f flow) bool {
	matches := func(want, got netip.AddrPort) bool {
		return want == netip.AddrPort{} || want.Addr() == got.Addr() && (want.Port() == 0 || want.Port() == got.Port())
	}
	onlyEndpoint := m.Frontend == netip.AddrPort{}
	return m.Protocol == protocolUDP && matches(m.Frontend, f.destination) && matches(m.Endpoint, f.replySource) &&
		!(onlyEndpoint && f.destination == f.replySource)
}

// TestCutRemovesExactlyTheMatches: random flows and matches. The number is that of removed
// flows, a second call removes nothing, and each family is read at most once.
func TestCutRemovesExactlyTheMatches(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	addresses := map[bool][]netip.Addr{
		true:  {netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")},
		false: {netip.MustParseAddr("fd00:96::1"), netip.MustParseAddr("fd00::1")},
	}
	pick := func(v4 bool, firstPort int) netip.AddrPort {
		all := addresses[v4]
		return netip.AddrPortFrom(all[random.IntN(len(all))], uint16(firstPort+random.IntN(3)))
	}
	removedInAll := uint(0)
	for range 3000 {
		table := &fakeTable{}
		c := &Cutter{table: table}
		for range random.IntN(20) {
			v4 := random.IntN(2) == 0
			table.flows = append(table.flows, flow{pick(v4, 1), pick(v4, 1)})
		}
		var matches []Match
		families := map[bool]bool{}
		for range random.IntN(4) {
			m, v4 := Match{Protocol: protocolUDP}, random.IntN(2) == 0
			if random.IntN(5) == 0 {
				m.Protocol = localsink.ProtocolTCP
			}
			if random.IntN(2) == 0 {
				m.Frontend = pick(v4, 0)
			}
			if random.IntN(2) == 0 || !m.Frontend.IsValid() {
				m.Endpoint = pick(v4, 0)
			}
			matches, families[v4] = append(matches, m), true
		}
		left := slices.DeleteFunc(slices.Clone(table.flows), func(f flow) bool {
			return slices.ContainsFunc(matches, func(m Match) bool { return selects(m, f) })
		})
		before := len(table.flows)
		removed, err := c.Cut(t.Context(), matches...)
		require.NoError(t, err)
		require.EqualValues(t, before-len(left), removed)
		require.ElementsMatch(t, left, table.flows)
		require.Len(t, table.dumps, len(families))
		removedInAll += removed
		removed, err = c.Cut(t.Context(), matches...)
		require.NoError(t, err)
		require.Zero(t, removed)
	}
	require.Greater(t, removedInAll, uint(1000))
}

func TestCutRejectsInvalidMatches(t *testing.T) {
	table := &fakeTable{flows: []flow{{addr(vip), addr(one)}}}
	c := &Cutter{table: table}
	for want, m := range map[string]Match{
		"Protocol: unknown (0) is neither UDP nor TCP":                              {Frontend: addr(vip)},
		"Protocol: SCTP (132) is neither UDP nor TCP":                               {Protocol: localsink.ProtocolSCTP, Frontend: addr(vip)},
		"Frontend, Endpoint: one is required":                                       {Protocol: protocolUDP},
		"Frontend: address 0.0.0.0 is unspecified":                                  {Protocol: protocolUDP, Frontend: addr(nodePort)},
		"Endpoint: address :: is unspecified":                                       {Protocol: protocolUDP, Endpoint: addr("[::]:1")},
		"Frontend: port 53 without an address":                                      {Protocol: protocolUDP, Frontend: netip.AddrPortFrom(netip.Addr{}, 53), Endpoint: addr(one)},
		"Frontend: address fe80::1%eth0 has a zone":                                 {Protocol: protocolUDP, Frontend: addr("[fe80::1%eth0]:53")},
		"Frontend, Endpoint: 10.96.0.1:53 and [fd00::1]:53 have different families": {Protocol: protocolUDP, Frontend: addr(vip), Endpoint: addr("[fd00::1]:53")},
	} {
		removed, err := c.Cut(t.Context(), Match{Protocol: protocolUDP, Frontend: addr(vip)}, m)
		require.EqualError(t, err, "conntrack: matches[1]: "+want)
		require.Zero(t, removed)
	}
	require.Empty(t, table.dumps, "an invalid match removes nothing")
	removed, err := c.Cut(t.Context())
	require.NoError(t, err)
	require.Zero(t, removed)
	require.Empty(t, table.dumps)

	removed, err = c.Cut(t.Context(), Match{Protocol: protocolUDP, Frontend: addr("[::ffff:10.96.0.1]:53"), Endpoint: addr(one)})
	require.NoError(t, err)
	require.EqualValues(t, 1, removed, "an IPv4 address in IPv6 form")
}

// TestCutReturnsWhatItRemoved: the number is that of all attempts and families, also after
// an error.
func TestCutReturnsWhatItRemoved(t *testing.T) {
	flows := func() (all []flow) {
		for range 8 {
			all = append(all, flow{addr(vip), addr(one)})
		}
		return append(all, flow{addr("[fd00:96::1]:53"), addr("[fd00::1]:53")})
	}
	matches := []Match{{Protocol: protocolUDP, Frontend: addr(vip)}, {Protocol: protocolUDP, Frontend: addr("[fd00:96::1]:53")}}

	table := &fakeTable{flows: flows(), interrupted: 2}
	removed, err := (&Cutter{table: table}).Cut(t.Context(), matches...)
	require.NoError(t, err)
	require.EqualValues(t, 9, removed)
	require.Equal(t, []bool{true, true, true, false}, table.dumps)

	table = &fakeTable{flows: flows(), interrupted: maxAttempts}
	removed, err = (&Cutter{table: table}).Cut(t.Context(), matches...)
	require.ErrorIs(t, err, ErrIncomplete)
	require.EqualError(t, err, "conntrack: remove flows: the flow table changed while it was read, 5 times")
	require.EqualValues(t, 9-len(table.flows), removed)
	require.Equal(t, []bool{true, true, true, true, true, false}, table.dumps, "the other family is read")

	injected := errors.New("injected")
	table = &fakeTable{flows: flows(), removeErr: injected}
	removed, err = (&Cutter{table: table}).Cut(t.Context(), matches...)
	require.ErrorIs(t, err, injected)
	require.Zero(t, removed)

	table = &fakeTable{flows: flows()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	removed, err = (&Cutter{table: table}).Cut(ctx, matches...)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, removed)
	require.Empty(t, table.dumps)
}
