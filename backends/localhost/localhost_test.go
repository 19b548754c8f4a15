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
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func loopback(v6 bool) netip.Addr {
	if v6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

func asking(addrs ...netip.Addr) *localsink.Node { return &localsink.Node{LoopbackNodePorts: addrs} }

// freePort returns a TCP port of loopback addresses that nobody has.
func freePort(t *testing.T) uint16 {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

// An endpoint says its name, then sends back what it gets until that ends, and says
// goodbye.
type endpoint struct {
	name string
	addr netip.AddrPort
	mu   sync.Mutex
	open []*net.TCPConn
}

func newEndpoint(t *testing.T, name string, v6 bool) *endpoint {
	ln, err := net.Listen("tcp", netip.AddrPortFrom(loopback(v6), 0).String())
	require.NoError(t, err)
	e := &endpoint{name: name, addr: ln.Addr().(*net.TCPAddr).AddrPort()}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			e.mu.Lock()
			e.open = append(e.open, c.(*net.TCPConn))
			e.mu.Unlock()
			all.Go(func() {
				defer c.Close()
				_, _ = io.WriteString(c, name+"\n")
				if _, err := io.Copy(c, c); err == nil {
					_, _ = io.WriteString(c, "goodbye")
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); e.reset(); all.Wait() })
	return e
}

// reset ends all connections of the endpoint badly.
func (e *endpoint) reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.open {
		abort(c)
	}
}

// A world is a sink with a port that it is told about.
type world struct {
	t    *testing.T
	sink *Sink
	d    *sinktest.Driver
	node *localsink.Node
	port uint16
}

func newWorld(t *testing.T, cfg Config, node *localsink.Node) *world {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	w := &world{t: t, sink: New(cfg), node: node, port: freePort(t)}
	w.d = &sinktest.Driver{Sink: w.sink, Node: node}
	t.Cleanup(func() { w.sink.Close() })
	return w
}

// service is a node port of both families that leads to endpoints.
func (w *world) service(name string, affinity time.Duration, endpoints ...*endpoint) *localsink.Service {
	port := localsink.Port{Protocol: localsink.ProtocolTCP, Affinity: affinity, Pools: []localsink.Pool{{}, {}}}
	for _, e := range endpoints {
		pool := &port.Pools[0]
		if e.addr.Addr().Is6() {
			pool = &port.Pools[1]
		}
		pool.Endpoints = append(pool.Endpoints, localsink.Endpoint{Addr: e.addr})
	}
	for i, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		port.Frontends = append(port.Frontends, localsink.Frontend{
			Kind: localsink.KindNodePort, Addr: netip.AddrPortFrom(any, w.port), Routes: []localsink.Route{{Pool: i, Masquerade: true}},
		})
	}
	return &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: name}, Ports: []localsink.Port{port}}
}

func (w *world) sync(services ...*localsink.Service) {
	w.t.Helper()
	require.NoError(w.t, w.d.Sync(w.t.Context(), sinktest.NewState(services...)))
}

// connect returns a connection and who answered it.
func (w *world) connect(v6 bool) (*net.TCPConn, string, error) {
	c, err := net.DialTimeout("tcp", netip.AddrPortFrom(loopback(v6), w.port).String(), 5*time.Second)
	if err != nil {
		return nil, "", err
	}
	w.t.Cleanup(func() { c.Close() })
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

func (w *world) answers(v6 bool, want string) *net.TCPConn {
	w.t.Helper()
	c, name, err := w.connect(v6)
	require.NoError(w.t, err)
	require.Equal(w.t, want, name)
	return c
}

func (w *world) refused(v6 bool) {
	w.t.Helper()
	_, _, err := w.connect(v6)
	require.ErrorIs(w.t, err, syscall.ECONNREFUSED)
}

// goesOn checks that a connection still carries bytes both ways.
func goesOn(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.WriteString(c, "ping")
	require.NoError(t, err)
	got := make([]byte, 4)
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, "ping", string(got))
}

// TestDP62 follows the rows of kube-proxy's localhost proxy, with real connections.
func TestDP62(t *testing.T) {
	v4, v6 := asking(loopback(false)), asking(loopback(false), loopback(true))

	t.Run("listeners come and go", func(t *testing.T) {
		w, a := newWorld(t, Config{}, v4), newEndpoint(t, "a", false)
		w.refused(false)
		w.sync(w.service("web", 0, a))
		w.answers(false, "a")
		require.Equal(t, 1, w.sink.Stats().Listeners)
		w.sync()
		w.refused(false)
		require.Zero(t, w.sink.Stats().Listeners)
	})

	t.Run("both families, each as asked", func(t *testing.T) {
		w := newWorld(t, Config{}, v6)
		a, b := newEndpoint(t, "a", false), newEndpoint(t, "b", true)
		state := w.service("web", 0, a, b)
		w.sync(state)
		w.answers(false, "a")
		w.answers(true, "b")
		for _, change := range []struct {
			node  *localsink.Node
			four  bool
			sixth bool
		}{{v4, true, false}, {asking(), false, false}, {asking(loopback(true)), false, true}, {v6, true, true}} {
			u := sinktest.NewUpdate(change.node, sinktest.NewState(state), sinktest.NewState(state))
			u.NodeChanged = true
			require.NoError(t, w.sink.Sync(t.Context(), u))
			for v6, open := range map[bool]bool{false: change.four, true: change.sixth} {
				if open {
					w.answers(v6, map[bool]string{false: "a", true: "b"}[v6])
				} else {
					w.refused(v6)
				}
			}
		}
	})

	t.Run("endpoints change at once, connections go on", func(t *testing.T) {
		w := newWorld(t, Config{}, v4)
		a, b := newEndpoint(t, "a", false), newEndpoint(t, "b", false)
		w.sync(w.service("web", 0, a))
		c := w.answers(false, "a")
		w.sync(w.service("web", 0, b))
		w.answers(false, "b")
		goesOn(t, c)
		w.sync(w.service("web", 0))
		w.refused(false)
		goesOn(t, c)
		w.sync()
		goesOn(t, c)
		require.EqualValues(t, 2, w.sink.Stats().Connections)
	})

	t.Run("no endpoints, no listener", func(t *testing.T) {
		w := newWorld(t, Config{}, v4)
		w.sync(w.service("web", 0))
		w.refused(false)
		dropping := w.service("web", 0)
		dropping.Ports[0].Frontends[0].Routes[0].EmptyVerdict = localsink.VerdictDrop
		w.sync(dropping)
		w.refused(false)
	})

	for _, protocol := range []localsink.Protocol{localsink.ProtocolUDP, localsink.ProtocolSCTP} {
		t.Run("DP-63 is left alone: "+protocol.String(), func(t *testing.T) {
			w := newWorld(t, Config{}, v4)
			svc := w.service("dns", 0, newEndpoint(t, "a", false))
			svc.Ports[0].Protocol = protocol
			w.sync(svc)
			require.Zero(t, w.sink.Stats())
			w.refused(false)
		})
	}

	t.Run("only node ports", func(t *testing.T) {
		w := newWorld(t, Config{}, v4)
		svc := w.service("web", 0, newEndpoint(t, "a", false))
		svc.Ports[0].Frontends[0].Kind = localsink.KindExternalIP
		svc.Ports[0].Frontends[1].Kind = localsink.KindClusterIP
		w.sync(svc)
		require.Zero(t, w.sink.Stats())
	})

	t.Run("the first route for this node counts", func(t *testing.T) {
		w := newWorld(t, Config{}, v4)
		a, b := newEndpoint(t, "a", false), newEndpoint(t, "b", false)
		svc := w.service("web", 0, a)
		svc.Ports[0].Pools = append(svc.Ports[0].Pools, localsink.Pool{Endpoints: []localsink.Endpoint{{Addr: b.addr}}})
		routes := func(r ...localsink.Route) {
			fe := svc.Ports[0].Frontends[0]
			next := *svc
			next.Ports = []localsink.Port{svc.Ports[0]}
			fe.Routes = r
			next.Ports[0].Frontends = []localsink.Frontend{fe}
			svc = &next
			w.sync(svc)
		}
		routes(localsink.Route{From: localsink.FromLocalPods}, localsink.Route{From: localsink.FromThisNode, Pool: 2}, localsink.Route{})
		w.answers(false, "b")
		routes(localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Pool: 2})
		w.answers(false, "b")
		routes(localsink.Route{From: localsink.FromThisNode}, localsink.Route{Pool: 2})
		w.answers(false, "a")
		routes(localsink.Route{From: localsink.FromThisNode, Pool: 1, EmptyVerdict: localsink.VerdictDrop}, localsink.Route{Pool: 2})
		w.refused(false)
	})

	t.Run("source ranges count", func(t *testing.T) {
		w := newWorld(t, Config{}, v4)
		svc := w.service("web", 0, newEndpoint(t, "a", false))
		svc.Ports[0].Frontends[0].SourceRanges = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		w.sync(svc)
		w.refused(false)
		svc = w.service("web", 0, newEndpoint(t, "a", false))
		svc.Ports[0].Frontends[0].SourceRanges = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		w.sync(svc)
		w.answers(false, "a")
	})

	t.Run("a port moves to another Service without a gap", func(t *testing.T) {
		w := newWorld(t, Config{}, v4)
		a, b := newEndpoint(t, "a", false), newEndpoint(t, "b", false)
		w.sync(w.service("old", 0, a))
		ln := w.sink.ports[netip.AddrPortFrom(loopback(false), w.port)].listener
		w.sync(w.service("new", 0, b))
		w.answers(false, "b")
		require.Same(t, ln, w.sink.ports[netip.AddrPortFrom(loopback(false), w.port)].listener)
		w.sync(w.service("old", 0, a))
		w.answers(false, "a")
		w.sync()
		w.refused(false)
	})

	t.Run("ends pass through, each way by itself", func(t *testing.T) {
		w, a := newWorld(t, Config{}, v4), newEndpoint(t, "a", false)
		w.sync(w.service("web", 0, a))
		c := w.answers(false, "a")
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		go func() {
			_, _ = c.Write(sent)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.True(t, bytes.Equal(append(sent, "goodbye"...), got), "%d bytes came back", len(got))
	})

	t.Run("a reset stays a reset", func(t *testing.T) {
		w, a := newWorld(t, Config{}, v4), newEndpoint(t, "a", false)
		w.sync(w.service("web", 0, a))
		c := w.answers(false, "a")
		a.reset()
		_, err := io.ReadAll(c)
		require.ErrorIs(t, err, syscall.ECONNRESET)
	})

	t.Run("an endpoint that cannot be reached ends the connection", func(t *testing.T) {
		w, a := newWorld(t, Config{}, v4), newEndpoint(t, "a", false)
		w.sync(w.service("web", 0, &endpoint{addr: netip.AddrPortFrom(loopback(false), freePort(t))}))
		_, _, err := w.connect(false)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		w.sync(w.service("web", 0, a))
		w.answers(false, "a")
	})

	t.Run("an endpoint has five seconds to accept", func(t *testing.T) {
		limit := make(chan time.Duration, 1)
		w := newWorld(t, Config{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			end, ok := ctx.Deadline()
			require.True(t, ok)
			limit <- time.Until(end)
			return nil, errors.New("injected")
		}}, v4)
		w.sync(w.service("web", 0, newEndpoint(t, "a", false)))
		_, _, err := w.connect(false)
		require.Error(t, err)
		got := <-limit
		require.LessOrEqual(t, got, 5*time.Second)
		require.Greater(t, got, 4*time.Second)
	})

	t.Run("Close ends listeners and connections", func(t *testing.T) {
		w, a := newWorld(t, Config{}, v4), newEndpoint(t, "a", false)
		w.sync(w.service("web", 0, a))
		c := w.answers(false, "a")
		w.sink.Close()
		_, err := io.ReadAll(c)
		require.Error(t, err, "the connection has ended")
		w.refused(false)
		require.Zero(t, w.sink.Stats().Listeners)
		require.Zero(t, w.sink.Stats().Connections)
	})

	t.Run("without affinity each connection is drawn anew", func(t *testing.T) {
		w := newWorld(t, Config{}, v4)
		w.sync(w.service("web", 0, newEndpoint(t, "a", false), newEndpoint(t, "b", false)))
		seen := map[string]int{}
		for range 100 {
			c, name, err := w.connect(false)
			require.NoError(t, err)
			seen[name]++
			c.Close()
		}
		require.Len(t, seen, 2)
		require.Greater(t, min(seen["a"], seen["b"]), 20) // less: once in 10^9 runs
	})

	t.Run("affinity is one pin", func(t *testing.T) {
		w := newWorld(t, Config{}, v4)
		a, b, c := newEndpoint(t, "a", false), newEndpoint(t, "b", false), newEndpoint(t, "c", false)
		w.sync(w.service("web", time.Hour, a, b, c))
		_, first, err := w.connect(false)
		require.NoError(t, err)
		for range 30 {
			w.answers(false, first)
		}
		var others []*endpoint
		for _, e := range []*endpoint{a, b, c} {
			if e.name != first {
				others = append(others, e)
			}
		}
		w.sync(w.service("web", time.Hour, others...))
		_, second, err := w.connect(false)
		require.NoError(t, err)
		require.NotEqual(t, first, second, "its endpoint is gone")
		w.sync(w.service("web", time.Hour, a, b, c))
		for range 30 {
			w.answers(false, second)
		}
	})
}

// TestDP62Affinity is about time.
func TestDP62Affinity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var many []netip.AddrPort
		for i := range 1000 {
			many = append(many, netip.AddrPortFrom(loopback(false), uint16(i+1)))
		}
		p := &port{}
		pick := func() netip.AddrPort { return p.pick(time.Now()) }
		p.set(many, time.Minute)
		first := pick()
		for range 10 { // each connection renews it
			time.Sleep(time.Minute - time.Nanosecond)
			require.Equal(t, first, pick())
		}
		p.set(many, time.Minute)
		require.Equal(t, first, pick(), "nothing has changed")
		// Of 1,000 endpoints, several draws hit the same one never.
		redraws := func(why string, f func(i int)) {
			seen := map[netip.AddrPort]bool{}
			for i := range 6 {
				f(i)
				seen[pick()] = true
			}
			require.Greater(t, len(seen), 1, why)
		}
		redraws("it has expired", func(int) { time.Sleep(time.Minute) })
		redraws("the time has changed", func(i int) { p.set(many, time.Hour+time.Duration(i)) })
		redraws("it was turned off", func(int) { p.set(many, 0) })
	})
}

// TestDP62BindFailure: a port that somebody else has is reported and tried again, and
// keeps nobody else from being served.
func TestDP62BindFailure(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, asking(loopback(false)))
	a := newEndpoint(t, "a", false)
	taken, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", w.port))
	require.NoError(t, err)
	defer taken.Close()
	other := w.service("other", 0, a)
	other.Ports[0].Frontends = other.Ports[0].Frontends[:1]
	other.Ports[0].Frontends[0].Addr = netip.AddrPortFrom(netip.IPv4Unspecified(), freePort(t))
	web := w.service("web", 0, a)
	w.sync(web, other)
	require.Equal(t, Stats{Listeners: 1, Unopened: 1, OpenFailures: 1}, w.sink.Stats())
	unserved := w.sink.NotProgrammed()
	require.Len(t, unserved, 1)
	require.ErrorIs(t, unserved[web.Name], syscall.EADDRINUSE)
	require.ErrorContains(t, unserved[web.Name], fmt.Sprintf("localhost: Service ns/web: spec.ports[].nodePort %d: ", w.port))
	w.sync(web, other)
	require.EqualValues(t, 2, w.sink.Stats().OpenFailures)
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("level=ERROR")), "told once: %s", log.String())
	w.sync(other)
	require.Empty(t, w.sink.NotProgrammed(), "nobody wants it any more")
	require.Zero(t, w.sink.Stats().Unopened)
	w.sync(web, other)
	require.Len(t, w.sink.NotProgrammed(), 1)
	require.NoError(t, taken.Close())
	w.sink.retry.Reset(0)
	<-w.sink.ResyncRequested()
	require.NoError(t, w.sink.Sync(t.Context(), &localsink.Update{Node: w.node, All: sinktest.NewState(web, other)}))
	w.answers(false, "a")
	require.Empty(t, w.sink.NotProgrammed())
	require.Equal(t, 2, w.sink.Stats().Listeners)
}

// TestCutOff: what was not opened in time is not forgotten.
func TestCutOff(t *testing.T) {
	w, a := newWorld(t, Config{}, asking(loopback(false))), newEndpoint(t, "a", false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, w.d.Sync(ctx, sinktest.NewState(w.service("web", 0, a))), context.Canceled)
	require.Empty(t, w.sink.NotProgrammed())
	w.sync(w.service("web", 0, a))
	w.answers(false, "a")
}

// TestOneChangeCostsOneChange: a Sync looks at what has changed, however many there are.
func TestOneChangeCostsOneChange(t *testing.T) {
	w, a := newWorld(t, Config{}, asking(loopback(false))), newEndpoint(t, "a", false)
	web := w.service("web", 0, a)
	w.sync(web)
	u := &localsink.Update{Node: w.node, Changed: []*localsink.Service{web}, All: nil} // a look at all would panic
	require.NoError(t, w.sink.Sync(t.Context(), u))
	w.answers(false, "a")
}

// TestTimers: nobody is woken for nothing, and a port that cannot be opened is tried again
// in time.
func TestTimers(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	web := (&world{port: uint16(taken.Addr().(*net.TCPAddr).Port)}).service("web", 0, &endpoint{addr: netip.MustParseAddrPort("192.0.2.1:80")})
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		woken := func() bool {
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
		sync(asking())
		time.Sleep(48 * time.Hour)
		require.False(t, woken(), "there is nothing to do")
		sync(asking(loopback(false)))
		require.Len(t, s.NotProgrammed(), 1)
		time.Sleep(retryAfter - time.Nanosecond)
		require.False(t, woken())
		time.Sleep(time.Nanosecond)
		require.True(t, woken())
		sync(asking(loopback(false)))
		s.Close()
		time.Sleep(48 * time.Hour)
		require.False(t, woken(), "it is closed")
	})
}

// TestCloseWaits: what a connection still does is over when Close returns.
func TestCloseWaits(t *testing.T) {
	dialling, over := make(chan struct{}), false
	w := newWorld(t, Config{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		close(dialling)
		<-ctx.Done()
		for range 1000 {
			runtime.Gosched()
		}
		over = true
		return nil, ctx.Err()
	}}, asking(loopback(false)))
	w.sync(w.service("web", 0, newEndpoint(t, "a", false)))
	c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", w.port))
	require.NoError(t, err)
	defer c.Close()
	<-dialling
	w.sink.Close()
	require.True(t, over)
}

// TestNothingStaysOpen: a connection that has ended costs nothing any more.
func TestNothingStaysOpen(t *testing.T) {
	files := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("this system does not tell which files are open")
		}
		return len(list)
	}
	w, a := newWorld(t, Config{}, asking(loopback(false))), newEndpoint(t, "a", false)
	w.sync(w.service("web", 0, a))
	before := files()
	for range 50 {
		c := w.answers(false, "a")
		require.NoError(t, c.CloseWrite())
		_, err := io.ReadAll(c)
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
	for w.sink.Stats().Connections > 0 {
		runtime.Gosched()
	}
	require.Less(t, files(), before+25) // some are the endpoint's, about to go
}

// TestWithoutHalves: where only both directions can be ended, both are.
func TestWithoutHalves(t *testing.T) {
	w := newWorld(t, Config{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		return struct{ net.Conn }{c}, err
	}}, asking(loopback(false)))
	w.sync(w.service("web", 0, newEndpoint(t, "a", false)))
	c := w.answers(false, "a")
	goesOn(t, c)
	require.NoError(t, c.CloseWrite())
	_, err := io.ReadAll(c)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}
