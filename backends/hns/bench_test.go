// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// benchServices and benchEndpoints are the size of the benchmarks.
const benchServices, benchEndpoints = 10000, 10

// A recordingHNS accepts all that it is asked to write, and lists it. It costs as little as possible.
type recordingHNS struct {
	endpoints []Endpoint
	balancers []LoadBalancer
	writes    int
}

func (*recordingHNS) Features(context.Context) (Features, error) {
	return Features{DSR: true, SessionAffinity: true, IPv6DualStack: true, RemoteSubnet: true, ModifyLoadBalancer: true}, nil
}

func (*recordingHNS) Network(context.Context, string) (*Network, error) {
	return &Network{ID: "AABBCCDD-0000-4000-8000-000000000000", Name: "pods", Type: TypeL2Bridge}, nil
}

func (h *recordingHNS) ListEndpoints(context.Context, string) ([]Endpoint, error) {
	return h.endpoints, nil
}

func (h *recordingHNS) CreateEndpoint(_ context.Context, e *Endpoint) (*Endpoint, error) {
	c := *e
	c.ID = h.id()
	h.endpoints = append(h.endpoints, c)
	return &c, nil
}

func (h *recordingHNS) id() string {
	h.writes++
	return fmt.Sprintf("AABBCCDD-0000-4000-8000-%012X", h.writes)
}

func (h *recordingHNS) ModifyEndpoint(context.Context, string, []EndpointPolicy) error { return nil }

func (h *recordingHNS) DeleteEndpoint(context.Context, string) error {
	h.writes++
	return nil
}

func (h *recordingHNS) ListLoadBalancers(context.Context) ([]LoadBalancer, error) {
	return h.balancers, nil
}

func (h *recordingHNS) CreateLoadBalancer(_ context.Context, lb *LoadBalancer) (*LoadBalancer, error) {
	c := *lb
	c.ID = h.id()
	h.balancers = append(h.balancers, c)
	return &c, nil
}

func (h *recordingHNS) ModifyLoadBalancer(_ context.Context, id string, lb *LoadBalancer) (*LoadBalancer, error) {
	h.writes++
	c := *lb
	c.ID = id
	return &c, nil
}

func (h *recordingHNS) DeleteLoadBalancer(context.Context, string) error {
	h.writes++
	return nil
}

// benchState returns 10,000 Services with ten endpoints each; Services share endpoints as those of
// a cluster with 5,000 pods do.
func benchState() []*localsink.Service {
	all := make([]*localsink.Service, benchServices)
	for i := range all {
		all[i] = benchService(i, 0)
	}
	return all
}

// benchService returns Service i; its last endpoint depends on variant.
func benchService(i, variant int) *localsink.Service {
	p := localsink.Port{Name: "http", Protocol: localsink.ProtocolTCP, Pools: make([]localsink.Pool, 1), Frontends: []localsink.Frontend{{
		Kind: localsink.KindClusterIP, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), 80), Routes: []localsink.Route{{}},
	}}}
	for j := range benchEndpoints {
		n := (i*benchEndpoints + j) % 5000
		if j == benchEndpoints-1 && variant > 0 {
			n = 5000 + variant
		}
		p.Pools[0].Endpoints = append(p.Pools[0].Endpoints, localsink.Endpoint{
			Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(n >> 8), byte(n)}), 8080), Weight: 1,
		})
	}
	return &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: fmt.Sprintf("s%05d", i)}, Ports: []localsink.Port{p}}
}

func benchBackend(b *testing.B, h HNS) *Backend {
	b.Helper()
	backend, err := New(b.Context(), Config{HNS: h, Network: "pods", PollInterval: time.Hour})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, backend.Close()) })
	return backend
}

// BenchmarkAdopt is the first Sync of a process that finds 10,000 Services x 10 programmed: it
// compares all and writes nothing.
func BenchmarkAdopt(b *testing.B) {
	h, node, state := &recordingHNS{}, &localsink.Node{Name: "node"}, sinktest.NewState(benchState()...)
	u := sinktest.NewUpdate(node, nil, state)
	require.NoError(b, benchBackend(b, h).Sync(b.Context(), u))
	for b.Loop() {
		writes := h.writes
		require.NoError(b, benchBackend(b, h).Sync(b.Context(), u))
		require.Equal(b, writes, h.writes)
	}
}

// BenchmarkPlan plans the operations for 10,000 Services x 10 where nothing is programmed.
func BenchmarkPlan(b *testing.B) {
	all := benchState()
	cfg := Config{Network: "pods"}
	o := &observedState{network: newPodNetwork(&Network{Type: TypeL2Bridge})}
	ops := 0
	for b.Loop() {
		d := newDesiredState(newCompiler(&cfg, Features{}, o.network, &localsink.Node{}), len(all))
		d.update(nil, all)
		ops = len(plan(d, o, true))
	}
	require.Equal(b, 5000+benchServices, ops)
}

// BenchmarkChange is a Sync that changes one endpoint of one of 10,000 Services x 10.
func BenchmarkChange(b *testing.B) {
	h, node, all := &recordingHNS{}, &localsink.Node{Name: "node"}, benchState()
	state := sinktest.NewState(all...)
	backend := benchBackend(b, h)
	require.NoError(b, backend.Sync(b.Context(), sinktest.NewUpdate(node, nil, state)))
	variants := []*localsink.Service{benchService(77, 1), benchService(77, 2)}
	i := 0
	for b.Loop() {
		if err := backend.Sync(b.Context(), &localsink.Update{Node: node, All: state, Changed: variants[i%2 : i%2+1]}); err != nil {
			b.Fatal(err)
		}
		i++
	}
	require.Greater(b, h.writes, 3*i) // one endpoint created, one deleted, one load balancer modified
}
