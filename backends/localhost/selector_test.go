// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/consistent"
)

// weighted returns endpoints with the given weights.
func weighted(weights ...uint32) []localsink.Endpoint {
	var all []localsink.Endpoint
	for i, w := range weights {
		all = append(all, localsink.Endpoint{Addr: netip.AddrPortFrom(loopback(false), uint16(i+1)), Weight: w})
	}
	return all
}

// picked returns how often a port picks each endpoint for n connections from different source
// ports, and how many connections it refuses.
func picked(p *port, n int) (count map[uint16]int, refused int) {
	count = map[uint16]int{}
	for i := range n {
		endpoint, ok := p.pick(time.Time{}, net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback(false), uint16(i+1000))))
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
		p.set(desiredPort{endpoints: weighted(weights...)})
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
			p.set(desiredPort{endpoints: endpoints, selection: selection})
			got, _ := p.pick(time.Time{}, net.TCPAddrFromAddrPort(client))
			require.Equal(t, want, got, "%s, client %s", selection, client)
		}
	}
	p.set(desiredPort{endpoints: endpoints, selection: localsink.SelectionFlow})
	count, _ := picked(p, 100)
	require.Greater(t, len(count), 1, "flows have several endpoints")
}

func TestLeastConnections(t *testing.T) {
	p := &port{}
	p.set(desiredPort{endpoints: weighted(1, 2, 1), selection: localsink.SelectionLeastConnections})
	open := map[uint16]int{}
	for range 40 {
		endpoint, _ := p.pick(time.Time{}, nil)
		open[endpoint.Port()]++
	}
	require.Equal(t, map[uint16]int{1: 10, 2: 20, 3: 10}, open)
	for range 7 {
		p.release(netip.AddrPortFrom(loopback(false), 3))
	}
	for range 7 {
		endpoint, _ := p.pick(time.Time{}, nil)
		require.EqualValues(t, 3, endpoint.Port())
	}
	seen := map[uint16]bool{}
	for range 100 { // all have the same load
		endpoint, _ := p.pick(time.Time{}, nil)
		p.release(endpoint)
		seen[endpoint.Port()] = true
	}
	require.Len(t, seen, 3)
	p.set(desiredPort{endpoints: weighted(1, 2), selection: localsink.SelectionLeastConnections})
	for range 20 { // connections to an endpoint that was removed end later
		p.release(netip.AddrPortFrom(loopback(false), 3))
	}
	require.NotContains(t, p.connections, netip.AddrPortFrom(loopback(false), 3))
}

func TestDP19RefusedShare(t *testing.T) {
	p := &port{}
	p.set(desiredPort{endpoints: weighted(1, 1), refused: 800})
	_, refused := picked(p, 2000)
	require.InDelta(t, 1600, refused, 90, "five times the standard deviation")

	p.set(desiredPort{endpoints: weighted(1, 1), affinity: time.Hour})
	first, ok := p.pick(time.Now(), nil)
	require.True(t, ok)
	p.set(desiredPort{endpoints: weighted(1, 1), affinity: time.Hour, refused: 1000})
	for range 50 {
		endpoint, ok := p.pick(time.Now(), nil)
		require.True(t, ok, "clients with an affinity entry are not refused")
		require.Equal(t, first, endpoint)
	}
	p.set(desiredPort{endpoints: weighted(1, 1), affinity: time.Minute, refused: 1000})
	_, ok = p.pick(time.Now(), nil)
	require.False(t, ok, "a change of the duration has removed the entry")
}

// TestDP19RefusedConnections uses real connections.
func TestDP19RefusedConnections(t *testing.T) {
	f, a := newFixture(t, Config{}, loopbackNode(loopback(false))), newEndpoint(t, "a", false)
	share := func(perMille uint16, affinity time.Duration) {
		svc := f.service("web", affinity, a)
		svc.Ports[0].RefusedPerMille = perMille
		f.sync(svc)
	}
	share(0, 0)
	c := f.expectEndpoint(false, "a")
	share(1000, 0)
	f.expectRefused(false)
	expectEcho(t, c)
	share(999, 0)
	resets := 0
	for range 50 {
		if _, _, err := f.connect(false); err != nil {
			require.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF), err)
			resets++
		}
	}
	require.Greater(t, resets, 40)
	share(0, 0)
	f.expectEndpoint(false, "a")
	open := int64(2 + 50 - resets) // of 50 connections, one in a thousand is not refused
	require.Eventually(t, func() bool { return f.sink.Stats().Connections == open }, 10*time.Second, time.Millisecond, "refused connections have ended")
	share(0, time.Hour)
	f.expectEndpoint(false, "a")
	share(1000, time.Hour)
	f.expectEndpoint(false, "a")
}
