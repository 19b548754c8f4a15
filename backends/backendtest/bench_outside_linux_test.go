// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/ebpf"
	"sigs.k8s.io/kpng/backends/internal/bpftest"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// BenchmarkConnectOutside is like BenchmarkConnect for a client outside: with nftables, and with
// nftables and ebpf, which decides at tc.
func BenchmarkConnectOutside(b *testing.B) {
	for _, services := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			plain := bpftest.JoinCgroup(b)
			all := []*connectBed{newDirect(b, services), newOutside(b, "nftables", services, nil), newOutside(b, "ebpf", services, []string{"pod0"})}
			require.NoError(b, bpftest.Enter(plain)) // the programs at the sockets are for another cgroup
			for b.Loop() {
				for range connectRounds {
					for _, i := range rand.Perm(len(all)) {
						all[i].round(b)
					}
				}
			}
			for _, bed := range all {
				b.ReportMetric(median(bed.rates), bed.name+"/s")
				b.ReportMetric(100*median(bed.relativeTo(all[0])), bed.name+"-%")
				slices.Sort(bed.latencies)
				b.ReportMetric(float64(bed.latencies[len(bed.latencies)/2].Nanoseconds())/1e3, bed.name+"-p50-us")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// newOutside returns a bed whose client is outside. With devices, connections that arrive there are
// decided at tc.
func newOutside(b *testing.B, name string, services int, devices []string) *connectBed {
	bed := newConnectBed(b, name, services)
	cfg := ebpf.Config{Combined: true, Cgroup: bpftest.JoinCgroup(b), PinDirectory: bpftest.MountBPF(b) + "/kpng", Devices: devices}
	node := &localsink.Node{Name: "node", LocalPods: localsink.PodSources{Networks: []netip.Prefix{netip.MustParsePrefix("10.128.0.0/9")}}}
	bed.node.Do(func() error {
		rules, err := nftables.New(nftables.Config{})
		if err != nil {
			return err
		}
		b.Cleanup(func() { require.NoError(b, rules.Close()) })
		sinks := []localsink.Sink{rules}
		if devices != nil {
			sockets, err := ebpf.New(cfg)
			if err != nil {
				return err
			}
			b.Cleanup(func() {
				require.NoError(b, sockets.Close())
				require.NoError(b, ebpf.Cleanup(cfg))
			})
			sinks = append(sinks, sockets)
		}
		return localsink.Chain(sinks...).Sync(b.Context(), sinktest.NewUpdate(node, nil, sinktest.NewState(bed.services...)))
	})
	return bed
}
