// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// TestDirectionsEndIndependently: the client ends its direction first, then the endpoint.
func TestDirectionsEndIndependently(t *testing.T) {
	f := newFixture(t, Config{})
	f.sync(newService("web", localsink.ProtocolTCP, serveTCP(t, echo)))
	c := dial(t, "tcp", f.local("web")).(*net.TCPConn)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		_, _ = c.Write(sent)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.True(t, bytes.Equal(append(sent, "bye"...), got), "%d bytes came back", len(got))
	eventually(t, func() bool { return f.backend.Stats().Connections == 0 }, "the connection has ended")
	traffic := f.backend.Traffic(localsink.ServiceName{Namespace: "ns", Name: "web"})
	require.Equal(t, []PortTraffic{{"main", localsink.ProtocolTCP, 0, uint64(len(sent)), uint64(len(got))}}, traffic)
}

// TestEndpointEndsFirst: the endpoint ends its direction, and still receives.
func TestEndpointEndsFirst(t *testing.T) {
	received := make(chan string, 1)
	f := newFixture(t, Config{})
	f.sync(newService("web", localsink.ProtocolTCP, serveTCP(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "hello")
		_ = c.CloseWrite()
		all, _ := io.ReadAll(c)
		received <- string(all)
	})))
	c := dial(t, "tcp", f.local("web")).(*net.TCPConn)
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	_, err = io.WriteString(c, "late")
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	require.Equal(t, "late", <-received)
}

// TestIdleConnectionContinues: a connection outlives the time for which it keeps pipes.
func TestIdleConnectionContinues(t *testing.T) {
	f := newFixture(t, Config{})
	f.sync(newService("web", localsink.ProtocolTCP, serveTCP(t, echo)))
	c := dial(t, "tcp", f.local("web"))
	bulk := strings.Repeat("x", 10*bulkBytes)
	exchange(t, c, bulk, bulk)
	time.Sleep(pipeTime + pipeTime/2)
	exchange(t, c, "two", "two")
}

// TestResetIsForwarded: a reset of either side is a reset of the other.
func TestResetIsForwarded(t *testing.T) {
	result := make(chan error, 1)
	f := newFixture(t, Config{})
	f.sync(newService("web", localsink.ProtocolTCP, serveTCP(t, func(c *net.TCPConn) {
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			reset(c)
			return
		}
		_, _ = c.Write([]byte{0})
		_, err := io.ReadAll(c)
		result <- err
	})))
	c := dial(t, "tcp", f.local("web"))
	exchange(t, c, "x", "\x00")
	reset(c)
	require.ErrorIs(t, <-result, syscall.ECONNRESET)

	c = dial(t, "tcp", f.local("web"))
	require.NoError(t, c.(*net.TCPConn).CloseWrite()) // the endpoint resets
	_, err := io.ReadAll(c)
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// unusedAddr returns an address at which nothing listens.
func unusedAddr(t *testing.T) netip.AddrPort {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// TestDeadEndpoint: another endpoint is tried unless affinity or the selection requires the
// dead one.
func TestDeadEndpoint(t *testing.T) {
	f := newFixture(t, Config{})
	dead, alive := unusedAddr(t), serveTCP(t, named("a"))
	endpoints := []netip.AddrPort{dead, alive}
	if alive.Compare(dead) < 0 {
		endpoints = []netip.AddrPort{alive, dead}
	}
	svc := newService("web", localsink.ProtocolTCP, endpoints...)
	for _, selection := range []localsink.Selection{localsink.SelectionRandom, localsink.SelectionLeastConnections} {
		f.sync(withPort(svc, func(p *localsink.Port) { p.Selection = selection }))
		for range 20 {
			exchange(t, dial(t, "tcp", f.local("web")), "", "a")
		}
	}
	require.Positive(t, f.backend.Stats().DialFailures)
	for _, change := range []func(p *localsink.Port){
		func(p *localsink.Port) { p.Selection = localsink.SelectionFlow },
		func(p *localsink.Port) { p.Affinity = time.Nanosecond },
		func(p *localsink.Port) {
			p.Pools = []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: dead, Weight: 1}}}}
		},
	} {
		f.sync(withPort(svc, change))
		resets := 0
		for range 20 {
			if err := tryRead(t, f.local("web")); err != nil {
				require.ErrorIs(t, err, syscall.ECONNRESET)
				resets++
			}
		}
		require.Positive(t, resets)
	}
}

// TestVerdicts: reset, or no answer.
func TestVerdicts(t *testing.T) {
	f := newFixture(t, Config{})
	svc := newService("web", localsink.ProtocolTCP)
	f.sync(svc)
	require.ErrorIs(t, tryRead(t, f.local("web")), syscall.ECONNRESET)

	full := newService("web", localsink.ProtocolTCP, serveTCP(t, named("a")))
	for _, dropping := range []*localsink.Service{
		withPort(svc, func(p *localsink.Port) {
			p.Frontends[0].Routes = []localsink.Route{{EmptyVerdict: localsink.VerdictDrop}}
		}),
		withPort(full, func(p *localsink.Port) {
			p.Frontends[0].SourceRanges = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		}),
		withPort(full, func(p *localsink.Port) { p.Frontends[0].SourceRanges = []netip.Prefix{} }),
	} {
		f.sync(dropping)
		c := dial(t, "tcp", f.local("web"))
		require.NoError(t, c.SetDeadline(time.Now().Add(50*time.Millisecond)))
		_, err := io.ReadAll(c)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	f.sync(withPort(full, func(p *localsink.Port) {
		p.Frontends[0].SourceRanges = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}))
	exchange(t, dial(t, "tcp", f.local("web")), "", "a")
	require.EqualValues(t, 3, f.backend.Stats().Dropped)
	require.EqualValues(t, 1, f.backend.Stats().Refused)
}

// TestRemovedEndpointKeepsConnections: neither the removal of the endpoint nor of the Service
// ends a connection.
func TestRemovedEndpointKeepsConnections(t *testing.T) {
	f := newFixture(t, Config{})
	a, b := serveTCP(t, named("a")), serveTCP(t, named("b"))
	f.sync(newService("web", localsink.ProtocolTCP, a))
	c := dial(t, "tcp", f.local("web"))
	exchange(t, c, "", "a")
	f.sync(newService("web", localsink.ProtocolTCP, b))
	exchange(t, c, "x", "x")
	exchange(t, dial(t, "tcp", f.local("web")), "", "b")
	f.sync()
	exchange(t, c, "y", "y")
	require.Equal(t, 2, f.backend.Stats().Connections)
}

// TestCloseWithGrace: Close waits for connections that end in time, and resets others.
func TestCloseWithGrace(t *testing.T) {
	f := newFixture(t, Config{Grace: time.Hour})
	f.sync(newService("web", localsink.ProtocolTCP, serveTCP(t, echo)))
	c := dial(t, "tcp", f.local("web")).(*net.TCPConn)
	exchange(t, c, "x", "x")
	closed := make(chan error, 1)
	go func() { closed <- f.backend.Close() }()
	eventually(t, func() bool { return f.backend.Stats().Listeners == 0 }, "listeners are closed")
	exchange(t, c, "y", "y")
	require.NoError(t, c.CloseWrite())
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "bye", string(got))
	require.NoError(t, <-closed)
}

// TestCloseAfterGrace: Close resets connections that do not end in time.
func TestCloseAfterGrace(t *testing.T) {
	f := newFixture(t, Config{Grace: time.Millisecond})
	f.sync(newService("web", localsink.ProtocolTCP, serveTCP(t, echo)))
	c := dial(t, "tcp", f.local("web"))
	exchange(t, c, "x", "x")
	require.NoError(t, f.backend.Close())
	_, err := io.ReadAll(c)
	require.ErrorIs(t, err, syscall.ECONNRESET)
}
