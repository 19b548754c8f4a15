// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestConnectionsWaitAtLimit: at a limit, further connections wait, and are served when another
// ends; none is lost.
func TestConnectionsWaitAtLimit(t *testing.T) {
	for name, cfg := range map[string]Config{"total": {MaxConnections: 2}, "per Service": {MaxConnectionsPerService: 2, MaxConnections: 10}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, cfg)
			f.sync(newService("web", localsink.ProtocolTCP, serveTCP(t, named("a"))))
			var conns []net.Conn
			for range 6 {
				conns = append(conns, dial(t, "tcp", f.local("web")))
			}
			for i, c := range conns {
				exchange(t, c, "", "a")
				if i < 4 {
					require.LessOrEqual(t, f.backend.Stats().Connections, 2)
				}
				require.NoError(t, c.(*net.TCPConn).CloseWrite())
				_, err := io.ReadAll(c)
				require.NoError(t, err)
			}
			require.Positive(t, f.backend.Stats().AtLimit)
		})
	}
}

// TestLimitOfOneService does not affect another Service.
func TestLimitOfOneService(t *testing.T) {
	f := newFixture(t, Config{MaxConnectionsPerService: 1})
	a := serveTCP(t, named("a"))
	f.sync(newService("one", localsink.ProtocolTCP, a), newService("two", localsink.ProtocolTCP, a))
	exchange(t, dial(t, "tcp", f.local("one")), "", "a")
	waiting := dial(t, "tcp", f.local("one"))
	eventually(t, func() bool { return f.backend.Stats().AtLimit == 1 }, "the connection waits")
	exchange(t, dial(t, "tcp", f.local("two")), "", "a")
	f.sync() // the listener is closed, and with it the connection that waits
	_, err := io.ReadAll(waiting)
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// TestUDPLimit: a client above the limit gets no answer, and one after the end of another.
func TestUDPLimit(t *testing.T) {
	f := newFixture(t, Config{MaxConnections: 1})
	svc := newService("dns", localsink.ProtocolUDP, serveUDP(t, "a"))
	f.sync(svc)
	require.Equal(t, "a1", exchangeDatagram(t, dial(t, "udp", f.local("dns")), "1"))
	c := dial(t, "udp", f.local("dns"))
	expectSilence(t, c)
	f.sync(newService("dns", localsink.ProtocolUDP)) // ends the session
	eventually(t, func() bool { return len(f.backend.slots) == 0 }, "the session has ended")
	f.sync(svc)
	require.Equal(t, "a2", exchangeDatagram(t, c, "2"))
}

// TestStalledPeer: an endpoint that does not read costs no memory of the process.
func TestStalledPeer(t *testing.T) {
	release := make(chan struct{})
	f := newFixture(t, Config{})
	f.sync(newService("web", localsink.ProtocolTCP, serveTCP(t, func(c *net.TCPConn) {
		_ = c.SetReadBuffer(4096)
		<-release
	})))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	buf := make([]byte, 1<<20)
	for range 4 {
		c := dial(t, "tcp", f.local("web"))
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
		for range 64 { // the buffers of the kernel are full before
			if _, err := c.Write(buf); err != nil {
				require.ErrorContains(t, err, "timeout")
				break
			}
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapInuse)-int64(before.HeapInuse), int64(8<<20))
	close(release)
}

// TestAddressInUse: the Service is reported and retried, and others are served.
func TestAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	f := newFixture(t, Config{Map: FirstOf(PortMap(map[string]netip.AddrPort{"ns/web:main": taken.Addr().(*net.TCPAddr).AddrPort()}), FreePorts(loopback()))})
	a := serveTCP(t, named("a"))
	services := []*localsink.Service{newService("other", localsink.ProtocolTCP, a), newService("web", localsink.ProtocolTCP, a)}
	f.sync(services...)
	failed := f.backend.NotProgrammed()
	require.Len(t, failed, 1)
	require.ErrorIs(t, failed[services[1].Name], syscall.EADDRINUSE)
	require.ErrorContains(t, failed[services[1].Name], "userspace: Service ns/web: ClusterIP 10.96.0.1:80: listen tcp4 "+taken.Addr().String())
	exchange(t, dial(t, "tcp", f.local("other")), "", "a")
	require.NoError(t, taken.Close())
	f.backend.retryTimer.Reset(0)
	<-f.backend.ResyncRequested()
	require.NoError(t, f.backend.Sync(t.Context(), &localsink.Update{Node: f.driver.Node, All: sinktest.NewState(services...)}))
	require.Empty(t, f.backend.NotProgrammed())
	exchange(t, dial(t, "tcp", f.local("web")), "", "a")
}

// TestContestedAddress: the first Service has the address, and the next one when it is removed.
func TestContestedAddress(t *testing.T) {
	local := unusedAddr(t)
	f := newFixture(t, Config{Map: func(Frontend) []netip.AddrPort { return []netip.AddrPort{local} }})
	a, b := newService("a", localsink.ProtocolTCP, serveTCP(t, named("a"))), newService("b", localsink.ProtocolTCP, serveTCP(t, named("b")))
	f.sync(b)
	exchange(t, dial(t, "tcp", local), "", "b")
	f.sync(a, b)
	exchange(t, dial(t, "tcp", local), "", "a")
	require.ErrorContains(t, f.backend.NotProgrammed()[b.Name], "Service ns/a is served at TCP "+local.String())
	f.sync(b)
	exchange(t, dial(t, "tcp", local), "", "b")
	require.Empty(t, f.backend.NotProgrammed())
}

// TestCounts: connections are counted by frontend and by endpoint.
func TestCounts(t *testing.T) {
	f := newFixture(t, Config{})
	a := serveTCP(t, named("a"))
	svc := newService("web", localsink.ProtocolTCP, a)
	f.sync(svc)
	for range 3 {
		exchange(t, dial(t, "tcp", f.local("web")), "", "a")
	}
	frontends, err := f.backend.FrontendConnections(t.Context(), svc.Name)
	require.NoError(t, err)
	require.Equal(t, []localsink.FrontendConnections{{
		Port: "main", Protocol: localsink.ProtocolTCP, Kind: localsink.KindClusterIP, Addr: svc.Ports[0].Frontends[0].Addr, Count: 3,
	}}, frontends)
	f.sync(newService("web", localsink.ProtocolTCP))
	f.sync(svc)
	endpoints, err := f.backend.EndpointConnections(t.Context(), svc.Name)
	require.NoError(t, err)
	require.Equal(t, []localsink.EndpointConnections{{Port: "main", Protocol: localsink.ProtocolTCP, Endpoint: a, Count: 3}}, endpoints)
	f.sync()
	_, err = f.backend.EndpointConnections(t.Context(), svc.Name)
	require.ErrorContains(t, err, "Service ns/web: not programmed")
}
