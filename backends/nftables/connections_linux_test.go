// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// counts returns the counts of a Service as "FRONTEND n" and "FRONTEND -> ENDPOINT n", one per
// line, for frontends with connections. Counts of all frontends of a port have the frontend "all".
func counts(t *testing.T, b *Backend, s *localsink.Service, protocol localsink.Protocol) string {
	t.Helper()
	var lines []string
	frontends, err := b.FrontendConnections(context.Background(), s.Name)
	require.NoError(t, err)
	for _, c := range frontends {
		if c.Count > 0 && c.Protocol == protocol {
			lines = append(lines, fmt.Sprintf("%v %d", c.Addr, c.Count))
		}
	}
	endpoints, err := b.EndpointConnections(context.Background(), s.Name)
	require.NoError(t, err)
	for _, c := range endpoints {
		from := "all"
		if c.Frontend.IsValid() {
			from = c.Frontend.String()
		}
		if c.Count > 0 && c.Protocol == protocol {
			lines = append(lines, fmt.Sprintf("%s -> %v %d", from, c.Endpoint, c.Count))
		}
	}
	return strings.Join(lines, "\n")
}

// connect makes n connections to an address. They stay open until the test ends, so that no two have
// the same source port: a UDP packet from the port of an earlier one begins no connection.
func (w *testbed) connect(network, addr string, n int) {
	w.t.Helper()
	for range n {
		c, err := w.dial(w.client, network, "", addr)
		require.NoError(w.t, err)
		w.t.Cleanup(func() { _ = c.Close() })
		_, err = readResponse(c, network, w.timeout())
		require.NoError(w.t, err)
	}
}

func TestConnectionsAreCounted(t *testing.T) {
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		b := backendIn(t, w.node, Config{Table: "counted", CountConnections: true})
		require.NoError(t, w.backend.Sync(context.Background(), firstUpdate(testNode())))
		defer func() {
			_, _ = w.node.Command("nft", "delete", "table", map[bool]string{true: "ip", false: "ip6"}[ip.name == "IPv4"], "counted")
		}()
		protocol := map[string]localsink.Protocol{"tcp": localsink.ProtocolTCP, "udp": localsink.ProtocolUDP}[network]
		nodePort := net.JoinHostPort(ip.unspecified, "30080")
		frontends := []localsink.Frontend{newFrontend(localsink.KindClusterIP, ip.vip(1, 80)),
			newFrontend(localsink.KindNodePort, nodePort, localsink.Route{Masquerade: true}),
			newFrontend(localsink.KindExternalIP, ip.vip(2, 80), localsink.Route{Pool: 1})}
		var last serviceList
		apply := func(n *localsink.Node, pods ...int) *localsink.Service {
			var addrs []string
			for _, i := range pods {
				addrs = append(addrs, ip.pod(i))
			}
			pool := newLocalPool(addrs...)
			pool.Endpoints = sortEndpoints(pool.Endpoints)
			next := serviceList{newTCPAndUDPService("a", []localsink.Pool{pool, {}}, frontends...), clusterIPService(99)}
			if len(pods) == 0 {
				next = next[1:]
			}
			require.NoError(t, b.Sync(context.Background(), nextUpdate(n, last, next)))
			last = next
			return next[0]
		}
		require.True(t, b.CountsConnections())
		require.False(t, w.backend.CountsConnections())
		one := apply(testNode(), 0)
		require.Empty(t, counts(t, b, one, protocol))
		w.connect(network, ip.vip(1, 80), 3)
		w.connect(network, net.JoinHostPort(ip.node, "30080"), 2)
		w.requireRefused(w.client, network, "", ip.vip(2, 80))
		want := fmt.Sprintf("%s 3\n%s 2\n%s 1\n%[1]s -> %[4]s 3\n%[2]s -> %[4]s 2", ip.vip(1, 80), nodePort, ip.vip(2, 80), ip.pod(0))
		require.Equal(t, want, counts(t, b, one, protocol))

		// Changes of endpoints change the verdicts and the slots, and move slots to other maps.
		apply(testNode(), 0, 1)
		require.Equal(t, want, counts(t, b, one, protocol))
		apply(testNode(), 0, 1, 2, 3, 4, 5, 6, 7, 8)
		require.Equal(t, want, counts(t, b, one, protocol))
		apply(testNode(), 1)
		w.connect(network, ip.vip(1, 80), 4)
		require.Equal(t, fmt.Sprintf("%s 7\n%s 2\n%s 1\n%[1]s -> %[4]s 4", ip.vip(1, 80), nodePort, ip.vip(2, 80), ip.pod(1)), counts(t, b, one, protocol))
		// An endpoint returns.
		apply(testNode(), 0)
		want = fmt.Sprintf("%s 7\n%s 2\n%s 1\n%[1]s -> %[4]s 3\n%[2]s -> %[4]s 2", ip.vip(1, 80), nodePort, ip.vip(2, 80), ip.pod(0))
		require.Equal(t, want, counts(t, b, one, protocol))
		// Another node: the table is rebuilt.
		other := testNode()
		other.LocalPods.Interface = "none"
		apply(other, 0)
		require.Equal(t, want, counts(t, b, one, protocol))
		w.connect(network, ip.vip(1, 80), 1)
		// Another program removes the rules. The counts are those of the last read.
		_, err := w.node.Command("nft", "flush", "ruleset")
		require.NoError(t, err)
		_, err = b.FrontendConnections(context.Background(), one.Name)
		require.ErrorContains(t, err, "another program has removed elements")
		require.Eventually(t, func() bool { return !b.DriftedSince().IsZero() }, 5*time.Second, time.Millisecond)
		apply(other, 0)
		require.Equal(t, want, counts(t, b, one, protocol))
		w.connect(network, ip.vip(1, 80), 1)
		want = strings.ReplaceAll(strings.Replace(want, " 7\n", " 8\n", 1), ip.pod(0)+" 3", ip.pod(0)+" 4")
		require.Equal(t, want, counts(t, b, one, protocol))
		// The Service is deleted and created again.
		apply(other)
		require.Empty(t, counts(t, b, one, protocol))
		apply(other, 0)
		require.Empty(t, counts(t, b, one, protocol))
		require.NoError(t, b.Close())
		_, err = b.EndpointConnections(context.Background(), one.Name)
		require.ErrorIs(t, err, errClosed)
	})
}

// All connections of a port with affinity are counted, whether they follow an entry or not.
func TestConnectionsWithAffinityAreCounted(t *testing.T) {
	for _, ip := range ipFamilies() {
		t.Run(ip.name, func(t *testing.T) {
			w := newTestbed(t)
			for i := range 3 {
				w.startServers(w.pods, ip.pod(i))
			}
			require.NoError(t, w.backend.Close())
			b := backendIn(t, w.node, Config{CountConnections: true})
			first := affinityService(ip, time.Hour, 0)
			require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), first)))
			w.connect("tcp", ip.vip(1, 80), 3)
			w.connect("tcp", ip.vip(2, 80), 2)
			want := fmt.Sprintf("%s 3\n%s 2\nall -> %s 5", ip.vip(1, 80), ip.vip(2, 80), ip.pod(0))
			require.Equal(t, want, counts(t, b, first, localsink.ProtocolTCP))
			// The maps are replaced because an endpoint is removed.
			more, fewer := affinityService(ip, time.Hour, 0, 1, 2), affinityService(ip, time.Hour, 0, 2)
			require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), serviceList{first}, serviceList{more})))
			require.Equal(t, want, counts(t, b, first, localsink.ProtocolTCP))
			require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), serviceList{more}, serviceList{fewer})))
			require.Equal(t, want, counts(t, b, first, localsink.ProtocolTCP))
			w.connect("tcp", ip.vip(1, 80), 1)
			require.Equal(t, fmt.Sprintf("%s 4\n%s 2\nall -> %s 6", ip.vip(1, 80), ip.vip(2, 80), ip.pod(0)), counts(t, b, first, localsink.ProtocolTCP))
		})
	}
}

// A readRecorder is a transport that counts reads.
type readRecorder struct {
	transport
	dumps, gets int
	fail        error
}

func (k *readRecorder) Elements(family uint8, table, set string) ([]nfnl.Element, error) {
	k.dumps++
	return k.transport.Elements(family, table, set)
}

func (k *readRecorder) Get(family uint8, table, set string, keys []byte) ([]nfnl.Element, error) {
	if k.gets++; k.fail != nil {
		return nil, k.fail
	}
	return k.transport.Get(family, table, set, keys)
}

// The counts of a Service are read element by element, in lists, also when its elements are
// removed. No change of another Service reads anything of it.
func TestCountsAreReadBySingleElements(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{CountConnections: true})
	k := &readRecorder{transport: b.tables[0].kernel}
	b.tables[0].kernel = k
	all := manyServices(100, 150)
	require.NoError(t, b.Sync(context.Background(), &localsink.Update{Node: testNode(), NodeChanged: true, All: all, Changed: all.serviceList}))
	require.Zero(t, k.gets+k.dumps)
	endpoints, err := b.EndpointConnections(context.Background(), all.serviceList[7].Name)
	require.NoError(t, err)
	require.Len(t, endpoints, 150)
	require.True(t, slices.IsSortedFunc(endpoints, func(a, b localsink.EndpointConnections) int { return a.Endpoint.Compare(b.Endpoint) }))
	_, err = b.FrontendConnections(context.Background(), all.serviceList[7].Name)
	require.NoError(t, err)
	require.Equal(t, 3, k.gets, "two lists of at most 100 endpoints, and one frontend")
	list := slices.Clone(all.serviceList[8].Ports[0].Pools[0].Endpoints)
	require.NoError(t, b.Sync(context.Background(), all.set(testNode(), 8, list[1:])))
	require.Equal(t, 3+3, k.gets, "the verdict, the slot that gets the last endpoint, and the last slot")
	require.Zero(t, k.dumps)

	// A failure leads to a log message and a lower count, not to an error.
	k.fail = errors.New("not now")
	require.NoError(t, b.Sync(context.Background(), all.set(testNode(), 8, list)))
	_, err = b.EndpointConnections(context.Background(), all.serviceList[7].Name)
	require.ErrorContains(t, err, "read the counts of Service test/svc-000007: not now")
	k.fail = syscall.ENOENT
	_, err = b.EndpointConnections(context.Background(), all.serviceList[7].Name)
	require.ErrorContains(t, err, "another program has removed elements")
	none, err := b.EndpointConnections(context.Background(), localsink.ServiceName{Name: "unknown"})
	require.NoError(t, err)
	require.Empty(t, none)
	canceled, cancel := context.WithCancel(context.Background())
	b.busy <- struct{}{}
	cancel()
	_, err = b.EndpointConnections(canceled, all.serviceList[7].Name)
	require.ErrorIs(t, err, context.Canceled)
	<-b.busy
}

// Reads do not disturb Sync.
func TestCountsAreReadDuringSync(t *testing.T) {
	b := backendIn(t, netnstest.New(t), Config{CountConnections: true})
	all := manyServices(50, 4)
	u := firstUpdate(testNode(), all.serviceList...)
	require.NoError(t, b.Sync(context.Background(), u))
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := b.EndpointConnections(context.Background(), all.serviceList[3].Name); err != nil {
				done <- err
				return
			}
		}
	}()
	for i := range 50 {
		node := testNode()
		node.LocalPods.Interface = fmt.Sprint("if", i) // rebuilds the table
		require.NoError(t, b.Sync(context.Background(), &localsink.Update{Node: node, NodeChanged: true, All: u.All}))
	}
	close(stop)
	require.NoError(t, <-done)
}

// BenchmarkReadConnections reads the counts of one Service of 10 endpoints.
func BenchmarkReadConnections(b *testing.B) {
	for _, services := range []int{100, 10000} {
		b.Run(fmt.Sprintf("elements=%d", services*10), func(b *testing.B) {
			all, backend := manyServices(services, 10), backendIn(b, netnstest.New(b), Config{CountConnections: true})
			require.NoError(b, backend.Sync(context.Background(), &localsink.Update{Node: testNode(), NodeChanged: true, All: all, Changed: all.serviceList}))
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				i = (i + 7919) % services
				frontends, err := backend.FrontendConnections(context.Background(), all.serviceList[i].Name)
				require.NoError(b, err)
				endpoints, err := backend.EndpointConnections(context.Background(), all.serviceList[i].Name)
				require.NoError(b, err)
				require.Len(b, frontends, 1)
				require.Len(b, endpoints, 10)
			}
		})
	}
}

// BenchmarkNewConnection measures the output path of the first packet of a connection without
// and with counters, in turns, and reports both and the difference of the medians. A chain drops
// the packet before the connection is confirmed, so each packet is a new connection.
func BenchmarkNewConnection(b *testing.B) {
	const packets = 200
	all := manyServices(10000, 10)
	for _, s := range all.serviceList {
		s.Ports[0].Protocol = localsink.ProtocolUDP
	}
	var conns [2]net.Conn
	for i, counted := range []bool{false, true} {
		ns := netnstest.New(b)
		netnstest.Link(ns, "eth0", netnstest.New(b), "eth0")
		ns.Address("eth0", "192.0.2.1/24")
		ns.Route("0.0.0.0/0", "192.0.2.2")
		backend := backendIn(b, ns, Config{CountConnections: counted})
		require.NoError(b, backend.Sync(context.Background(), &localsink.Update{Node: &localsink.Node{}, NodeChanged: true, All: all, Changed: all.serviceList}))
		_, err := ns.Command("nft", "add table ip end; add chain ip end last { type filter hook postrouting priority 0; }; add rule ip end last drop")
		require.NoError(b, err)
		ns.Do(func() (err error) {
			conns[i], err = net.Dial("udp", netip.AddrPortFrom(all.serviceList[777].Ports[0].Frontends[0].Addr.Addr(), 80).String())
			return err
		})
		defer conns[i].Close()
	}
	times := [2][]time.Duration{}
	for b.Loop() {
		for i, c := range conns {
			start := time.Now()
			for range packets {
				_, _ = c.Write([]byte{0}) // EPERM: the packet was dropped
			}
			times[i] = append(times[i], time.Since(start)/packets)
		}
	}
	for i := range times {
		slices.Sort(times[i])
	}
	without, with := times[0][len(times[0])/10], times[1][len(times[1])/10] // least disturbed by other processes
	b.ReportMetric(float64(without.Nanoseconds()), "ns/uncounted")
	b.ReportMetric(float64(with.Nanoseconds()), "ns/counted")
	b.ReportMetric(float64((with - without).Nanoseconds()), "ns/difference")
}
