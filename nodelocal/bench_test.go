// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

const benchServices, benchEndpoints = 10_000, 10

func benchService(i int) *watchers.Service {
	ip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
	return &watchers.Service{
		Name:      watchers.ServiceName{Namespace: "bench", Name: fmt.Sprintf("svc-%05d", i)},
		ClusterIP: ip, ClusterIPs: []netip.Addr{ip}, IPFamilies: []watchers.IPFamily{watchers.IPv4},
		Ports: []watchers.ServicePort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 80}},
	}
}

func benchSlice(i, generation int) *watchers.EndpointSlice {
	name := fmt.Sprintf("svc-%05d", i)
	s := &watchers.EndpointSlice{
		Namespace: "bench", Name: name + "-a", Service: watchers.ServiceName{Namespace: "bench", Name: name},
		Family: watchers.IPv4, Ports: []watchers.EndpointPort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 8080}},
	}
	for j := range benchEndpoints {
		n := i*benchEndpoints + j
		if j == 0 {
			n += generation * benchServices * benchEndpoints
		}
		ip := netip.AddrFrom4([4]byte{10, byte(128 + n>>16&0x7f), byte(n >> 8), byte(n)})
		s.Endpoints = append(s.Endpoints, watchers.Endpoint{Addr: ip, Node: fmt.Sprint("node-", j), Ready: true, Serving: true})
	}
	return s
}

func benchTable(b *testing.B) (*watchers.Store, *Resolver) {
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) {
		for i := range benchServices {
			tx.SetService(benchService(i))
			tx.SetEndpointSlice(benchSlice(i, 0))
		}
	})
	table, err := NewResolver(store, config())
	require.NoError(b, err)
	b.Cleanup(table.Close)
	return store, table
}

// BenchmarkOneEndpointChange is one change of one slice, from the store to an
// accepted update, with 10,000 Services of 10 endpoints in place.
func BenchmarkOneEndpointChange(b *testing.B) {
	store, table := benchTable(b)
	table.Refresh()
	table.Acknowledge(table.Pending())
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		slice := benchSlice(n%benchServices, 1+n/benchServices%2)
		store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice) })
		table.Refresh()
		u := table.Pending()
		if u == nil || len(u.Changed) != 1 {
			b.Fatalf("%+v", u)
		}
		table.Acknowledge(u)
	}
}

// BenchmarkEqualWrite is a write that says nothing new: it must wake nobody.
func BenchmarkEqualWrite(b *testing.B) {
	store, table := benchTable(b)
	table.Refresh()
	table.Acknowledge(table.Pending())
	slice := benchSlice(5, 0)
	b.ReportAllocs()
	for b.Loop() {
		store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice) })
		table.Refresh()
		if table.Pending() != nil {
			b.Fatal("an equal write is a change")
		}
	}
}

// BenchmarkFirstState computes everything once.
func BenchmarkFirstState(b *testing.B) {
	store, _ := benchTable(b)
	b.ReportAllocs()
	for b.Loop() {
		table, err := NewResolver(store, config())
		require.NoError(b, err)
		table.Refresh()
		table.Acknowledge(table.Pending())
		table.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchServices, "ns/Service")
}

// BenchmarkMemory reports what the facts and the state keep, per endpoint.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		before := heap()
		store, table := benchTable(b)
		facts := heap()
		table.Refresh()
		table.Acknowledge(table.Pending())
		state := heap()
		b.ReportMetric(float64(facts-before)/(benchServices*benchEndpoints), "facts-B/endpoint")
		b.ReportMetric(float64(state-facts)/(benchServices*benchEndpoints), "state-B/endpoint")
		runtime.KeepAlive(store)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
