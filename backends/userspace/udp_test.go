// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// expectSilence checks that a datagram gets no answer.
func expectSilence(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.WriteString(c, "hello")
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = c.Read(make([]byte, maxDatagram))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(limit)))
}

// exchangeDatagram sends a datagram and returns the answer.
func exchangeDatagram(t *testing.T, c net.Conn, text string) string {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
	buf := make([]byte, maxDatagram)
	n, err := c.Read(buf)
	require.NoError(t, err)
	return string(buf[:n])
}

// TestUDPSessions: datagrams of all sizes pass, each client has one endpoint, and clients do not
// interfere.
func TestUDPSessions(t *testing.T) {
	f := newFixture(t, Config{})
	f.sync(newService("dns", localsink.ProtocolUDP, sortedAddrs(serveUDP(t, "a"), serveUDP(t, "b"))...))
	var clients []net.Conn
	seen := map[string]int{}
	for range 40 {
		c := dial(t, "udp", f.local("dns"))
		clients = append(clients, c)
		seen[exchangeDatagram(t, c, "")]++
	}
	require.Len(t, seen, 2, "%v", seen)
	for _, c := range clients {
		name := exchangeDatagram(t, c, "")
		for _, text := range []string{"x", "", strings.Repeat("y", 1400), strings.Repeat("z", 60000)} {
			require.Equal(t, name+text, exchangeDatagram(t, c, text))
		}
	}
	require.EqualValues(t, 40, f.backend.Stats().Sessions)
}

func sortedAddrs(a, b netip.AddrPort) []netip.AddrPort {
	if b.Compare(a) < 0 {
		return []netip.AddrPort{b, a}
	}
	return []netip.AddrPort{a, b}
}

// TestUDPEndpointRemoved: a session with a draining endpoint continues; it moves when the
// endpoint is removed, and ends without endpoints.
func TestUDPEndpointRemoved(t *testing.T) {
	f := newFixture(t, Config{})
	a, b := serveUDP(t, "a"), serveUDP(t, "b")
	f.sync(newService("dns", localsink.ProtocolUDP, a))
	c := dial(t, "udp", f.local("dns"))
	require.Equal(t, "a1", exchangeDatagram(t, c, "1"))
	f.sync(withPort(newService("dns", localsink.ProtocolUDP, b), func(p *localsink.Port) { p.Draining = []netip.AddrPort{a} }))
	require.Equal(t, "a2", exchangeDatagram(t, c, "2"))
	require.Equal(t, "b3", exchangeDatagram(t, dial(t, "udp", f.local("dns")), "3"))
	f.sync(newService("dns", localsink.ProtocolUDP, b))
	require.Equal(t, "b4", exchangeDatagram(t, c, "4"))
	f.sync(newService("dns", localsink.ProtocolUDP))
	expectSilence(t, c)
	eventually(t, func() bool { return f.backend.Stats().Sessions == 0 }, "all sessions have ended")
	f.sync(newService("dns", localsink.ProtocolUDP, a))
	require.Equal(t, "a5", exchangeDatagram(t, c, "5"))
	f.sync()
	eventually(t, func() bool { return f.backend.Stats().Sessions == 0 }, "all sessions have ended")
}

// TestUDPDrainingListener: without endpoints, the socket stays open for sessions with draining
// ones, and is closed after the last has ended.
func TestUDPDrainingListener(t *testing.T) {
	local := netip.AddrPortFrom(loopback(), unusedAddr(t).Port())
	f := newFixture(t, Config{Map: func(Frontend) []netip.AddrPort { return []netip.AddrPort{local} }})
	a := serveUDP(t, "a")
	f.sync(newService("dns", localsink.ProtocolUDP, a))
	c := dial(t, "udp", local)
	require.Equal(t, "a1", exchangeDatagram(t, c, "1"))
	draining := withPort(newService("dns", localsink.ProtocolUDP), func(p *localsink.Port) { p.Draining = []netip.AddrPort{a} })
	f.sync(draining)
	require.Equal(t, "a2", exchangeDatagram(t, c, "2"))
	expectSilence(t, dial(t, "udp", local))
	require.Equal(t, 1, f.backend.Stats().Listeners)
	for _, l := range f.backend.listeners {
		l.open.udp.mu.Lock()
		for _, s := range l.open.udp.sessions {
			_ = s.server.Close()
		}
		l.open.udp.mu.Unlock()
	}
	<-f.backend.ResyncRequested()
	f.sync(draining)
	require.Zero(t, f.backend.Stats().Listeners)
}

// TestUDPDeadEndpoint: an ICMP error ends the session, so that the client gets another endpoint.
func TestUDPDeadEndpoint(t *testing.T) {
	f := newFixture(t, Config{})
	f.sync(newService("dns", localsink.ProtocolUDP, unusedAddr(t)))
	c := dial(t, "udp", f.local("dns"))
	_, err := io.WriteString(c, "1")
	require.NoError(t, err)
	eventually(t, func() bool { return f.backend.connectionsOf("dns") == 1 && f.backend.Stats().Sessions == 0 }, "the session has ended")
}

// connectionsOf returns how many connections to the first endpoint of a Service there were.
func (b *Backend) connectionsOf(name string) uint64 {
	all, err := b.EndpointConnections(context.Background(), localsink.ServiceName{Namespace: "ns", Name: name})
	if err != nil || len(all) == 0 {
		return 0
	}
	return all[0].Count
}

// TestUDPRefusedShare: a client that is refused stays refused.
func TestUDPRefusedShare(t *testing.T) {
	f := newFixture(t, Config{})
	svc := newService("dns", localsink.ProtocolUDP, serveUDP(t, "a"))
	f.sync(withPort(svc, func(p *localsink.Port) { p.RefusedPerMille = 1000 }))
	c := dial(t, "udp", f.local("dns"))
	expectSilence(t, c)
	f.sync(svc)
	expectSilence(t, c)
	require.Equal(t, "a1", exchangeDatagram(t, dial(t, "udp", f.local("dns")), "1"))
}

// A memoryPacketConn is a UDP socket in memory: sent receives what is written to it.
type memoryPacketConn struct {
	net.PacketConn
	received chan string
	sent     chan string
	closed   chan struct{}
}

func (m *memoryPacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case text := <-m.received:
		return copy(b, text), net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:1234")), nil
	case <-m.closed:
		return 0, nil, net.ErrClosed
	}
}

func (m *memoryPacketConn) WriteTo(b []byte, _ net.Addr) (int, error) {
	m.sent <- string(b)
	return len(b), nil
}

func (m *memoryPacketConn) Close() error { close(m.closed); return nil }
func (m *memoryPacketConn) LocalAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:53"))
}

// TestUDPIdleTimeout: a session ends that long after its last datagram in any direction.
func TestUDPIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := &memoryPacketConn{received: make(chan string), sent: make(chan string), closed: make(chan struct{})}
		servers := make(chan net.Conn, 10)
		b, err := New(Config{
			UDPIdleTimeout: time.Minute,
			ListenPacket:   func(context.Context, string, string) (net.PacketConn, error) { return socket, nil },
			Dial: func(context.Context, string, string) (net.Conn, error) {
				proxySide, endpointSide := net.Pipe()
				servers <- endpointSide
				return proxySide, nil
			},
			InterfaceAddrs: func() ([]net.Addr, error) { return nil, nil },
		})
		require.NoError(t, err)
		svc := newService("dns", localsink.ProtocolUDP, netip.MustParseAddrPort("192.0.2.9:53"))
		require.NoError(t, b.Sync(t.Context(), sinktest.NewUpdate(&localsink.Node{}, nil, sinktest.NewState(svc))))
		buf := make([]byte, 100)
		socket.received <- "hello"
		server := <-servers
		_, _ = server.Read(buf)
		for range 5 {
			time.Sleep(time.Minute - time.Nanosecond)
			_, _ = server.Write([]byte("reply"))
			<-socket.sent
			time.Sleep(time.Minute - time.Nanosecond)
			socket.received <- "more"
			_, _ = server.Read(buf)
		}
		synctest.Wait()
		require.EqualValues(t, 1, b.Stats().Sessions)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Zero(t, b.Stats().Sessions)
		socket.received <- "again"
		server = <-servers
		_, _ = server.Read(buf)
		require.EqualValues(t, 1, b.Stats().Sessions)
		require.NoError(t, b.Close())
	})
}
