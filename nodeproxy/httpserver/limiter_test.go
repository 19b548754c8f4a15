// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// A fakeConn is a connection from an address.
type fakeConn struct {
	net.Conn
	from   string
	closed bool
}

func (c *fakeConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from))
}
func (c *fakeConn) SetWriteDeadline(time.Time) error { return nil }
func (c *fakeConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *fakeConn) Close() error                     { c.closed = true; return nil }

// TestFullLimiterReplacesConnectionsOfTheGreediestPeer checks which connection a new one
// replaces.
func TestFullLimiterReplacesConnectionsOfTheGreediestPeer(t *testing.T) {
	for _, row := range []struct {
		name     string
		open     []string // peers, in the order in which they connected
		used     []int    // indexes of connections that have received a response since
		next     string
		replaced int
	}{
		{"the oldest of one peer", []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3"}, nil, "192.0.2.1:4", 0},
		{"a peer with many, not one with a single connection", []string{"198.51.100.1:1", "192.0.2.1:1", "192.0.2.1:2"}, nil, "203.0.113.1:1", 1},
		{"the one without a response for the longest time", []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3"}, []int{0}, "203.0.113.1:1", 1},
		{"many peers with one connection each", []string{"192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"}, []int{0, 1}, "203.0.113.1:1", 2},
		{"addresses of one IPv6 network are one peer", []string{"[2001:db8::9:1]:1", "[2001:db8:1::1]:1", "[2001:db8:1::2]:1"}, nil, "203.0.113.1:1", 1},
		{"an IPv4-mapped address is the IPv4 peer", []string{"198.51.100.1:1", "[::ffff:192.0.2.1]:1", "192.0.2.1:2"}, nil, "203.0.113.1:1", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := NewLimiter(LimiterConfig{Descriptors: 100, Connections: len(row.open)})
			var fakes []*fakeConn
			var conns []net.Conn
			for _, from := range row.open {
				fakes = append(fakes, &fakeConn{from: from})
				conns = append(conns, l.add(fakes[len(fakes)-1]))
			}
			for _, i := range row.used {
				_, err := conns[i].Write([]byte("x"))
				require.NoError(t, err)
			}
			l.add(&fakeConn{from: row.next})
			for i, c := range fakes {
				require.Equal(t, i == row.replaced, c.closed, "connection %d of %s", i, c.from)
			}
			require.NoError(t, conns[row.replaced].Close()) // by its server, a second time
			require.Equal(t, LimiterStats{0, len(row.open), 1, 100, len(row.open)}, l.Stats())
		})
	}
}

func TestListenersAndConnectionsShareTheDescriptors(t *testing.T) {
	l := NewLimiter(LimiterConfig{Descriptors: 8})
	var listeners []net.Listener
	for range 4 {
		listener, err := l.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		listeners = append(listeners, listener)
	}
	_, err := l.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.ErrorContains(t, err, "listen tcp 127.0.0.1:0: 4 listeners are open, the maximum for 8 file descriptors")
	for i := range 10 {
		l.add(&fakeConn{from: fmt.Sprintf("192.0.2.1:%d", i+1)})
	}
	require.Equal(t, LimiterStats{4, 4, 6, 8, 1024}, l.Stats())
	require.NoError(t, listeners[0].Close())
	require.Error(t, listeners[0].Close())
	_, err = l.Listen(t.Context(), "tcp", "nowhere:x")
	require.Error(t, err)
	require.Equal(t, 3, l.Stats().Listeners)
	for _, listener := range listeners[1:] {
		require.NoError(t, listener.Close())
	}
}

func TestDefaultsLeaveDescriptorsToTheProcess(t *testing.T) {
	for limit, want := range map[int]int{50: 16, 100: 36, 256: 192, 300: 225, 1024: 768, 1 << 20: 786432} {
		require.Equal(t, want, defaultDescriptors(limit), "limit %d", limit)
	}
	require.Positive(t, descriptorLimit())
}

// startServer runs a server with limits until the test ends, and returns its address.
func startServer(t *testing.T, l *Limiter, h http.Handler) string {
	ctx, cancel := context.WithCancel(t.Context())
	var log syncBuffer
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx, "127.0.0.1:0", h, slog.New(slog.NewTextHandler(&log, nil))) }()
	_, address, _ := strings.Cut(strings.TrimSpace(logged(t, &log, `msg="Serving HTTP" address=`)), "address=")
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return address
}

// TestProbesGetThroughWhenPeersHoldConnections opens twice as many connections as the
// limit allows, in each way in which a peer can hold one, before each probe.
func TestProbesGetThroughWhenPeersHoldConnections(t *testing.T) {
	const limit = 20
	large := strings.Repeat("x", 1<<20)
	for name, hold := range map[string]string{
		"idle from the start":     "",
		"slow head":               "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"slow body":               "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
		"idle after a response":   "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"responses are not read":  strings.Repeat("GET /large HTTP/1.1\r\nHost: x\r\n\r\n", 50),
		"the handler never ends":  "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n",
		"bytes that are not HTTP": "\x16\x03\x01\x02\x00\x01",
	} {
		t.Run(name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.Handle("/", Text("ok"))
			mux.Handle("/large", Text(large))
			mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			t.Cleanup(func() { goleak.VerifyNone(t) })
			l := NewLimiter(LimiterConfig{Connections: limit})
			t.Cleanup(func() { require.Zero(t, l.Stats().Connections+l.Stats().Listeners) })
			address := startServer(t, l, mux)
			for range 2 * limit {
				c, err := net.Dial("tcp", address)
				require.NoError(t, err)
				defer c.Close()
				_, err = io.WriteString(c, hold)
				require.NoError(t, err)
			}
			for range 3 {
				require.Equal(t, "ok", probe(t, address))
			}
			require.LessOrEqual(t, l.Stats().Connections, limit)
			require.GreaterOrEqual(t, l.Stats().Replaced, uint64(limit))
		})
	}
}

// probe sends one request on a new connection.
func probe(t *testing.T, address string) (body string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + address + "/")
	require.NoError(t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(data)
}

// TestManyListenersShareOneLimit has the listeners of thousands of health check ports.
func TestManyListenersShareOneLimit(t *testing.T) {
	const listeners, limit = 200, 230
	t.Cleanup(func() { goleak.VerifyNone(t) })
	l := NewLimiter(LimiterConfig{Descriptors: 300, Connections: limit - listeners})
	t.Cleanup(func() { require.Zero(t, l.Stats().Connections+l.Stats().Listeners) })
	var addresses []string
	for range listeners {
		addresses = append(addresses, startServer(t, l, Text("ok")))
	}
	for _, address := range addresses {
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer c.Close()
	}
	for _, address := range addresses[:20] {
		require.Equal(t, "ok", probe(t, address))
	}
	require.LessOrEqual(t, l.Stats().Connections, limit-listeners)
}

// TestErrorLogIsLimited checks that peers cannot fill the log.
func TestErrorLogIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		errorLog := ErrorLog(slog.New(slog.NewTextHandler(&log, nil)))
		for range 1000 {
			errorLog.Print("http: TLS handshake error")
		}
		require.Equal(t, 1, strings.Count(log.String(), "\n"))
		time.Sleep(errorInterval)
		errorLog.Print("http: another error")
		require.Equal(t, 2, strings.Count(log.String(), "\n"))
		require.Contains(t, log.String(), `err="http: another error" suppressed=999`)
		ErrorLog(nil).Print("discarded")
	})
}

// TestServerErrorsReachTheLog lets a handler panic.
func TestServerErrorsReachTheLog(t *testing.T) {
	var log syncBuffer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, "127.0.0.1:0", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(errors.New("injected")) }),
			slog.New(slog.NewTextHandler(&log, nil)))
	}()
	_, address, _ := strings.Cut(strings.TrimSpace(logged(t, &log, `msg="Serving HTTP" address=`)), "address=")
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	_, err = bufio.NewReader(c).ReadString('\n')
	require.ErrorIs(t, err, io.EOF)
	require.Contains(t, logged(t, &log, "injected"), "HTTP server reports an error")
	cancel()
	require.NoError(t, <-done)
}

// TestSlowPeersAreDisconnected checks the timeouts of each state on pipes, in a bubble
// without real time.
func TestSlowPeersAreDisconnected(t *testing.T) {
	for _, row := range []struct {
		name, send string
		within     time.Duration
	}{
		{"no byte", "", headTimeout},
		{"part of a head", "GET / HTTP/1.1\r\n", headTimeout},
		{"idle", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", idleTimeout},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				l := NewLimiter(LimiterConfig{})
				listener := &pipeListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
				listener.conns <- l.add(server)
				s := newServer(Text("ok"), nil)
				go func() { _ = s.Serve(listener) }()
				go func() { _, _ = io.WriteString(client, row.send) }()
				start := time.Now()
				_, err := io.Copy(io.Discard, client)
				require.NoError(t, err)
				require.Equal(t, row.within, time.Since(start))
				require.NoError(t, s.Close())
				require.Zero(t, l.Stats().Connections)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a peer that does not read
		client, server := net.Pipe()
		defer client.Close()
		c := NewLimiter(LimiterConfig{}).add(server)
		start := time.Now()
		_, err := c.Write([]byte("x"))
		require.ErrorContains(t, err, "timeout")
		require.Equal(t, stallTimeout, time.Since(start))
	})
}

// A pipeListener accepts connections from a channel.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
