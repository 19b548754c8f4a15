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

// briefly is the shortest time of affinity that leaves room for a slow machine.
const briefly = 3 * time.Second

// testAffinityTimeout has clients who stay as long as they come back in time, and may
// choose anew when they do not.
func testAffinityTimeout(t *testing.T, w *world, _ *proxyUnderTest) {
	seconds := int32(briefly / time.Second)
	brief := func(s *corev1.ServiceSpec) {
		affinity(s)
		s.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
	services := []service{edited(of(nodePort, plain("brief", "pod1", "pod2", "rpod1")), brief)}
	addresses := book{}
	addresses.add(w, w.apply(t, nil, services)["brief"])
	defer w.apply(t, services, nil)
	w.barrier(t, syncLimit)
	probes, err := parseProbes("pod3,node cluster:80 = pod1\nclient nodeport:80 = pod1", "brief")
	require.NoError(t, err)
	var clients sync.WaitGroup
	for _, p := range probes {
		p.at, _ = addresses.find(p.service, p.kind, p.family, p.port, p.proto)
		if p.from == "client" && p.proto == "udp" || p.from == "pod3" && p.proto == "tcp" || p.from == "node" && p.family == "6" {
			clients.Go(func() { stayAndLeave(t, w, p) })
		}
	}
	clients.Wait()
}

// stayAndLeave is one client. What it waits for is what is tested: the kernel's clock
// has no other hand to turn.
func stayAndLeave(t *testing.T, w *world, p probe) {
	ask := func() string { return w.Places[p.from].Probe(t.Context(), p.proto, p.at, 4*time.Second).Server }
	first := ask()
	if !strings.HasPrefix(first, "pod") && !strings.HasPrefix(first, "rpod") {
		t.Errorf("%s: %s", p.key(), first)
		return
	}
	for range 4 { // longer than the time in all
		pause(briefly * 2 / 5)
		if again := ask(); again != first {
			t.Errorf("%s: %s answers, %s did within the time", p.key(), again, first)
			return
		}
	}
	for range 25 { // chance alone keeps one of three servers once in 10^12
		pause(briefly + briefly/3)
		if ask() != first {
			return
		}
	}
	t.Errorf("%s: %s answers long after the time", p.key(), first)
}

// testCloseWait has a server that does not end what its client has ended: the kernel
// must keep the connection for the hour that kube-proxy asks it for.
func testCloseWait(t *testing.T, w *world, _ *proxyUnderTest) {
	const port = 8090
	services := []service{{name: "half-closed", ports: []string{"web:80/tcp"}, slices: []slice{{ports: []string{fmt.Sprintf("web:%d/tcp", port)}, endpoints: []string{"pod2"}}}}}
	addresses := book{}
	addresses.add(w, w.apply(t, nil, services)["half-closed"])
	defer w.apply(t, services, nil)
	w.barrier(t, syncLimit)
	for f, table := range []string{"ipv4", "ipv6"} {
		at, _ := addresses.find("half-closed", "cluster", family(f), 80, "tcp")
		listener, err := w.Places["pod2"].Namespace.Listen(t.Context(), "tcp", netip.AddrPortFrom(w.Places["pod2"].Addrs[f], port).String())
		require.NoError(t, err)
		defer listener.Close()
		client, err := w.Places["pod3"].Dial(t.Context(), "tcp", at)
		require.NoError(t, err)
		defer client.Close()
		server, err := listener.Accept()
		require.NoError(t, err)
		defer server.Close()
		require.NoError(t, client.Conn.(*net.TCPConn).CloseWrite())
		eventually(t, 10*time.Second, "connection in CLOSE_WAIT", func() error {
			out, err := w.Node.Namespace.Output(t.Context(), "conntrack", "-L", "-f", table, "-p", "tcp", "--state", "CLOSE_WAIT", "-d", at.Addr().String())
			if err != nil {
				return err
			}
			found := regexp.MustCompile(`(?m)^tcp +6 (\d+) CLOSE_WAIT`).FindStringSubmatch(out)
			if found == nil {
				return fmt.Errorf("no such connection in:\n%s", out)
			}
			left, err := strconv.Atoi(found[1])
			if err == nil && (left < 3600-60 || left > 3600) {
				err = fmt.Errorf("%d seconds left", left)
			}
			return err
		})
	}
}

// testInvalidState has a server from which comes a segment that belongs to no window.
// If it reached the client with the server's own address, the client would reset the
// connection: it knows only the Service.
func testInvalidState(t *testing.T, w *world, _ *proxyUnderTest) {
	const port = 8091
	services := []service{{name: "invalid", ports: []string{"web:80/tcp"}, slices: []slice{{ports: []string{fmt.Sprintf("web:%d/tcp", port)}, endpoints: []string{"pod1"}}}}}
	addresses := book{}
	addresses.add(w, w.apply(t, nil, services)["invalid"])
	defer w.apply(t, services, nil)
	w.barrier(t, syncLimit)
	try := func(name string, distance int32) {
		for f := range 2 {
			t.Run(name+", IPv"+family(f), func(t *testing.T) {
				at, _ := addresses.find("invalid", "cluster", family(f), 80, "tcp")
				server := w.Places["pod1"]
				tellStray(t, w, server, netip.AddrPortFrom(server.Addrs[f], port), at, distance)
			})
		}
	}
	try("late", -100000)
	// Against what is far ahead of its time only the setting helps that
	// --conntrack-tcp-be-liberal makes; the iptables mode also drops it.
	liberal(t, w, "1")
	defer liberal(t, w, "0")
	try("early", 1<<30)
}

func liberal(t *testing.T, w *world, value string) {
	t.Helper()
	require.NoError(t, w.Node.Namespace.Do(func() error {
		return os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", []byte(value), 0o644)
	}))
}

// tellStray connects to a Service, injects a segment that is so many bytes away from
// what is due, and requires the connection to go on without a reset.
func tellStray(t *testing.T, w *world, server *cluster.Place, own, service netip.AddrPort, distance int32) {
	listener, err := server.Namespace.Listen(t.Context(), "tcp", own.String())
	require.NoError(t, err)
	defer listener.Close()
	wire, err := server.Namespace.ListenPacket(t.Context(), "ip:tcp", own.Addr().String())
	require.NoError(t, err)
	defer wire.Close()
	client, err := w.Places["pod3"].Dial(t.Context(), "tcp", service)
	require.NoError(t, err)
	defer client.Close()
	conn, err := listener.Accept()
	require.NoError(t, err)
	defer conn.Close()
	peer := netip.MustParseAddrPort(conn.RemoteAddr().String())
	require.Equal(t, w.Places["pod3"].Addrs[addrFamily(own.Addr())], peer.Addr())

	last := nextSegment(t, wire, peer.Port(), own.Port(), func(s segment) bool { return !s.has(flagSYN) })
	stray := segment{from: own.Port(), to: peer.Port(), seq: last.ack + uint32(distance), ack: last.seq, flags: flagPSH | flagACK, data: []byte("stray")}
	_, err = wire.WriteTo(stray.encode(own.Addr(), peer.Addr()), &net.IPAddr{IP: peer.Addr().AsSlice()})
	require.NoError(t, err)
	for _, word := range []string{"one", "two", "three"} {
		talk(t, client, conn, word)
		talk(t, conn, client, word)
	}
	// Whatever the client answered to the stray has come before these words.
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

func talk(t *testing.T, from, to net.Conn, word string) {
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

// A segment is what matters of one of TCP.
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

// encode returns the segment with its checksum, as it is sent between two addresses.
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

// nextSegment reads until a segment between the ports is as wanted. Raw sockets give
// segments without the header of the network.
func nextSegment(t *testing.T, wire net.PacketConn, from, to uint16, wanted func(segment) bool) segment {
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
		if wanted(s) {
			return s
		}
	}
}
