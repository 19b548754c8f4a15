// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/consistent"
)

// weighted returns endpoints with the given weights.
func weighted(weights ...uint32) []localsink.Endpoint {
	var all []localsink.Endpoint
	for i, w := range weights {
		all = append(all, localsink.Endpoint{Addr: netip.AddrPortFrom(loopback(), uint16(i+1)), Weight: w})
	}
	return all
}

// newPort returns a port with the given settings.
func newPort(p localsink.Port, endpoints []localsink.Endpoint) *port {
	state := &port{}
	state.change(p, endpoints)
	return state
}

// change replaces the settings.
func (p *port) change(desired localsink.Port, endpoints []localsink.Endpoint) {
	desired.Pools = []localsink.Pool{{Endpoints: endpoints}}
	p.set(newPortSettings(&desired, p.settings.Load()))
}

// pickFor picks an endpoint of the first pool.
func (p *port) pickFor(client netip.AddrPort) (netip.AddrPort, bool) {
	s := p.settings.Load()
	return p.pick(s, s.selectors[0], client, time.Now())
}

// clientAt returns a client with a source port.
func clientAt(port int) netip.AddrPort { return netip.AddrPortFrom(loopback(), uint16(port)) }

// picked returns how often a port picks each endpoint for n connections from different source
// ports, and how many connections it refuses.
func picked(p *port, n int) (count map[uint16]int, refused int) {
	count = map[uint16]int{}
	for i := range n {
		endpoint, ok := p.pickFor(clientAt(i + 1000))
		if !ok {
			refused++
			continue
		}
		p.release(endpoint)
		count[endpoint.Port()]++
	}
	return count, refused
}

func TestDP16Weights(t *testing.T) {
	p := &port{}
	for _, weights := range [][]uint32{{1, 3, 6}, {6, 3, 1}, {2, 2}, {1 << 31, 1 << 31, 1 << 30}, {1}} {
		p.change(localsink.Port{}, weighted(weights...))
		sum, chi := uint64(0), 0.0
		for _, w := range weights {
			sum += uint64(w)
		}
		count, _ := picked(p, 2000)
		for i, w := range weights {
			want := 2000 * float64(w) / float64(sum)
			d := float64(count[uint16(i+1)]) - want
			chi += d * d / want
		}
		require.Less(t, chi, 27.63, "%v: a correct choice exceeds it once in a million runs: %v", weights, count)
	}
}

func TestDP17ConsistentSelection(t *testing.T) {
	endpoints := weighted(1, 2, 5, 1)
	list := make([]consistent.Endpoint, len(endpoints))
	for i, e := range endpoints {
		list[i] = consistent.Endpoint{Addr: e.Addr, Weight: e.Weight}
	}
	table := consistent.NewTable(list)
	byHash := func(hash uint32) netip.AddrPort { return list[table[table.Slot(hash)]].Addr }
	p := &port{}
	for i := range 200 {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(i % 100)}), uint16(1000+i))
		for selection, want := range map[localsink.Selection]netip.AddrPort{
			localsink.SelectionClient: byHash(consistent.HashClient(client.Addr())), localsink.SelectionFlow: byHash(consistent.HashFlow(client)),
		} {
			p.change(localsink.Port{Selection: selection}, endpoints)
			got, _ := p.pickFor(client)
			require.Equal(t, want, got, "%s, client %s", selection, client)
		}
	}
	p.change(localsink.Port{Selection: localsink.SelectionFlow}, endpoints)
	count, _ := picked(p, 100)
	require.Greater(t, len(count), 1, "flows have several endpoints")
}

func TestLeastConnections(t *testing.T) {
	p := &port{}
	p.change(localsink.Port{Selection: localsink.SelectionLeastConnections}, weighted(1, 2, 1))
	open := map[uint16]int{}
	for range 40 {
		endpoint, _ := p.pickFor(clientAt(1))
		open[endpoint.Port()]++
	}
	require.Equal(t, map[uint16]int{1: 10, 2: 20, 3: 10}, open)
	for range 7 {
		p.release(netip.AddrPortFrom(loopback(), 3))
	}
	for range 7 {
		endpoint, _ := p.pickFor(clientAt(1))
		require.EqualValues(t, 3, endpoint.Port())
	}
	seen := map[uint16]bool{}
	for range 100 { // all have the same load
		endpoint, _ := p.pickFor(clientAt(1))
		p.release(endpoint)
		seen[endpoint.Port()] = true
	}
	require.Len(t, seen, 3)
	p.change(localsink.Port{Selection: localsink.SelectionLeastConnections}, weighted(1, 2))
	for range 10 { // connections to an endpoint that was removed end later
		p.release(netip.AddrPortFrom(loopback(), 3))
	}
	require.Zero(t, p.active(netip.AddrPortFrom(loopback(), 3)))
}

func TestDP19RefusedShare(t *testing.T) {
	p := &port{}
	p.change(localsink.Port{RefusedPerMille: 800}, weighted(1, 1))
	_, refused := picked(p, 2000)
	require.InDelta(t, 1600, refused, 90, "five times the standard deviation")

	p.change(localsink.Port{Affinity: time.Hour}, weighted(1, 1))
	first, ok := p.pickFor(clientAt(1))
	require.True(t, ok)
	p.change(localsink.Port{Affinity: time.Hour, RefusedPerMille: 1000}, weighted(1, 1))
	for range 50 {
		endpoint, ok := p.pickFor(clientAt(1))
		require.True(t, ok, "clients with an affinity entry are not refused")
		require.Equal(t, first, endpoint)
	}
	_, ok = p.pickFor(netip.MustParseAddrPort("192.0.2.1:1"))
	require.False(t, ok, "another client has no entry")
}

// TestAffinityExpires uses fake time.
func TestAffinityExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		many := weighted(slices.Repeat([]uint32{1}, 1000)...)
		p := newPort(localsink.Port{Affinity: time.Minute}, many)
		pick := func() netip.AddrPort {
			endpoint, ok := p.pickFor(clientAt(1))
			require.True(t, ok)
			return endpoint
		}
		set := func(affinity time.Duration) { p.change(localsink.Port{Affinity: affinity}, many) }
		first := pick()
		for range 10 { // each connection renews the entry
			time.Sleep(time.Minute - time.Nanosecond)
			require.Equal(t, first, pick())
		}
		set(time.Minute)
		require.Equal(t, first, pick(), "nothing has changed")
		set(time.Hour)
		time.Sleep(time.Hour - time.Nanosecond)
		require.Equal(t, first, pick(), "the new duration applies to the entry")
		// Six random choices among 1,000 endpoints are never all the same.
		expectNewChoice := func(why string, f func()) {
			seen := map[netip.AddrPort]bool{}
			for range 6 {
				f()
				seen[pick()] = true
			}
			require.Greater(t, len(seen), 1, why)
		}
		expectNewChoice("the entry expired", func() { time.Sleep(time.Hour) })
		expectNewChoice("affinity was turned off", func() { set(0) })
	})
}

// TestAffinityIsBounded: expired entries are removed, and others when there are too many.
func TestAffinityIsBounded(t *testing.T) {
	var table affinityTable
	start := time.Now()
	add := func(n int, at time.Time) {
		for i := range n {
			client := netip.AddrFrom16([16]byte{0: 0xfd, 12: byte(i >> 24), 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
			table.put(client.Next(), affinityEntry{lastUsed: at}, time.Minute)
		}
	}
	add(1000, start)
	require.Len(t, table, 1000)
	table.put(loopback(), affinityEntry{lastUsed: start}, time.Minute)
	add(maxAffinityEntries+1000, start)
	require.Len(t, table, maxAffinityEntries)
	table = nil
	add(127, start)
	for i := range 2 {
		table.put(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), affinityEntry{lastUsed: start.Add(time.Minute)}, time.Minute)
	}
	require.Len(t, table, 2, "the first 127 entries have expired")
}
