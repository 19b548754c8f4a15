// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/hns"
	"sigs.k8s.io/kpng/backends/hns/hnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestRandomHistories makes random changes of Services, of the node, of the network and of HNS,
// while calls fail before and after their effect and are interrupted. When the faults end, HNS has
// what a new one would have, and nothing is written any more.
func TestRandomHistories(t *testing.T) {
	histories := 300
	if testing.Short() {
		histories = 30
	}
	for seed := range uint64(histories) {
		synctest.Test(t, func(t *testing.T) {
			h := newHistory(t, seed)
			for range 40 {
				h.step()
			}
			h.check()
		})
	}
}

// FuzzHistories is TestRandomHistories with any seed and number of steps.
func FuzzHistories(f *testing.F) {
	f.Add(uint64(1), uint8(20))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) {
		synctest.Test(t, func(t *testing.T) {
			h := newHistory(t, seed)
			for range steps {
				h.step()
			}
			h.check()
		})
	})
}

// A history is a random sequence of changes.
type history struct {
	*rand.Rand
	*fixture

	seed     uint64
	overlay  bool
	network  hns.Network
	features hns.Features
	removed  bool // load balancers, by another program
	services map[int]*localsink.Service
}

func newHistory(t *testing.T, seed uint64) *history {
	t.Helper()
	h := &history{Rand: rand.New(rand.NewPCG(seed, 16)), seed: seed, services: map[int]*localsink.Service{}, features: hnstest.AllFeatures()}
	h.overlay = h.IntN(2) == 0
	h.features.ModifyLoadBalancer = h.IntN(3) > 0
	h.network = hns.Network{Name: "pods", Type: hns.TypeL2Bridge}
	if h.overlay {
		h.network = overlayNetwork("192.0.2.11")
	}
	h.fixture = newFixture(t, h.fresh(), withSourceVIP)
	return h
}

// fresh returns a fake like that of the history, without load balancers.
func (h *history) fresh() *hnstest.Fake {
	f := l2bridge()
	f.SetNetwork(h.network)
	f.SetFeatures(h.features)
	return f
}

// step makes one change and a Sync, whose result does not matter.
func (h *history) step() {
	switch h.IntN(12) {
	case 0:
		h.f.Restart(h.IntN(2) == 0)
	case 1:
		h.f.SetFaults(hnstest.Faults{})
		h.restart(withSourceVIP)
	case 2:
		h.removed = true
		h.f.RemoveLoadBalancers(func(hns.LoadBalancer) bool { return h.IntN(3) == 0 })
		h.Node = testNode()
		h.Node.IPs = h.Node.IPs[:1+h.IntN(2)]
	case 3:
		if h.overlay {
			h.network = overlayNetwork([]string{"192.0.2.11", "192.0.2.21"}[h.IntN(2)])
			h.f.SetNetwork(h.network)
		}
	}
	for range 1 + h.IntN(3) {
		h.changeService(h.IntN(8))
	}
	h.injectFaults()
	ctx := h.t.Context()
	if h.IntN(5) == 0 {
		short, cancel := context.WithTimeout(ctx, time.Duration(h.IntN(200))*time.Millisecond)
		defer cancel()
		ctx = short
	}
	_ = h.Sync(ctx, h.state())
}

// changeService replaces or removes Service i.
func (h *history) changeService(i int) {
	if h.IntN(4) == 0 {
		delete(h.services, i)
		return
	}
	v6, port := i%3 == 0, uint16(80+h.IntN(2))
	clusterIP, nodePort, external, pods := "10.96.0.%d:80", "0.0.0.0:%d", "203.0.113.%d:80", []string{"10.244.0.%d:%d", "10.244.1.%d:%d", "10.244.2.%d:%d", "198.51.100.%d:%d"}
	if v6 {
		clusterIP, nodePort, external, pods = "[fd00:96::%d]:80", "[::]:%d", "[2001:db8:9::%d]:80", []string{"[fd00:244::%d]:%d", "[fd00:1::%d]:%d", "[fd00:1::%d]:%d", "[fd00:2::%d]:%d"}
	}
	address := i
	if h.IntN(3) == 0 {
		address = 8 + i/2*2 // two Services use it in turns, and sometimes at once
	}
	var list, local []string
	for range h.IntN(5) {
		pool := h.IntN(len(pods))
		e := fmt.Sprintf(pods[pool], 1+h.IntN(5), port)
		if list = append(list, e); pool == 0 {
			local = append(local, e)
		}
	}
	if h.services[i^1] != nil && h.services[i^1].Ports[0].Frontends[0].Addr == netip.MustParseAddrPort(fmt.Sprintf(clusterIP, address)) {
		delete(h.services, i^1) // the contract has each frontend once
	}
	h.services[i] = service(fmt.Sprint("s", i), fmt.Sprintf(clusterIP, address), unique(list), func(p *localsink.Port) {
		p.Pools = append(p.Pools, localsink.Pool{Endpoints: unique(local)})
		p.Affinity = time.Duration(h.IntN(2)) * time.Hour
		if h.IntN(2) == 0 {
			p.Frontends = append(p.Frontends, frontend(localsink.KindNodePort, fmt.Sprintf(nodePort, 30000+i), localsink.Route{Masquerade: h.IntN(2) == 0}))
		}
		if h.IntN(2) == 0 {
			p.Frontends = append(p.Frontends, frontend(localsink.KindLoadBalancer, fmt.Sprintf(external, i+1), localsink.Route{Pool: 1}))
		}
	})
}

// unique returns endpoints ordered by address, each once.
func unique(addrs []string) []localsink.Endpoint {
	all := map[netip.AddrPort]bool{}
	var list []localsink.Endpoint
	for _, e := range endpoints(addrs...) {
		if !all[e.Addr] {
			all[e.Addr] = true
			list = append(list, e)
		}
	}
	return list
}

func (h *history) injectFaults() {
	rate := []int{0, 0, 3, 10}[h.IntN(4)]
	random := func(hnstest.Call) error {
		if rate > 0 && h.IntN(rate) == 0 {
			return errInjected
		}
		return nil
	}
	latency := func(hnstest.Call) time.Duration { return time.Duration(h.IntN(20)) * time.Millisecond }
	h.f.SetFaults(hnstest.Faults{Fail: random, Lose: random, Latency: latency, CancelApplies: h.IntN(2) == 0})
}

func (h *history) state() localsink.State {
	var all []*localsink.Service
	for _, s := range h.services {
		all = append(all, s)
	}
	return sinktest.NewState(all...)
}

// check ends the faults and compares HNS with a new one. What another program removed is found by
// listing, so the last Sync is then that of a new Node.
func (h *history) check() {
	h.f.SetFaults(hnstest.Faults{})
	if h.removed {
		h.Node = testNode()
		h.Node.NodePortAddresses = append(h.Node.NodePortAddresses, netip.MustParsePrefix("192.0.2.0/24"))
	}
	require.NoError(h.t, h.Sync(h.t.Context(), h.state()), "seed %d", h.seed)
	time.Sleep(10 * time.Second)
	for len(h.b.ResyncRequested()) > 0 {
		<-h.b.ResyncRequested()
		require.NoError(h.t, h.Sync(h.t.Context(), h.state()), "seed %d", h.seed)
		time.Sleep(10 * time.Second)
	}
	y := newFixture(h.t, h.fresh(), withSourceVIP)
	y.Node = h.Node
	require.NoError(h.t, y.Sync(h.t.Context(), h.state()))
	require.Equal(h.t, y.f.Describe(), h.f.Describe(), "seed %d", h.seed)
	h.f.TakeWrites()
	require.NoError(h.t, h.Sync(h.t.Context(), h.state()))
	require.Empty(h.t, h.f.TakeWrites(), "seed %d: operations for unchanged Services", h.seed)
}
