// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// loopback returns ::1 or 127.0.0.1.
func loopback(v6 bool) netip.Addr {
	if v6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// loopbackNode returns a node with LoopbackNodePorts.
func loopbackNode(addrs ...netip.Addr) *localsink.Node {
	return &localsink.Node{LoopbackNodePorts: addrs}
}

// newSink returns a Sink. The caller closes it.
func newSink(t testing.TB, cfg Config) *Sink {
	s, err := New(cfg)
	require.NoError(t, err)
	return s
}

// freePort returns an unused TCP port of 127.0.0.1.
func freePort(t *testing.T) uint16 {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

// An endpoint is a server that sends its name, then echoes until the client closes its
// direction, then sends "goodbye".
type endpoint struct {
	name string
	addr netip.AddrPort
	mu   sync.Mutex
	open []*net.TCPConn // guarded by mu
}

func newEndpoint(t *testing.T, name string, v6 bool) *endpoint {
	ln, err := net.Listen("tcp", netip.AddrPortFrom(loopback(v6), 0).String())
	require.NoError(t, err)
	e := &endpoint{name: name, addr: ln.Addr().(*net.TCPAddr).AddrPort()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			e.mu.Lock()
			e.open = append(e.open, c.(*net.TCPConn))
			e.mu.Unlock()
			running.Go(func() {
				defer c.Close()
				_, _ = io.WriteString(c, name+"\n")
				if _, err := io.Copy(c, c); err == nil {
					_, _ = io.WriteString(c, "goodbye")
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); e.reset(); running.Wait() })
	return e
}

// reset closes all connections of the endpoint with RST.
func (e *endpoint) reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.open {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

// A fixture drives a Sink whose Services have one node port.
type fixture struct {
	t      *testing.T
	sink   *Sink
	driver *sinktest.Driver
	node   *localsink.Node
	port   uint16
}

func newFixture(t *testing.T, cfg Config, node *localsink.Node) *fixture {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	f := &fixture{t: t, sink: newSink(t, cfg), node: node, port: freePort(t)}
	f.driver = &sinktest.Driver{Sink: f.sink, Node: node}
	t.Cleanup(func() { require.NoError(t, f.sink.Close()) })
	return f
}

// service returns a Service with a node port in both families.
func (f *fixture) service(name string, affinity time.Duration, endpoints ...*endpoint) *localsink.Service {
	port := localsink.Port{Protocol: localsink.ProtocolTCP, Affinity: affinity, Pools: []localsink.Pool{{}, {}}}
	for _, e := range endpoints {
		pool := &port.Pools[0]
		if e.addr.Addr().Is6() {
			pool = &port.Pools[1]
		}
		pool.Endpoints = append(pool.Endpoints, localsink.Endpoint{Addr: e.addr, Weight: 1})
	}
	for _, pool := range port.Pools {
		slices.SortFunc(pool.Endpoints, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
	}
	for i, unspecified := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		port.Frontends = append(port.Frontends, localsink.Frontend{
			Kind: localsink.KindNodePort, Addr: netip.AddrPortFrom(unspecified, f.port), Routes: []localsink.Route{{Pool: i, Masquerade: true}},
		})
	}
	return &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: name}, Ports: []localsink.Port{port}}
}

func (f *fixture) sync(services ...*localsink.Service) {
	f.t.Helper()
	require.NoError(f.t, f.driver.Sync(f.t.Context(), sinktest.NewState(services...)))
}

// connect returns a connection to the node port and the name of its endpoint.
func (f *fixture) connect(v6 bool) (*net.TCPConn, string, error) {
	c, err := net.DialTimeout("tcp", netip.AddrPortFrom(loopback(v6), f.port).String(), 5*time.Second)
	if err != nil {
		return nil, "", err
	}
	f.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	var name []byte
	for one := make([]byte, 1); ; {
		if _, err := io.ReadFull(c, one); err != nil {
			return nil, "", err
		}
		if one[0] == '\n' {
			return c.(*net.TCPConn), string(name), nil
		}
		name = append(name, one[0])
	}
}

func (f *fixture) expectEndpoint(v6 bool, want string) *net.TCPConn {
	f.t.Helper()
	c, name, err := f.connect(v6)
	require.NoError(f.t, err)
	require.Equal(f.t, want, name)
	return c
}

func (f *fixture) expectRefused(v6 bool) {
	f.t.Helper()
	_, _, err := f.connect(v6)
	require.ErrorIs(f.t, err, syscall.ECONNREFUSED)
}

// expectEcho checks that a connection still carries bytes in both directions.
func expectEcho(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.WriteString(c, "ping")
	require.NoError(t, err)
	got := make([]byte, 4)
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, "ping", string(got))
}
