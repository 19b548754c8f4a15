// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// BenchmarkFullLoad loads a whole state, as after a restart.
func BenchmarkFullLoad(b *testing.B) {
	for _, size := range []struct{ services, endpoints int }{{1000, 10}, {10000, 10}, {10000, 50}} {
		b.Run(fmt.Sprintf("%dx%d", size.services, size.endpoints), func(b *testing.B) {
			bed := newBed(b, Config{Combined: true})
			u := sinktest.NewUpdate(bed.driver.Node, nil, sinktest.NewState(many(size.services, size.endpoints)...))
			start := cpuTime(b)
			for b.Loop() {
				bed.backend.drifted = true
				require.NoError(b, bed.backend.Sync(b.Context(), u))
			}
			b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N)/1e6, "cpu-ms/op")
		})
	}
}

// BenchmarkEndpointChange replaces one endpoint of one of many Services.
func BenchmarkEndpointChange(b *testing.B) {
	for _, services := range []int{1, 10000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			bed := newBed(b, Config{Combined: true})
			all := many(services, 10)
			state := sinktest.NewState(all...)
			require.NoError(b, bed.backend.Sync(b.Context(), sinktest.NewUpdate(bed.driver.Node, nil, state)))
			var updates [2]*localsink.Update
			for i := range updates {
				changed := many(1, 10)[0]
				changed.Ports[0].Pools[0].Endpoints[9].Addr = netip.AddrPortFrom(netip.MustParseAddr("10.250.0.1"), uint16(9000+i))
				updates[i] = &localsink.Update{Node: bed.driver.Node, All: state, Changed: []*localsink.Service{changed}}
			}
			i := 0
			b.ReportAllocs()
			start := cpuTime(b)
			for b.Loop() {
				i++
				require.NoError(b, bed.backend.Sync(b.Context(), updates[i%2]))
			}
			b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N)/1e3, "cpu-us/op")
		})
	}
}

// cpuTime returns the CPU time of the process in nanoseconds.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var usage unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &usage))
	return usage.Utime.Nano() + usage.Stime.Nano()
}
