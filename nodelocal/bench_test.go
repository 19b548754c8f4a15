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
		ClusterIP: ip, ClusterIPs: []netip.Addr{ip}, IPFamilies: []watchers.IPFamily{watchers.FamilyIPv4},
		Ports: []watchers.ServicePort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 80}},
	}
}

func benchSlice(i, generation int) *watchers.EndpointSlice {
	name := fmt.Sprintf("svc-%05d", i)
	s := &watchers.EndpointSlice{
		Namespace: "bench", Name: name + "-a", Service: watchers.ServiceName{Namespace: "bench", Name: name},
		Family: watchers.FamilyIPv4, Ports: []watchers.EndpointPort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 8080}},
		Endpoints: make([]watchers.Endpoint, 0, benchEndpoints),
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

func benchResolver(b *testing.B) (*watchers.Store, *Resolver) {
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) {
		for i := range benchServices {
			tx.SetService(benchService(i))
			tx.SetEndpointSlice(benchSlice(i, 0))
		}
	})
	resolver, err := NewResolver(store, config())
	require.NoError(b, err)
	b.Cleanup(func() { _ = resolver.Close() })
	return store, resolver
}

// BenchmarkOneEndpointChange measures one change of one EndpointSlice, from the store to an
// acknowledged update, in a cluster with 10,000 Services of 10 endpoints.
func BenchmarkOneEndpointChange(b *testing.B) {
	store, resolver := benchResolver(b)
	resolver.Refresh()
	resolver.Acknowledge(resolver.Pending())
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		slice := benchSlice(n%benchServices, 1+n/benchServices%2)
		store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice) })
		resolver.Refresh()
		u := resolver.Pending()
		if u == nil || len(u.Changed) != 1 {
			b.Fatalf("%+v", u)
		}
		resolver.Acknowledge(u)
	}
}

// BenchmarkEqualWrite measures a write of an equal object, which must not cause an update.
func BenchmarkEqualWrite(b *testing.B) {
	store, resolver := benchResolver(b)
	resolver.Refresh()
	resolver.Acknowledge(resolver.Pending())
	slice := benchSlice(5, 0)
	b.ReportAllocs()
	for b.Loop() {
		store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice) })
		resolver.Refresh()
		if resolver.Pending() != nil {
			b.Fatal("an equal write caused an update")
		}
	}
}

// BenchmarkFirstState measures the first update of the whole cluster.
func BenchmarkFirstState(b *testing.B) {
	store, _ := benchResolver(b)
	b.ReportAllocs()
	for b.Loop() {
		resolver, err := NewResolver(store, config())
		require.NoError(b, err)
		resolver.Refresh()
		resolver.Acknowledge(resolver.Pending())
		resolver.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchServices, "ns/Service")
}

// BenchmarkSharedExternalIPs measures the first update of two Services that share external IPs on 20 ports.
// The time for an address does not depend on the number of addresses.
func BenchmarkSharedExternalIPs(b *testing.B) {
	for _, n := range []int{50, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			store := watchers.NewStore()
			store.Update(func(tx *watchers.Tx) {
				for i := range 2 {
					svc := benchService(i)
					for port := range uint16(19) {
						svc.Ports = append(svc.Ports, watchers.ServicePort{Name: fmt.Sprint(port), Protocol: localsink.ProtocolTCP, Port: 1000 + port})
					}
					for j := range n {
						svc.ExternalIPs = append(svc.ExternalIPs, netip.AddrFrom4([4]byte{192, 0, byte(j >> 8), byte(j)}))
					}
					tx.SetService(svc)
				}
			})
			for b.Loop() {
				resolver, err := NewResolver(store, config())
				require.NoError(b, err)
				resolver.Refresh()
				require.NoError(b, resolver.Close())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(2*20*n), "ns/address")
		})
	}
}

// BenchmarkMemory reports the memory of cluster state and desired state per endpoint.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		before := heap()
		store, resolver := benchResolver(b)
		objects := heap()
		resolver.Refresh()
		resolver.Acknowledge(resolver.Pending())
		state := heap()
		b.ReportMetric(float64(objects-before)/(benchServices*benchEndpoints), "objects-B/endpoint")
		b.ReportMetric(float64(state-objects)/(benchServices*benchEndpoints), "state-B/endpoint")
		runtime.KeepAlive(store)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
