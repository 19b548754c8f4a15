// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/kpng/test/cluster"
)

// shortAffinity is the shortest affinity timeout that a slow machine can test reliably.
const shortAffinity = 3 * time.Second

// testAffinityTimeout checks that clients keep their endpoint while the time between two
// connections is below the affinity timeout, and can get another one after it.
func testAffinityTimeout(t *testing.T, fx *fixture, proxy *proxyUnderTest) {
	seconds := int32(shortAffinity / time.Second)
	shortTimeout := func(s *corev1.ServiceSpec) {
		affinity(s)
		s.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
	services := []service{edited(of(nodePort, plain("brief", "pod1", "pod2", "rpod1")), shortTimeout)}
	addresses := addressBook{}
	addresses.add(fx, fx.apply(t, nil, services)["brief"])
	defer fx.apply(t, services, nil)
	fx.barrier(t, syncLimit)
	probes, err := parseProbes("pod3,node cluster:80 = pod1\nclient nodeport:80 = pod1", "brief")
	require.NoError(t, err)
	var clients sync.WaitGroup
	for _, p := range probes {
		p.at, _ = addresses.find(p.service, p.kind, p.family, p.port, p.proto)
		if p.from == "client" && p.proto == "udp" || p.from == "pod3" && p.proto == "tcp" || p.from == "node" && p.family == "6" {
			clients.Go(func() { checkAffinityOf(t, fx, p, proxy.keepsAffinity) })
		}
	}
	clients.Wait()
}

// checkAffinityOf runs one client. With isKept, the client must keep its endpoint after the timeout.
// It waits in real time, because the timeout is the kernel's.
func checkAffinityOf(t *testing.T, fx *fixture, p probe, isKept bool) {
	ask := func() string { return fx.Places[p.from].Probe(t.Context(), p.proto, p.at, answerLimit()).Server }
	first := ask()
	if !strings.HasPrefix(first, "pod") && !strings.HasPrefix(first, "rpod") {
		t.Errorf("%s: %s", p.key(), first)
		return
	}
	for range 4 { // longer than the timeout in total
		pause(shortAffinity * 2 / 5)
		if again := ask(); again != first {
			t.Errorf("%s: got %s, want %s within the affinity timeout", p.key(), again, first)
			return
		}
	}
	repetitions := 25 // the probability of the same endpoint each time is 10^-12
	if isKept {
		repetitions = 5
	}
	for range repetitions {
		pause(shortAffinity + shortAffinity/3)
		again := ask()
		if again == first {
			continue
		}
		if isKept {
			t.Errorf("%s: got %s, want %s after the affinity timeout too", p.key(), again, first)
		}
		return
	}
	if isKept {
		return
	}
	t.Errorf("%s: still %s after the affinity timeout", p.key(), first)
}

// testCloseWait half-closes a connection: the conntrack entry must stay for the hour that
// kube-proxy configures for CLOSE_WAIT.
func testCloseWait(t *testing.T, fx *fixture, p *proxyUnderTest) {
	if p.mode == "ebpf" {
		t.Skip("connections of pods to cluster IPs are translated at their sockets, and have no entry with the cluster IP")
	}
	const port = 8090
	services := []service{{name: "half-closed", ports: []string{"web:80/tcp"}, slices: []slice{{ports: []string{fmt.Sprintf("web:%d/tcp", port)}, endpoints: []string{"pod2"}}}}}
	addresses := addressBook{}
	addresses.add(fx, fx.apply(t, nil, services)["half-closed"])
	defer fx.apply(t, services, nil)
	fx.barrier(t, syncLimit)
	for f, table := range []string{"ipv4", "ipv6"} {
		at, _ := addresses.find("half-closed", "cluster", family(f), 80, "tcp")
		listener, err := fx.Places["pod2"].Namespace.Listen(t.Context(), "tcp", netip.AddrPortFrom(fx.Places["pod2"].Addrs[f], port).String())
		require.NoError(t, err)
		defer listener.Close()
		client, err := fx.Places["pod3"].Dial(t.Context(), "tcp", at)
		require.NoError(t, err)
		defer client.Close()
		server, err := listener.Accept()
		require.NoError(t, err)
		defer server.Close()
		require.NoError(t, client.Conn.(*net.TCPConn).CloseWrite())
		eventually(t, 10*time.Second, "connection in CLOSE_WAIT", func() error {
			out, err := fx.Node.Namespace.Output(t.Context(), "conntrack", "-L", "-f", table, "-p", "tcp", "--state", "CLOSE_WAIT", "-d", at.Addr().String())
			if err != nil {
				return err
			}
			found := regexp.MustCompile(`(?m)^tcp +6 (\d+) CLOSE_WAIT`).FindStringSubmatch(out)
			if found == nil {
				return fmt.Errorf("no connection in CLOSE_WAIT in:\n%s", out)
			}
			left, err := strconv.Atoi(found[1])
			if err == nil && (left < 3600-60 || left > 3600) {
				err = fmt.Errorf("%d seconds left, want about 3600", left)
			}
			return err
		})
	}
}

// testInvalidState sends a segment outside of the TCP window from a server. The kernel does
// not translate the source address of such a segment, and a client that received it would
// reset the connection, because it is connected to the cluster IP.
func testInvalidState(t *testing.T, fx *fixture, _ *proxyUnderTest) {
	const port = 8091
	services := []service{{name: "invalid", ports: []string{"web:80/tcp"}, slices: []slice{{ports: []string{fmt.Sprintf("web:%d/tcp", port)}, endpoints: []string{"pod1"}}}}}
	addresses := addressBook{}
	addresses.add(fx, fx.apply(t, nil, services)["invalid"])
	defer fx.apply(t, services, nil)
	fx.barrier(t, syncLimit)
	inject := func(name string, offset int32) {
		for f := range 2 {
			t.Run(name+", IPv"+family(f), func(t *testing.T) {
				at, _ := addresses.find("invalid", "cluster", family(f), 80, "tcp")
				server := fx.Places["pod1"]
				injectSegment(t, fx, server, netip.AddrPortFrom(server.Addrs[f], port), at, offset)
			})
		}
	}
	inject("before the window", -100000)
	// A segment far ahead of the window needs the setting of --conntrack-tcp-be-liberal; the
	// iptables mode drops it without.
	setConntrackLiberal(t, fx, "1")
	defer setConntrackLiberal(t, fx, "0")
	inject("after the window", 1<<30)
}

func setConntrackLiberal(t *testing.T, fx *fixture, value string) {
	t.Helper()
	require.NoError(t, fx.Node.Namespace.Do(func() error {
		return os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", []byte(value), 0o644)
	}))
}

// injectSegment connects to a Service, injects a segment whose sequence number differs by
// offset from the expected one, and requires the connection to continue without a reset.
func injectSegment(t *testing.T, fx *fixture, server *cluster.Place, own, service netip.AddrPort, offset int32) {
	listener, err := server.Namespace.Listen(t.Context(), "tcp", own.String())
	require.NoError(t, err)
	defer listener.Close()
	wire, err := server.Namespace.ListenPacket(t.Context(), "ip:tcp", own.Addr().String())
	require.NoError(t, err)
	defer wire.Close()
	client, err := fx.Places["pod3"].Dial(t.Context(), "tcp", service)
	require.NoError(t, err)
	defer client.Close()
	conn, err := listener.Accept()
	require.NoError(t, err)
	defer conn.Close()
	peer := netip.MustParseAddrPort(conn.RemoteAddr().String())
	require.Equal(t, fx.Places["pod3"].Addrs[addrFamily(own.Addr())], peer.Addr())

	last := nextSegment(t, wire, peer.Port(), own.Port(), func(s segment) bool { return !s.has(flagSYN) })
	injected := segment{from: own.Port(), to: peer.Port(), seq: last.ack + uint32(offset), ack: last.seq, flags: flagPSH | flagACK, data: []byte("injected")}
	_, err = wire.WriteTo(injected.encode(own.Addr(), peer.Addr()), &net.IPAddr{IP: peer.Addr().AsSlice()})
	require.NoError(t, err)
	for _, word := range []string{"one", "two", "three"} {
		exchange(t, client, conn, word)
		exchange(t, conn, client, word)
	}
	// A reset by the client would have arrived before this segment.
	nextSegment(t, wire, peer.Port(), own.Port(), func(s segment) bool {
		require.False(t, s.has(flagRST), "the client has reset the connection")
		return strings.Contains(string(s.data), "three")
	})
}

func addrFamily(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func exchange(t *testing.T, from, to net.Conn, word string) {
	t.Helper()
	deadline := time.Now().Add(4 * time.Second)
	require.NoError(t, from.SetDeadline(deadline))
	require.NoError(t, to.SetDeadline(deadline))
	_, err := from.Write([]byte(word))
	require.NoError(t, err)
	got := make([]byte, len(word))
	_, err = to.Read(got)
	require.NoError(t, err)
	require.Equal(t, word, string(got))
}

// A segment holds the relevant fields of a TCP segment.
type segment struct {
	from, to uint16
	seq, ack uint32
	flags    byte
	data     []byte
}

const (
	flagSYN, flagRST, flagPSH, flagACK = 1 << 1, 1 << 2, 1 << 3, 1 << 4
)

func (s segment) has(flag byte) bool { return s.flags&flag != 0 }

// encode returns the segment with the checksum for the two addresses.
func (s segment) encode(from, to netip.Addr) []byte {
	b := make([]byte, 20, 20+len(s.data))
	binary.BigEndian.PutUint16(b, s.from)
	binary.BigEndian.PutUint16(b[2:], s.to)
	binary.BigEndian.PutUint32(b[4:], s.seq)
	binary.BigEndian.PutUint32(b[8:], s.ack)
	b[12], b[13] = 5<<4, s.flags
	binary.BigEndian.PutUint16(b[14:], 512)
	b = append(b, s.data...)
	sum := uint32(6 + len(b)) // the protocol and the length of the pseudo-header
	for _, part := range [][]byte{from.AsSlice(), to.AsSlice(), b} {
		for i, octet := range part {
			sum += uint32(octet) << (8 * (1 - i%2))
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[16:], ^uint16(sum))
	return b
}

// nextSegment reads until it finds a segment between the ports that match accepts. A raw
// socket returns segments without the IP header.
func nextSegment(t *testing.T, wire net.PacketConn, from, to uint16, match func(segment) bool) segment {
	t.Helper()
	require.NoError(t, wire.SetReadDeadline(time.Now().Add(10*time.Second)))
	buffer := make([]byte, 4096)
	for {
		n, _, err := wire.ReadFrom(buffer)
		require.NoError(t, err)
		b := buffer[:n]
		if n < 20 || binary.BigEndian.Uint16(b) != from || binary.BigEndian.Uint16(b[2:]) != to {
			continue
		}
		s := segment{
			from: from, to: to, seq: binary.BigEndian.Uint32(b[4:]), ack: binary.BigEndian.Uint32(b[8:]),
			flags: b[13], data: b[min(n, int(b[12]>>4)*4):],
		}
		if match(s) {
			return s
		}
	}
}
