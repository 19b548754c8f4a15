// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A Harness makes sinks for [TestSink].
type Harness struct {
	// New returns a sink for a fresh, empty target, and a function that describes
	// the target as it is. Targets that treat traffic alike must be described alike,
	// whatever led to them. Both are used until t ends.
	New func(t *testing.T) (sink localsink.Sink, describe func() string)
	// Unsupported leaves out of the test what the sink says it cannot do.
	Unsupported localsink.Features
}

// TestSink checks that sinks of a harness obey the laws of the contract, as subtests
// of t:
//
//   - the same update twice leaves the same target;
//   - what came before does not matter: a target that went through many states is
//     described like one that was given the last state at once;
//   - a Sync that was cut off loses nothing: the next one brings the target in line;
//   - removing everything leaves what an empty first state leaves.
func TestSink(t *testing.T, h Harness) {
	t.Run("idempotent", h.idempotent)
	t.Run("history does not matter", h.history)
	t.Run("cut off and tried again", h.retried)
	t.Run("removing everything", h.emptied)
}

func (h Harness) idempotent(t *testing.T) {
	sink, describe := h.New(t)
	w := newWorld(1, h.Unsupported)
	u := NewUpdate(w.node(), nil, w.state())
	must(t, sink, u)
	once := describe()
	must(t, sink, u)
	must(t, sink, &localsink.Update{Node: u.Node, All: u.All})
	same(t, once, describe())
}

func (h Harness) history(t *testing.T) {
	for seed := range uint64(3) {
		sink, describe := h.New(t)
		w := newWorld(seed, h.Unsupported)
		d := &Driver{Sink: sink, Node: w.node()}
		for range 40 {
			now := w.state()
			if err := d.Sync(t.Context(), now); err != nil {
				t.Fatalf("Sync: %v", err)
			}
		}
		h.likeFresh(t, d, describe)
	}
}

func (h Harness) retried(t *testing.T) {
	sink, describe := h.New(t)
	w := newWorld(9, h.Unsupported)
	flaky := false
	// The half that fails comes after: the sink has done its part when it is taken back.
	half := localsink.Func(func(context.Context, *localsink.Update) error {
		if flaky = !flaky; flaky {
			return errors.New("injected")
		}
		return nil
	})
	d := &Driver{Sink: localsink.Chain(sink, half), Node: w.node()}
	states := []localsink.State{w.state(), w.state(), w.state()}
	for i := range 60 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7)*50*time.Microsecond)
		_ = d.Sync(ctx, states[w.IntN(len(states))])
		cancel()
	}
	for d.Sync(t.Context(), states[0]) != nil {
		if t.Context().Err() != nil {
			t.Fatal("no Sync succeeds any more")
		}
	}
	h.likeFresh(t, d, describe)
}

// likeFresh checks that the target of d is described like a fresh one that was given
// d's state at once.
func (h Harness) likeFresh(t *testing.T, d *Driver, describe func() string) {
	t.Helper()
	fresh, describeFresh := h.New(t)
	must(t, fresh, NewUpdate(d.Node, nil, d.accepted))
	same(t, describeFresh(), describe())
}

func (h Harness) emptied(t *testing.T) {
	sink, describe := h.New(t)
	w := newWorld(5, h.Unsupported)
	full := w.state()
	must(t, sink, NewUpdate(w.node(), nil, full))
	must(t, sink, NewUpdate(w.node(), full, NewState()))
	fresh, describeFresh := h.New(t)
	must(t, fresh, NewUpdate(w.node(), nil, NewState()))
	same(t, describeFresh(), describe())
}

func must(t *testing.T, sink localsink.Sink, u *localsink.Update) {
	t.Helper()
	if err := sink.Sync(t.Context(), u); err != nil {
		t.Fatalf("Sync: %v", err)
	}
}

func same(t *testing.T, want, got string) {
	t.Helper()
	if want != got {
		t.Fatalf("targets differ; wanted:\n%s\ngot:\n%s", want, got)
	}
}

// A world makes random states that obey the contract.
type world struct {
	*rand.Rand
	lacks localsink.Features
}

func newWorld(seed uint64, lacks localsink.Features) world {
	return world{rand.New(rand.NewPCG(seed, 0)), lacks}
}

func (w world) node() *localsink.Node {
	return &localsink.Node{
		Name: "node", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.10")},
		LocalPods:         localsink.PodSources{Networks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")}},
		NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
	}
}

func (w world) state() localsink.State {
	var services []*localsink.Service
	for i := range 12 {
		if svc := w.service(i); w.IntN(4) > 0 && svc.RequiredFeatures()&w.lacks == 0 {
			services = append(services, svc)
		}
	}
	return NewState(services...)
}

// service returns one of the forms that Service i has; no two Services share an
// address.
func (w world) service(i int) *localsink.Service {
	svc := &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: fmt.Sprint("svc-", i)}}
	vip := func(net string) netip.Addr { return netip.MustParseAddr(fmt.Sprint(net, i+1)) }
	port := localsink.Port{Name: "p", Protocol: []localsink.Protocol{localsink.ProtocolTCP, localsink.ProtocolUDP}[i%2]}
	if w.lacks&localsink.FeatureAffinity == 0 && w.IntN(4) == 0 {
		port.Affinity = time.Duration(1+w.IntN(2)) * time.Hour
	}
	v6 := i%3 == 0
	cluster, any, external := vip("10.96.0."), netip.IPv4Unspecified(), vip("198.51.100.")
	if v6 {
		cluster, any, external = vip("fd00:96::"), netip.IPv6Unspecified(), vip("2001:db8::")
	}
	port.Pools = []localsink.Pool{w.pool(v6), w.pool(v6)}
	add := func(kind localsink.FrontendKind, addr netip.Addr, number uint16, sources []netip.Prefix) {
		port.Frontends = append(port.Frontends, localsink.Frontend{
			Kind: kind, Addr: netip.AddrPortFrom(addr, number), SourceRanges: sources, Routes: w.routes(),
		})
	}
	add(localsink.KindClusterIP, cluster, uint16(80+w.IntN(2)), nil)
	if w.IntN(2) == 0 {
		add(localsink.KindNodePort, any, uint16(30000+i), nil)
	}
	switch w.IntN(3) {
	case 0:
		add(localsink.KindExternalIP, external, 80, nil)
	case 1:
		add(localsink.KindLoadBalancer, external, 80, []netip.Prefix{netip.PrefixFrom(external, external.BitLen()-w.IntN(3)*8).Masked()})
	}
	svc.Ports = []localsink.Port{port}
	return svc
}

func (w world) pool(v6 bool) localsink.Pool {
	var p localsink.Pool
	for i := range w.IntN(2) * w.IntN(40) {
		addr := netip.AddrFrom4([4]byte{10, 244, byte(i % 2), byte(i + 1)})
		if v6 {
			addr = netip.MustParseAddr(fmt.Sprintf("fd00:244:%x::%x", i%2, i+1))
		}
		if w.IntN(8) > 0 {
			p.Endpoints = append(p.Endpoints, localsink.Endpoint{Addr: netip.AddrPortFrom(addr, 8080), Local: i%2 == 0})
		}
	}
	return p
}

func (w world) routes() []localsink.Route {
	var routes []localsink.Route
	for _, from := range []localsink.From{localsink.FromLocalPods, localsink.FromThisNode, localsink.FromAny} {
		if from == localsink.FromAny || w.IntN(2) == 0 {
			routes = append(routes, localsink.Route{
				From: from, Pool: w.IntN(2), Masquerade: w.IntN(2) == 0, EmptyVerdict: localsink.Verdict(w.IntN(2)),
			})
		}
	}
	return routes
}
