// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// The tests of DP-62 use connections over the loopback interface.

func TestDP62Listeners(t *testing.T) {
	v4, v6 := loopbackNode(loopback(false)), loopbackNode(loopback(false), loopback(true))

	t.Run("listener opens and closes with the Service", func(t *testing.T) {
		f, a := newFixture(t, Config{}, v4), newEndpoint(t, "a", false)
		f.expectRefused(false)
		f.sync(f.service("web", 0, a))
		f.expectEndpoint(false, "a")
		require.Equal(t, 1, f.sink.Stats().Listeners)
		f.sync()
		f.expectRefused(false)
		require.Zero(t, f.sink.Stats().Listeners)
	})

	t.Run("listens in the families of LoopbackNodePorts", func(t *testing.T) {
		f := newFixture(t, Config{}, v6)
		a, b := newEndpoint(t, "a", false), newEndpoint(t, "b", true)
		state := f.service("web", 0, a, b)
		f.sync(state)
		f.expectEndpoint(false, "a")
		f.expectEndpoint(true, "b")
		for _, change := range []struct {
			node  *localsink.Node
			open4 bool
			open6 bool
		}{{v4, true, false}, {loopbackNode(), false, false}, {loopbackNode(loopback(true)), false, true}, {v6, true, true}} {
			u := sinktest.NewUpdate(change.node, sinktest.NewState(state), sinktest.NewState(state))
			u.NodeChanged = true
			require.NoError(t, f.sink.Sync(t.Context(), u))
			for v6, open := range map[bool]bool{false: change.open4, true: change.open6} {
				if open {
					f.expectEndpoint(v6, map[bool]string{false: "a", true: "b"}[v6])
				} else {
					f.expectRefused(v6)
				}
			}
		}
	})

	t.Run("a port without endpoints is closed", func(t *testing.T) {
		f := newFixture(t, Config{}, v4)
		f.sync(f.service("web", 0))
		f.expectRefused(false)
		dropping := f.service("web", 0)
		dropping.Ports[0].Frontends[0].Routes[0].EmptyVerdict = localsink.VerdictDrop
		f.sync(dropping)
		f.expectRefused(false)
	})

	t.Run("a port that moves to another Service stays open", func(t *testing.T) {
		opened := 0
		f := newFixture(t, Config{Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			opened++
			return new(net.ListenConfig).Listen(ctx, network, address)
		}}, v4)
		a, b := newEndpoint(t, "a", false), newEndpoint(t, "b", false)
		f.sync(f.service("old", 0, a))
		f.sync(f.service("new", 0, b))
		f.expectEndpoint(false, "b")
		f.sync(f.service("old", 0, a))
		f.expectEndpoint(false, "a")
		require.Equal(t, 1, opened)
		f.sync()
		f.expectRefused(false)
	})
}

func TestDP62ServedFrontends(t *testing.T) {
	v4 := loopbackNode(loopback(false))

	for _, protocol := range []localsink.Protocol{localsink.ProtocolUDP, localsink.ProtocolSCTP} {
		t.Run("DP-63 not served: "+protocol.String(), func(t *testing.T) {
			f := newFixture(t, Config{}, v4)
			svc := f.service("dns", 0, newEndpoint(t, "a", false))
			svc.Ports[0].Protocol = protocol
			f.sync(svc)
			require.Zero(t, f.sink.Stats())
			f.expectRefused(false)
		})
	}

	t.Run("other kinds of frontends are not served", func(t *testing.T) {
		f := newFixture(t, Config{}, v4)
		svc := f.service("web", 0, newEndpoint(t, "a", false))
		svc.Ports[0].Frontends[0].Kind = localsink.KindExternalIP
		svc.Ports[0].Frontends[1].Kind = localsink.KindClusterIP
		f.sync(svc)
		require.Zero(t, f.sink.Stats())
	})

	t.Run("the first route for this node applies", func(t *testing.T) {
		f := newFixture(t, Config{}, v4)
		a, b := newEndpoint(t, "a", false), newEndpoint(t, "b", false)
		svc := f.service("web", 0, a)
		svc.Ports[0].Pools = append(svc.Ports[0].Pools, localsink.Pool{Endpoints: []localsink.Endpoint{{Addr: b.addr, Weight: 1}}})
		routes := func(r ...localsink.Route) {
			fe := svc.Ports[0].Frontends[0]
			next := *svc
			next.Ports = []localsink.Port{svc.Ports[0]}
			fe.Routes = r
			next.Ports[0].Frontends = []localsink.Frontend{fe}
			svc = &next
			f.sync(svc)
		}
		routes(localsink.Route{From: localsink.FromLocalPods}, localsink.Route{From: localsink.FromThisNode, Pool: 2}, localsink.Route{})
		f.expectEndpoint(false, "b")
		routes(localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Pool: 2})
		f.expectEndpoint(false, "b")
		routes(localsink.Route{From: localsink.FromThisNode}, localsink.Route{Pool: 2})
		f.expectEndpoint(false, "a")
		routes(localsink.Route{From: localsink.FromThisNode, Pool: 1, EmptyVerdict: localsink.VerdictDrop}, localsink.Route{Pool: 2})
		f.expectRefused(false)
	})

	t.Run("source ranges apply to the loopback address", func(t *testing.T) {
		f := newFixture(t, Config{}, v4)
		svc := f.service("web", 0, newEndpoint(t, "a", false))
		svc.Ports[0].Frontends[0].SourceRanges = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		f.sync(svc)
		f.expectRefused(false)
		svc = f.service("web", 0, newEndpoint(t, "a", false))
		svc.Ports[0].Frontends[0].SourceRanges = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		f.sync(svc)
		f.expectEndpoint(false, "a")
	})
}

func TestDP62Connections(t *testing.T) {
	v4 := loopbackNode(loopback(false))

	t.Run("established connections survive endpoint changes", func(t *testing.T) {
		f := newFixture(t, Config{}, v4)
		a, b := newEndpoint(t, "a", false), newEndpoint(t, "b", false)
		f.sync(f.service("web", 0, a))
		c := f.expectEndpoint(false, "a")
		f.sync(f.service("web", 0, b))
		f.expectEndpoint(false, "b")
		expectEcho(t, c)
		f.sync(f.service("web", 0))
		f.expectRefused(false)
		expectEcho(t, c)
		f.sync()
		expectEcho(t, c)
		require.EqualValues(t, 2, f.sink.Stats().Connections)
	})

	t.Run("directions of a connection end independently", func(t *testing.T) {
		f, a := newFixture(t, Config{}, v4), newEndpoint(t, "a", false)
		f.sync(f.service("web", 0, a))
		c := f.expectEndpoint(false, "a")
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		go func() {
			_, _ = c.Write(sent)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.True(t, bytes.Equal(append(sent, "goodbye"...), got), "%d bytes came back", len(got))
	})

	t.Run("a reset is forwarded as a reset", func(t *testing.T) {
		f, a := newFixture(t, Config{}, v4), newEndpoint(t, "a", false)
		f.sync(f.service("web", 0, a))
		c := f.expectEndpoint(false, "a")
		a.reset()
		_, err := io.ReadAll(c)
		require.ErrorIs(t, err, syscall.ECONNRESET)
	})

	t.Run("an unreachable endpoint resets the connection", func(t *testing.T) {
		f, a := newFixture(t, Config{}, v4), newEndpoint(t, "a", false)
		f.sync(f.service("web", 0, &endpoint{addr: netip.AddrPortFrom(loopback(false), freePort(t))}))
		_, _, err := f.connect(false)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		f.sync(f.service("web", 0, a))
		f.expectEndpoint(false, "a")
	})

	t.Run("dialling an endpoint times out after five seconds", func(t *testing.T) {
		limit := make(chan time.Duration, 1)
		f := newFixture(t, Config{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			end, ok := ctx.Deadline()
			require.True(t, ok)
			limit <- time.Until(end)
			return nil, errors.New("injected")
		}}, v4)
		f.sync(f.service("web", 0, newEndpoint(t, "a", false)))
		_, _, err := f.connect(false)
		require.Error(t, err)
		got := <-limit
		require.LessOrEqual(t, got, 5*time.Second)
		require.Greater(t, got, 4*time.Second)
	})

	t.Run("Close closes listeners and connections", func(t *testing.T) {
		f, a := newFixture(t, Config{}, v4), newEndpoint(t, "a", false)
		f.sync(f.service("web", 0, a))
		c := f.expectEndpoint(false, "a")
		require.NoError(t, f.sink.Close())
		_, err := io.ReadAll(c)
		require.Error(t, err, "the connection has ended")
		f.expectRefused(false)
		require.Zero(t, f.sink.Stats().Listeners)
		require.Zero(t, f.sink.Stats().Connections)
	})
}

func TestDP62ChoosesEndpoints(t *testing.T) {
	v4 := loopbackNode(loopback(false))

	t.Run("without affinity each connection gets a random endpoint", func(t *testing.T) {
		f := newFixture(t, Config{}, v4)
		f.sync(f.service("web", 0, newEndpoint(t, "a", false), newEndpoint(t, "b", false)))
		seen := map[string]int{}
		for range 100 {
			c, name, err := f.connect(false)
			require.NoError(t, err)
			seen[name]++
			c.Close()
		}
		require.Len(t, seen, 2)
		require.Greater(t, min(seen["a"], seen["b"]), 20) // fails once in 10^9 runs
	})

	t.Run("one affinity entry serves all connections", func(t *testing.T) {
		f := newFixture(t, Config{}, v4)
		a, b, c := newEndpoint(t, "a", false), newEndpoint(t, "b", false), newEndpoint(t, "c", false)
		f.sync(f.service("web", time.Hour, a, b, c))
		_, first, err := f.connect(false)
		require.NoError(t, err)
		for range 30 {
			f.expectEndpoint(false, first)
		}
		var others []*endpoint
		for _, e := range []*endpoint{a, b, c} {
			if e.name != first {
				others = append(others, e)
			}
		}
		f.sync(f.service("web", time.Hour, others...))
		_, second, err := f.connect(false)
		require.NoError(t, err)
		require.NotEqual(t, first, second, "its endpoint was removed")
		f.sync(f.service("web", time.Hour, a, b, c))
		for range 30 {
			f.expectEndpoint(false, second)
		}
	})
}

// TestDP62PortInUse: a port in use is reported and retried; other Services are served.
func TestDP62PortInUse(t *testing.T) {
	var log bytes.Buffer
	f := newFixture(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, loopbackNode(loopback(false)))
	a := newEndpoint(t, "a", false)
	taken, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", f.port))
	require.NoError(t, err)
	defer taken.Close()
	other := f.service("other", 0, a)
	other.Ports[0].Frontends = other.Ports[0].Frontends[:1]
	other.Ports[0].Frontends[0].Addr = netip.AddrPortFrom(netip.IPv4Unspecified(), freePort(t))
	web := f.service("web", 0, a)
	f.sync(web, other)
	require.Equal(t, Stats{Listeners: 1, Unopened: 1, OpenFailures: 1}, f.sink.Stats())
	failed := f.sink.NotProgrammed()
	require.Len(t, failed, 1)
	require.ErrorIs(t, failed[web.Name], syscall.EADDRINUSE)
	require.ErrorContains(t, failed[web.Name], fmt.Sprintf("Service ns/web: NodePort 0.0.0.0:%d: ", f.port))
	f.sync(web, other)
	require.EqualValues(t, 2, f.sink.Stats().OpenFailures)
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("level=ERROR")), "logged once: %s", log.String())
	f.sync(other)
	require.Empty(t, f.sink.NotProgrammed(), "the Service was removed")
	require.Zero(t, f.sink.Stats().Unopened)
	f.sync(web, other)
	require.Len(t, f.sink.NotProgrammed(), 1)
	require.NoError(t, taken.Close())
	require.NoError(t, f.sink.Sync(t.Context(), &localsink.Update{Node: f.node, All: sinktest.NewState(web, other)}))
	f.expectEndpoint(false, "a")
	require.Empty(t, f.sink.NotProgrammed())
	require.Equal(t, 2, f.sink.Stats().Listeners)
}

// TestCanceledSyncIsRetried: the next Sync opens the ports of a canceled one.
func TestCanceledSyncIsRetried(t *testing.T) {
	f, a := newFixture(t, Config{}, loopbackNode(loopback(false))), newEndpoint(t, "a", false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.driver.Sync(ctx, sinktest.NewState(f.service("web", 0, a))), context.Canceled)
	require.Empty(t, f.sink.NotProgrammed())
	f.sync(f.service("web", 0, a))
	f.expectEndpoint(false, "a")
}

// TestSyncExaminesChangedServicesOnly: the cost of a Sync depends on the number of changes.
func TestSyncExaminesChangedServicesOnly(t *testing.T) {
	f, a := newFixture(t, Config{}, loopbackNode(loopback(false))), newEndpoint(t, "a", false)
	web := f.service("web", 0, a)
	f.sync(web)
	u := &localsink.Update{Node: f.node, Changed: []*localsink.Service{web}, All: nil} // reading All would panic
	require.NoError(t, f.sink.Sync(t.Context(), u))
	f.expectEndpoint(false, "a")
}

// TestResyncTimer: a resync is requested in time for a failed port, and not otherwise.
func TestResyncTimer(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	web := (&fixture{port: uint16(taken.Addr().(*net.TCPAddr).Port)}).service("web", 0, &endpoint{addr: netip.MustParseAddrPort("192.0.2.1:80")})
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t, Config{})
		resyncRequested := func() bool {
			synctest.Wait()
			select {
			case <-s.ResyncRequested():
				return true
			default:
				return false
			}
		}
		sync := func(n *localsink.Node) {
			require.NoError(t, s.Sync(t.Context(), sinktest.NewUpdate(n, nil, sinktest.NewState(web))))
		}
		sync(loopbackNode())
		time.Sleep(48 * time.Hour)
		require.False(t, resyncRequested(), "there is nothing to retry")
		sync(loopbackNode(loopback(false)))
		require.Len(t, s.NotProgrammed(), 1)
		time.Sleep(5*time.Second - time.Nanosecond)
		require.False(t, resyncRequested())
		time.Sleep(time.Nanosecond)
		require.True(t, resyncRequested())
		sync(loopbackNode(loopback(false)))
		require.NoError(t, s.Close())
		time.Sleep(48 * time.Hour)
		require.False(t, resyncRequested(), "no resync after Close")
	})
}

// TestCloseWaits: the goroutines of connections have ended when Close returns.
func TestCloseWaits(t *testing.T) {
	dialling, ended := make(chan struct{}), false
	f := newFixture(t, Config{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		close(dialling)
		<-ctx.Done()
		for range 1000 {
			runtime.Gosched()
		}
		ended = true
		return nil, ctx.Err()
	}}, loopbackNode(loopback(false)))
	f.sync(f.service("web", 0, newEndpoint(t, "a", false)))
	c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", f.port))
	require.NoError(t, err)
	defer c.Close()
	<-dialling
	require.NoError(t, f.sink.Close())
	require.True(t, ended)
}

// TestConnectionsLeakNoFiles: a connection that has ended has no open files.
func TestConnectionsLeakNoFiles(t *testing.T) {
	files := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("needs /proc/self/fd")
		}
		return len(list)
	}
	f, a := newFixture(t, Config{}, loopbackNode(loopback(false))), newEndpoint(t, "a", false)
	f.sync(f.service("web", 0, a))
	before := files()
	for range 50 {
		c := f.expectEndpoint(false, "a")
		require.NoError(t, c.CloseWrite())
		_, err := io.ReadAll(c)
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
	for f.sink.Stats().Connections > 0 {
		runtime.Gosched()
	}
	require.Less(t, files(), before+25) // the endpoint may still close some
}

// TestConnWithoutCloseWrite: if Dial returns a connection without CloseWrite, the end of one
// direction ends both.
func TestConnWithoutCloseWrite(t *testing.T) {
	f := newFixture(t, Config{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		return struct{ net.Conn }{c}, err
	}}, loopbackNode(loopback(false)))
	f.sync(f.service("web", 0, newEndpoint(t, "a", false)))
	c := f.expectEndpoint(false, "a")
	expectEcho(t, c)
	require.NoError(t, c.CloseWrite())
	_, err := io.ReadAll(c)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

// TestConnectionsAreLimited: a connection above the limit is reset, and the end of another
// makes room.
func TestConnectionsAreLimited(t *testing.T) {
	f := newFixture(t, Config{MaxConnections: 2}, loopbackNode(loopback(false)))
	f.sync(f.service("web", 0, newEndpoint(t, "a", false)))
	first := f.expectEndpoint(false, "a")
	f.expectEndpoint(false, "a")
	over, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", f.port))
	if err == nil { // otherwise the reset was faster than the return of Dial
		_, err = io.ReadAll(over)
		require.NoError(t, over.Close())
	}
	require.ErrorIs(t, err, syscall.ECONNRESET)
	expectEcho(t, first)
	require.NoError(t, first.CloseWrite())
	_, err = io.ReadAll(first)
	require.NoError(t, err)
	for f.sink.Stats().Connections > 1 {
		runtime.Gosched()
	}
	f.expectEndpoint(false, "a")
}

// TestDP19RefusedConnections uses real connections.
func TestDP19RefusedConnections(t *testing.T) {
	f, a := newFixture(t, Config{}, loopbackNode(loopback(false))), newEndpoint(t, "a", false)
	share := func(perMille uint16, affinity time.Duration) {
		svc := f.service("web", affinity, a)
		svc.Ports[0].RefusedPerMille = perMille
		f.sync(svc)
	}
	share(0, 0)
	c := f.expectEndpoint(false, "a")
	share(1000, 0)
	f.expectRefused(false)
	expectEcho(t, c)
	share(999, 0)
	resets := 0
	for range 50 {
		if _, _, err := f.connect(false); err != nil {
			require.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF), err)
			resets++
		}
	}
	require.Greater(t, resets, 40)
	share(0, 0)
	f.expectEndpoint(false, "a")
	open := int64(2 + 50 - resets) // of 50 connections, one in a thousand is not refused
	require.Eventually(t, func() bool { return f.sink.Stats().Connections == open }, 10*time.Second, time.Millisecond, "refused connections have ended")
	share(0, time.Hour)
	f.expectEndpoint(false, "a")
	share(1000, time.Hour)
	f.expectEndpoint(false, "a")
}
