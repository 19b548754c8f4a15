// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/backendtest"
	"sigs.k8s.io/kpng/backends/ebpf"
	"sigs.k8s.io/kpng/backends/internal/bpftest"
	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/backends/iptables"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/backends/userspace"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

const (
	connectRounds = 21
	// connectsByRound is so large that a round shows a constant rate: with 400, the caches were those
	// that other backends had left, and servers had not accepted all of the connections.
	connectsByRound = 4000
	// endpointsByService is the number of endpoints of each Service.
	endpointsByService = 10
	// podsOnNode is the number of endpoints that are pods on the node, as of a busy one; the pod of
	// the test has all addresses.
	podsOnNode = 100
)

// BenchmarkConnect connects from a pod to pods on the node, one connection after the other, through
// cluster IPs that are selected at random. Rounds of all backends follow each other, so that the
// noise of the machine is the same for all. KPNG_KUBE_PROXY is the path of the real kube-proxy, which
// takes part in modes nftables and iptables if it is set; rates and percentages of the direct rate are medians of
// rounds.
func BenchmarkConnect(b *testing.B) {
	for _, services := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			plain := bpftest.JoinCgroup(b)
			all := []*connectBed{newDirect(b, services), newEBPF(b, services), newNFTables(b, services), newIPTables(b, services)}
			if services <= 1000 { // a socket for each Service
				all = append(all, newUserspace(b, services))
			}
			require.NoError(b, bpftest.Enter(plain)) // the programs of newEBPF are for its cgroup
			for _, mode := range []string{"nftables", "iptables"} {
				if bed := newKubeProxy(b, mode, services); bed != nil {
					all = append(all, bed)
				}
			}
			for b.Loop() {
				for range connectRounds {
					// In another order each time: work that a backend has left affects the next one.
					for _, i := range rand.Perm(len(all)) {
						bed := all[i]
						require.NoError(b, bpftest.Enter(cmp.Or(bed.cgroup, plain)))
						bed.round(b)
					}
				}
			}
			require.NoError(b, bpftest.Enter(plain))
			for _, bed := range all {
				b.ReportMetric(median(bed.rates), bed.name+"/s")
				b.ReportMetric(100*median(bed.relativeTo(all[0])), bed.name+"-%")
				slices.Sort(bed.latencies)
				b.ReportMetric(float64(bed.latencies[len(bed.latencies)/2].Nanoseconds())/1e3, bed.name+"-p50-us")
				b.ReportMetric(float64(bed.latencies[len(bed.latencies)*99/100].Nanoseconds())/1e3, bed.name+"-p99-us")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(rates []float64) float64 {
	sorted := slices.Sorted(slices.Values(rates))
	return sorted[len(sorted)/2]
}

// relativeTo returns the rate of each round in relation to that of another bed in the same round.
func (bed *connectBed) relativeTo(other *connectBed) []float64 {
	var all []float64
	for i, rate := range bed.rates {
		all = append(all, rate/other.rates[i])
	}
	return all
}

// A connectBed is a node with a pod as the client and one that has all endpoints.
type connectBed struct {
	name              string
	node, pod, server *netnstest.Namespace
	cgroup            string // in which the process connects; empty for any
	targets           []netip.AddrPort
	services          []*localsink.Service
	rates             []float64
	latencies         []time.Duration
}

func newConnectBed(b *testing.B, name string, services int) *connectBed {
	bed := &connectBed{name: name, node: netnstest.New(b), pod: netnstest.New(b), server: netnstest.New(b)}
	bed.node.Sysctl("net/ipv4/ip_forward", "1")
	netnstest.Link(bed.node, "pod0", bed.pod, "eth0")
	netnstest.Link(bed.node, "pod1", bed.server, "eth0")
	bed.node.Address("pod0", "10.2.0.1/24")
	bed.node.Address("pod1", "10.3.0.1/24")
	bed.pod.Address("eth0", "10.2.0.2/24")
	bed.server.Address("eth0", "10.3.0.2/24")
	bed.pod.Route("0.0.0.0/0", "10.2.0.1")
	bed.server.Route("0.0.0.0/0", "10.3.0.1")
	bed.node.Route("10.128.0.0/9", "10.3.0.2")
	bed.server.LocalNetwork("10.128.0.0/9")
	for i := range services {
		p := localsink.Port{Protocol: localsink.ProtocolTCP, Pools: []localsink.Pool{{}}}
		for e := range endpointsByService {
			n := i*endpointsByService + e
			addr := netip.AddrFrom4([4]byte{10, 128 + byte(n>>16), byte(n >> 8), byte(n)})
			p.Pools[0].Endpoints = append(p.Pools[0].Endpoints, localsink.Endpoint{Addr: netip.AddrPortFrom(addr, 8080), Local: n < podsOnNode, Weight: 1})
		}
		vip := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), 80)
		p.Frontends = []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: vip, Routes: []localsink.Route{{}}}}
		bed.targets = append(bed.targets, vip)
		bed.services = append(bed.services, &localsink.Service{Name: localsink.ServiceName{Namespace: "a", Name: fmt.Sprint("s", i)}, Ports: []localsink.Port{p}})
	}
	bed.serve(b)
	return bed
}

// serve accepts and closes connections to any address until the end of the benchmark.
func (bed *connectBed) serve(b *testing.B) {
	var fd int
	bed.server.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Port: 8080}), unix.Listen(fd, 4096))
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, _, err := unix.Accept(fd)
			if err != nil && !errors.Is(err, unix.ECONNABORTED) {
				return
			}
			if err == nil {
				_ = unix.Close(c)
			}
		}
	}()
	b.Cleanup(func() {
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		<-done
		_ = unix.Close(fd)
	})
}

// program programs the Services with a sink of the node.
func (bed *connectBed) program(b *testing.B, sink localsink.Sink) *connectBed {
	node := &localsink.Node{Name: "node", LocalPods: localsink.PodSources{Networks: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24")}}}
	bed.node.Do(func() error {
		return sink.Sync(b.Context(), sinktest.NewUpdate(node, nil, sinktest.NewState(bed.services...)))
	})
	return bed
}

// round connects and measures.
func (bed *connectBed) round(b *testing.B) {
	bed.pod.Do(func() error {
		for range connectsByRound / 4 { // not counted
			if _, err := connectOnce(bed.targets[rand.IntN(len(bed.targets))]); err != nil {
				return fmt.Errorf("%s: %w", bed.name, err)
			}
		}
		start := time.Now()
		for range connectsByRound {
			latency, err := connectOnce(bed.targets[rand.IntN(len(bed.targets))])
			if err != nil {
				return fmt.Errorf("%s: %w", bed.name, err)
			}
			bed.latencies = append(bed.latencies, latency)
		}
		bed.rates = append(bed.rates, connectsByRound/time.Since(start).Seconds())
		return nil
	})
	require.NoError(b, b.Context().Err())
}

// connectOnce connects and resets the connection, so that its port is free at once.
func connectOnce(to netip.AddrPort) (time.Duration, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return 0, err
	}
	start := time.Now()
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	return time.Since(start), err
}

// newDirect returns a bed without a backend, whose clients connect to endpoints.
func newDirect(b *testing.B, services int) *connectBed {
	bed := newConnectBed(b, "direct", services)
	bed.targets = nil
	for _, s := range bed.services {
		for _, e := range s.Ports[0].Pools[0].Endpoints {
			bed.targets = append(bed.targets, e.Addr)
		}
	}
	return bed
}

func newEBPF(b *testing.B, services int) *connectBed {
	bed := newConnectBed(b, "ebpf", services)
	bed.cgroup = bpftest.JoinCgroup(b)
	cfg := ebpf.Config{Combined: true, Cgroup: bed.cgroup, PinDirectory: bpftest.MountBPF(b) + "/kpng"}
	var sink *ebpf.Backend
	bed.node.Do(func() (err error) {
		sink, err = ebpf.New(cfg)
		return err
	})
	b.Cleanup(func() {
		require.NoError(b, sink.Close())
		require.NoError(b, ebpf.Cleanup(cfg))
	})
	return bed.program(b, sink)
}

func newNFTables(b *testing.B, services int) *connectBed {
	bed := newConnectBed(b, "nftables", services)
	var sink *nftables.Backend
	bed.node.Do(func() (err error) {
		sink, err = nftables.New(nftables.Config{})
		return err
	})
	b.Cleanup(func() { require.NoError(b, sink.Close()) })
	return bed.program(b, sink)
}

func newIPTables(b *testing.B, services int) *connectBed {
	bed := newConnectBed(b, "iptables", services)
	var sink *iptables.Backend
	bed.node.Do(func() (err error) {
		sink, err = iptables.New(iptables.Config{Variant: iptables.VariantLegacy})
		return err
	})
	b.Cleanup(func() { require.NoError(b, sink.Close()) })
	return bed.program(b, sink)
}

func newUserspace(b *testing.B, services int) *connectBed {
	bed := newConnectBed(b, "userspace", services)
	var sink *userspace.Backend
	bed.node.LocalNetwork("10.96.0.0/16")
	bed.node.Do(func() (err error) {
		sink, err = userspace.New(userspace.Config{Dial: backendtest.DialIn(bed.node), InterfaceAddrs: interfaceAddrsOf(bed.node)})
		return err
	})
	b.Cleanup(func() { require.NoError(b, sink.Close()) })
	return bed.program(b, sink)
}
