// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// randomChange changes a Service or a slice of few names and addresses, so that changes collide.
func randomChange(rnd *rand.Rand, tx *watchers.Tx) {
	name := watchers.ServiceName{Namespace: "default", Name: fmt.Sprint("s", rnd.IntN(4))}
	addr := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(6))}) }
	switch rnd.IntN(6) {
	case 0:
		tx.DeleteService(name)
	case 1:
		tx.SetService(&watchers.Service{Name: name, ClusterIP: addr(), ClusterIPs: []netip.Addr{addr(), {}}})
	case 2:
		tx.SetService(&watchers.Service{Name: name, Type: watchers.TypeExternalName, Details: &watchers.ServiceDetails{ExternalName: "example.com"}})
	case 3:
		tx.SetService(&watchers.Service{Name: name, Details: &watchers.ServiceDetails{Headless: true}})
	case 4:
		tx.DeleteEndpointSlice("default", fmt.Sprint("x", rnd.IntN(4)))
	default:
		slice := &watchers.EndpointSlice{Namespace: "default", Name: fmt.Sprint("x", rnd.IntN(4)), Service: name, Family: watchers.FamilyIPv4}
		for range rnd.IntN(3) {
			slice.Endpoints = append(slice.Endpoints, watchers.Endpoint{Addr: addr(), Ready: rnd.IntN(3) > 0})
			slice.Details = append(slice.Details, watchers.EndpointDetails{Hostname: []string{"", "a", "b"}[rnd.IntN(3)]})
		}
		tx.SetEndpointSlice(slice)
	}
}

// TestReverseIndexMatchesTheStore compares the index that follows changes with a new one.
func TestReverseIndexMatchesTheStore(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		store := watchers.NewStore()
		index := newReverseIndex(store)
		for range 60 {
			store.Update(func(tx *watchers.Tx) {
				for range 1 + rnd.IntN(3) {
					randomChange(rnd, tx)
				}
			})
			if rnd.IntN(3) == 0 {
				continue // several changes at once
			}
			index.update()
			fresh := newReverseIndex(store)
			fresh.update()
			for i := range 6 {
				addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
				require.ElementsMatch(t, fresh.services(addr), index.services(addr), "seed %d, %v", seed, addr)
			}
			require.Len(t, index.one, len(fresh.one))
			require.Len(t, index.more, len(fresh.more))
			require.Len(t, index.addrs, len(fresh.addrs))
			fresh.reader.Close()
		}
		index.reader.Close()
	}
}

// FuzzRespond: no packet makes the server panic, and each response is a valid message about the same
// question that fits.
func FuzzRespond(f *testing.F) {
	store := watchers.NewStore()
	db := watchers.ServiceName{Namespace: "default", Name: "db"}
	store.Update(func(tx *watchers.Tx) {
		tx.SetService(&watchers.Service{
			Name: watchers.ServiceName{Namespace: "default", Name: "web"}, ClusterIP: netip.MustParseAddr("10.96.0.1"),
			Ports: []watchers.ServicePort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 80}},
		})
		tx.SetService(&watchers.Service{Name: db, Details: &watchers.ServiceDetails{Headless: true}})
		slice := &watchers.EndpointSlice{
			Namespace: "default", Name: "db-1", Service: db, Family: watchers.FamilyIPv4,
			Ports: []watchers.EndpointPort{{Name: "sql", Protocol: localsink.ProtocolTCP, Port: 5432}},
		}
		for i := range 100 {
			slice.Endpoints = append(slice.Endpoints, watchers.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 244, 0, byte(i)}), Ready: true})
		}
		tx.SetEndpointSlice(slice)
		tx.SetSynced()
	})
	server, err := New(store, Config{PodRecords: true})
	require.NoError(f, err)
	server.reverse.update()
	for _, name := range []string{
		"web.default.svc.cluster.local.", "_sql._tcp.db.default.svc.cluster.local.", "db.default.svc.cluster.local.", "1.0.96.10.in-addr.arpa.",
		"1-2-3-4.default.pod.cluster.local.", "cluster.local.", ".", strings.Repeat("a.", 100) + "cluster.local.",
	} {
		for _, kind := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypePTR, dns.TypeANY} {
			q := new(dns.Msg)
			q.SetQuestion(name, kind)
			q.SetEdns0(kind*40, false)
			packed, err := q.Pack()
			require.NoError(f, err)
			f.Add(packed, kind%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte, udp bool) {
		in := slices.Clone(packet)
		response := server.respond(packet, nil, udp)
		require.Equal(t, in, packet, "a query is not modified")
		if response == nil {
			return
		}
		var out dns.Msg
		require.NoError(t, out.Unpack(response))
		require.True(t, out.Response)
		if udp {
			require.LessOrEqual(t, len(response), server.cfg.MaxUDP)
		}
		var query dns.Msg
		if query.Unpack(packet) != nil || len(query.Question) != 1 || query.Opcode != dns.OpcodeQuery {
			return
		}
		// Unpack also accepts a question that ends after its name; a server need not.
		if question := (&dns.Msg{Question: query.Question}); question.Len() <= len(packet) {
			require.Equal(t, query.Id, out.Id)
			require.Equal(t, query.Question, out.Question)
		}
	})
}

// BenchmarkRespond answers from memory, without sockets: a Service of ten thousand.
func BenchmarkRespond(b *testing.B) {
	const services = 10_000
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) {
		for i := range services {
			tx.SetService(&watchers.Service{
				Name:      watchers.ServiceName{Namespace: fmt.Sprint("ns-", i%100), Name: fmt.Sprint("service-", i)},
				ClusterIP: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}),
			})
		}
		tx.SetSynced()
	})
	server, err := New(store, Config{})
	require.NoError(b, err)
	defer server.Close()
	server.reverse.update()
	for kind, name := range map[uint16]string{dns.TypeA: "service-4711.ns-11.svc.cluster.local.", dns.TypePTR: "103.18.96.10.in-addr.arpa."} {
		q := new(dns.Msg)
		q.SetQuestion(name, kind)
		packet, err := q.Pack()
		require.NoError(b, err)
		b.Run(dns.TypeToString[kind], func(b *testing.B) {
			out := make([]byte, 0, maxQuery)
			b.ReportAllocs()
			for b.Loop() {
				if r := server.respond(packet, out, true); len(r) == 0 || r[7] != 1 {
					b.Fatal("no answer")
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
		})
	}
}
