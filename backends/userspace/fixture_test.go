// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// loopback is the address of all frontends and endpoints of these tests.
func loopback() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

// limit is how long a test waits for anything.
const limit = 10 * time.Second

// A fixture drives a Backend whose Services have free ports.
type fixture struct {
	t       *testing.T
	backend *Backend
	driver  *sinktest.Driver
}

func newFixture(t *testing.T, cfg Config) *fixture {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	if cfg.Map == nil {
		cfg.Map = FreePorts(loopback())
	}
	b, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return &fixture{t: t, backend: b, driver: &sinktest.Driver{Sink: b, Node: &localsink.Node{}}}
}

func (f *fixture) sync(services ...*localsink.Service) {
	f.t.Helper()
	require.NoError(f.t, f.driver.Sync(f.t.Context(), sinktest.NewState(services...)))
}

// local returns the local address of the only listener of a Service.
func (f *fixture) local(name string) netip.AddrPort {
	f.t.Helper()
	for _, l := range f.backend.Listeners() {
		if l.Service.Name == name {
			require.NoError(f.t, l.Err)
			return l.Local
		}
	}
	f.t.Fatalf("no listener of Service %s", name)
	return netip.AddrPort{}
}

// newService returns a Service with one port and one frontend.
func newService(name string, protocol localsink.Protocol, endpoints ...netip.AddrPort) *localsink.Service {
	port := localsink.Port{Name: "main", Protocol: protocol, Pools: []localsink.Pool{{}}, Frontends: []localsink.Frontend{{
		Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"), Routes: []localsink.Route{{}},
	}}}
	for _, e := range endpoints {
		port.Pools[0].Endpoints = append(port.Pools[0].Endpoints, localsink.Endpoint{Addr: e, Weight: 1})
	}
	return &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: name}, Ports: []localsink.Port{port}}
}

// withPort returns a copy of a Service with a changed port.
func withPort(svc *localsink.Service, change func(p *localsink.Port)) *localsink.Service {
	p := svc.Ports[0]
	p.Frontends = append([]localsink.Frontend(nil), p.Frontends...)
	change(&p)
	return &localsink.Service{Name: svc.Name, Ports: []localsink.Port{p}}
}

// serveTCP starts a server that calls handle for each connection, and returns its address.
func serveTCP(t *testing.T, handle func(c *net.TCPConn)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer context.AfterFunc(ctx, func() { c.Close() })()
				defer c.Close()
				handle(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { cancel(); ln.Close(); running.Wait() })
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// echo sends back what a connection receives, then "bye".
func echo(c *net.TCPConn) {
	// Without splice(2), whose pipes would use up the descriptors of the test.
	if _, err := io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}); err == nil {
		_, _ = io.WriteString(c, "bye")
	}
}

// named sends a name, then echoes.
func named(name string) func(c *net.TCPConn) {
	return func(c *net.TCPConn) {
		_, _ = io.WriteString(c, name)
		echo(c)
	}
}

// serveUDP starts a server that answers each datagram with name followed by the datagram.
func serveUDP(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(append([]byte(name), buf[:n]...), from)
		}
	})
	t.Cleanup(func() { c.Close(); running.Wait() })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// dial connects to an address; the test closes the connection.
func dial(t *testing.T, network string, to netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(network, to.String(), limit)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(limit)))
	return c
}

// tryRead connects and returns the error of the connection or of reading one byte.
func tryRead(t *testing.T, to netip.AddrPort) error {
	t.Helper()
	c, err := net.DialTimeout("tcp", to.String(), limit)
	if err != nil {
		return err // the reset was faster than the return of Dial
	}
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(limit)))
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

// exchange sends text and returns as many bytes as it expects.
func exchange(t *testing.T, c net.Conn, text, want string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
	got := make([]byte, len(want))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

// eventually waits for a condition that connections bring about.
func eventually(t *testing.T, condition func() bool, why string) {
	t.Helper()
	require.Eventually(t, condition, limit, time.Millisecond, why)
}
