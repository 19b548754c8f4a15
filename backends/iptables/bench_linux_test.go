// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// manyServices returns n Services with 10 endpoints each.
func manyServices(n int) []*localsink.Service {
	all := make([]*localsink.Service, n)
	for i := range all {
		all[i] = tenEndpoints(i, 0)
	}
	return all
}

// tenEndpoints returns Service i; version is a part of the address of its last endpoint.
func tenEndpoints(i, version int) *localsink.Service {
	var pool localsink.Pool
	for e := range 10 {
		last := byte(0)
		if e == 9 {
			last = byte(version)
		}
		addr := netip.AddrFrom4([4]byte{10, byte(64 + i/256), byte(i), byte(e*16) + last%16})
		pool.Endpoints = append(pool.Endpoints, localsink.Endpoint{Addr: netip.AddrPortFrom(addr, 8080), Weight: 1})
	}
	vip := netip.AddrFrom4([4]byte{10, 32, byte(i >> 8), byte(i)})
	return service(fmt.Sprint("s", i), localsink.Port{
		Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.AddrPortFrom(vip, 80), Routes: []localsink.Route{
			{From: localsink.FromLocalPods}, {Masquerade: true},
		}}},
		Pools: []localsink.Pool{pool},
	})
}

// cpuTime returns the CPU time of this process and the commands that it has run.
func cpuTime(b *testing.B) time.Duration {
	var total time.Duration
	for _, of := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		require.NoError(b, syscall.Getrusage(of, &usage))
		total += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return total
}

// measure reports the CPU time of f, which b.N calls repeat.
func measure(b *testing.B, f func(i int)) {
	start := cpuTime(b)
	b.ResetTimer()
	for i := range b.N {
		f(i)
	}
	b.ReportMetric(float64((cpuTime(b)-start).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// BenchmarkSync measures a first load, and the replacement of one endpoint, with the commands.
func BenchmarkSync(b *testing.B) {
	for _, size := range []struct {
		variant  Variant
		services int
	}{{VariantLegacy, 1000}, {VariantLegacy, 10000}, {VariantNFT, 1000}} {
		name := fmt.Sprintf("%s/%dx10", size.variant, size.services)
		services := manyServices(size.services)
		b.Run("Load/"+name, func(b *testing.B) {
			var sinks []*sinktest.Driver
			for range b.N {
				sinks = append(sinks, &sinktest.Driver{Sink: backendIn(b, netnstest.New(b), Config{Variant: size.variant}), Node: goldenNode()})
			}
			state := sinktest.NewState(services...)
			measure(b, func(i int) { require.NoError(b, sinks[i].Sync(b.Context(), state)) })
		})
		b.Run("OneEndpoint/"+name, func(b *testing.B) {
			sink := backendIn(b, netnstest.New(b), Config{Variant: size.variant})
			u := sinktest.NewUpdate(goldenNode(), nil, sinktest.NewState(services...))
			require.NoError(b, sink.Sync(b.Context(), u))
			var updates []*localsink.Update
			for i := range b.N {
				services[7] = tenEndpoints(7, i+1)
				updates = append(updates, &localsink.Update{Node: u.Node, All: sinktest.NewState(services...), Changed: services[7:8:8]})
				services = append([]*localsink.Service(nil), services...)
			}
			measure(b, func(i int) { require.NoError(b, sink.Sync(b.Context(), updates[i])) })
		})
	}
}
