// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// set replaces the endpoints of the i-th Service and returns the update for that.
func (s indexedState) set(n *localsink.Node, i int, endpoints []localsink.Endpoint) *localsink.Update {
	old := s.serviceList[i]
	port := old.Ports[0]
	port.Pools = []localsink.Pool{{Endpoints: endpoints}}
	svc := &localsink.Service{Name: old.Name, Ports: []localsink.Port{port}}
	s.serviceList[i], s.index[old.Name] = svc, svc
	return &localsink.Update{Node: n, All: s, Changed: []*localsink.Service{svc}}
}

// nodeBackend returns a backend in a network namespace without packets.
func nodeBackend(t testing.TB) *Backend {
	var b *Backend
	netnstest.New(t).Do(func() (err error) {
		b, err = New(Config{})
		return err
	})
	t.Cleanup(func() { b.Close() })
	return b
}

func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportCPU reports the CPU time of the process per iteration, in microseconds.
func reportCPU(b *testing.B, before time.Duration) {
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-us/op")
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The result is valid only while no process of the machine listens to nf_tables, like "nft monitor".
func BenchmarkFullLoad10kx10(b *testing.B) { benchmarkFullLoad(b, nodeBackend(b)) }

func BenchmarkFullLoadCounted10kx10(b *testing.B) {
	benchmarkFullLoad(b, backendIn(b, netnstest.New(b), Config{CountConnections: true}))
}

func benchmarkFullLoad(b *testing.B, backend *Backend) {
	all, node := manyServices(10000, 10), testNode()
	before := heap()
	u := &localsink.Update{Node: node, NodeChanged: true, All: all, Changed: all.serviceList}
	cpu := cpuTime()
	for b.Loop() {
		backend.tables[0].state = nil
		require.NoError(b, backend.Sync(context.Background(), u))
	}
	reportCPU(b, cpu)
	b.ReportMetric(float64(int64(heap())-int64(before))/(1<<20), "heap-MB")
	require.Equal(b, 10000, backend.Stats().Tables[0].Services)
	runtime.KeepAlive(backend)
}

// BenchmarkFullLoadBesideOtherInstance10kx10 compares a load while another instance runs in another
// network namespace with one while there is no other.
func BenchmarkFullLoadBesideOtherInstance10kx10(b *testing.B) {
	all := manyServices(10000, 10)
	u := &localsink.Update{Node: testNode(), NodeChanged: true, All: all, Changed: all.serviceList}
	load := func(backend *Backend) time.Duration {
		backend.tables[0].state = nil
		began := time.Now()
		require.NoError(b, backend.Sync(context.Background(), u))
		return time.Since(began)
	}
	own := nodeBackend(b)
	load(own) // creates the table
	var alone, beside time.Duration
	for b.Loop() {
		alone += load(own)
		other := nodeBackend(b)
		load(other)
		beside += load(own)
		require.NoError(b, other.Close())
	}
	b.ReportMetric(alone.Seconds()*1e3/float64(b.N), "alone-ms")
	b.ReportMetric(beside.Seconds()*1e3/float64(b.N), "beside-ms")
	b.ReportMetric(beside.Seconds()/alone.Seconds(), "beside/alone")
}

// BenchmarkVerification measures what a change by another program costs.
func BenchmarkVerification(b *testing.B) {
	for _, c := range []struct {
		name string
		all  indexedState
	}{{"200x10", manyServices(200, 10)}, {"10kx10", manyServices(10000, 10)}, {"affinity1000", manyAffinityServices(1000, 10)}} {
		b.Run(c.name, func(b *testing.B) {
			backend := nodeBackend(b)
			require.NoError(b, backend.Sync(context.Background(), &localsink.Update{Node: testNode(), All: c.all, Changed: c.all.serviceList}))
			v := verifierOf(b, backend, backend.tables[0].kernel.(*nfnl.Conn))
			var idle, objects, elements time.Duration
			for b.Loop() {
				idle += cpuOf(func() { _, _ = v.check(b.Context()) })
				v.changes++
				v.objects.next, v.elements.next = time.Time{}, time.Now().Add(time.Hour)
				objects += cpuOf(func() { _, _ = v.check(b.Context()) })
				for v.elements.verified < v.changes {
					v.elements.next = time.Time{}
					elements += cpuOf(func() { _, _ = v.check(b.Context()) })
				}
			}
			for unit, d := range map[string]time.Duration{"idle-us": idle, "objects-us": objects, "elements-us": elements} {
				b.ReportMetric(float64(d.Microseconds())/float64(b.N), unit)
			}
		})
	}
}

// cpuOf returns the CPU time of f.
func cpuOf(f func()) time.Duration {
	before := cpuTime()
	f()
	return cpuTime() - before
}

func BenchmarkOneEndpointChange10kx10(b *testing.B) { benchmarkOneEndpointChange(b, nodeBackend(b)) }

func BenchmarkOneEndpointChangeCounted10kx10(b *testing.B) {
	benchmarkOneEndpointChange(b, backendIn(b, netnstest.New(b), Config{CountConnections: true}))
}

func benchmarkOneEndpointChange(b *testing.B, backend *Backend) {
	all, node := manyServices(10000, 10), testNode()
	require.NoError(b, backend.Sync(context.Background(), &localsink.Update{Node: node, All: all, Changed: all.serviceList}))
	next, i := 200000, 0
	cpu := cpuTime()
	for b.Loop() {
		i = (i + 7919) % 10000
		list := slices.Clone(all.serviceList[i].Ports[0].Pools[0].Endpoints)
		next++
		list = append(list[1:], localsink.Endpoint{Addr: endpointAddr(200000 + next%100000), Weight: 1})
		slices.SortFunc(list, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
		require.NoError(b, backend.Sync(context.Background(), all.set(node, i, list)))
	}
	reportCPU(b, cpu)
	require.EqualValues(b, 1, backend.Stats().Tables[0].Rebuilds)
}

func BenchmarkScale10to9to10At10k(b *testing.B) {
	all, node, backend := manyServices(10000, 10), testNode(), nodeBackend(b)
	require.NoError(b, backend.Sync(context.Background(), &localsink.Update{Node: node, All: all, Changed: all.serviceList}))
	cpu := cpuTime()
	i := 0
	for b.Loop() {
		i = (i + 7919) % 10000
		list := all.serviceList[i].Ports[0].Pools[0].Endpoints
		require.NoError(b, backend.Sync(context.Background(), all.set(node, i, list[:9])))
		require.NoError(b, backend.Sync(context.Background(), all.set(node, i, list)))
	}
	reportCPU(b, cpu)
	require.EqualValues(b, 1, backend.Stats().Tables[0].Rebuilds)
}

// manyAffinityServices is manyServices with session affinity.
func manyAffinityServices(services, endpoints int) indexedState {
	all := manyServices(services, endpoints)
	for _, s := range all.serviceList {
		s.Ports[0].Affinity = time.Hour
	}
	return all
}

func BenchmarkFullLoadAffinity(b *testing.B) {
	for _, n := range []int{100, 1000, 3000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			all, node, backend := manyAffinityServices(n, 10), testNode(), nodeBackend(b)
			u := &localsink.Update{Node: node, NodeChanged: true, All: all, Changed: all.serviceList}
			for b.Loop() {
				backend.tables[0].state = nil
				require.NoError(b, backend.Sync(context.Background(), u))
			}
		})
	}
}

func BenchmarkOneEndpointChangeAffinity1000(b *testing.B) {
	all, node, backend := manyAffinityServices(1000, 10), testNode(), nodeBackend(b)
	require.NoError(b, backend.Sync(context.Background(), &localsink.Update{Node: node, All: all, Changed: all.serviceList}))
	next, i := 200000, 0
	for b.Loop() {
		i = (i + 7919) % 1000
		list := slices.Clone(all.serviceList[i].Ports[0].Pools[0].Endpoints)
		next++
		list = append(list[1:], localsink.Endpoint{Addr: endpointAddr(200000 + next%100000), Weight: 1})
		slices.SortFunc(list, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
		set := all.set(node, i, list)
		set.Changed[0].Ports[0].Affinity = time.Hour
		require.NoError(b, backend.Sync(context.Background(), set))
	}
	require.EqualValues(b, 1, backend.Stats().Tables[0].Rebuilds)
}

// BenchmarkOneEndpointChangeConsistent replaces an endpoint of one of 100 Services with consistent
// selection.
func BenchmarkOneEndpointChangeConsistent(b *testing.B) {
	for _, endpoints := range []int{10, 100} {
		b.Run(strconv.Itoa(endpoints), func(b *testing.B) {
			all, node, backend := manyServices(100, endpoints), testNode(), nodeBackend(b)
			for _, s := range all.serviceList {
				s.Ports[0].Selection = localsink.SelectionClient
			}
			require.NoError(b, backend.Sync(context.Background(), &localsink.Update{Node: node, All: all, Changed: all.serviceList}))
			next, i := 200000, 0
			cpu := cpuTime()
			for b.Loop() {
				i = (i + 79) % 100
				list := slices.Clone(all.serviceList[i].Ports[0].Pools[0].Endpoints)
				next++
				list = append(list[1:], localsink.Endpoint{Addr: endpointAddr(200000 + next%100000), Weight: 1})
				slices.SortFunc(list, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
				require.NoError(b, backend.Sync(context.Background(), all.set(node, i, list)))
			}
			reportCPU(b, cpu)
			require.EqualValues(b, 1, backend.Stats().Tables[0].Rebuilds)
		})
	}
}
