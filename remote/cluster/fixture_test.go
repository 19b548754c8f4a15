// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/test/bufconn"

	"sigs.k8s.io/kpng/watchers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// timeout bounds each wait of a test.
const timeout = 30 * time.Second

// A fixture runs a server that can be restarted; its connections lead to the current server.
type fixture struct {
	t     testing.TB
	store *watchers.Store
	cfg   ServerConfig

	mu       sync.Mutex
	listener *bufconn.Listener
	server   *Server
	stop     func()
}

func newFixture(t testing.TB, store *watchers.Store, cfg ServerConfig) *fixture {
	f := &fixture{t: t, store: store, cfg: cfg}
	f.start()
	t.Cleanup(func() { f.stop() })
	return f
}

// start runs a new server without the state of earlier ones.
func (f *fixture) start() {
	server, err := NewServer(f.store, f.cfg)
	require.NoError(f.t, err)
	g := grpc.NewServer(ServerOption())
	server.Register(g)
	listener := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.Serve(listener) })
	running.Go(func() { _ = server.Run(ctx) })
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listener, f.server = listener, server
	f.stop = func() {
		g.Stop()
		cancel()
		running.Wait()
		server.Close()
	}
}

// restart replaces the server without a graceful stop.
func (f *fixture) restart() {
	f.stop()
	f.start()
}

func (f *fixture) dial(options ...grpc.DialOption) *grpc.ClientConn {
	return dial(f.t, func(ctx context.Context, _ string) (net.Conn, error) {
		f.mu.Lock()
		l := f.listener
		f.mu.Unlock()
		return l.DialContext(ctx)
	}, options...)
}

func dial(t testing.TB, dialer func(context.Context, string) (net.Conn, error), options ...grpc.DialOption) *grpc.ClientConn {
	conn, err := grpc.NewClient("passthrough:///site", append(options,
		grpc.WithContextDialer(dialer),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))...)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// caughtUp waits until the server has published the current state of the store.
func (f *fixture) caughtUp() {
	f.t.Helper()
	expired := time.After(timeout)
	for want := f.store.Snapshot().Revision(); ; {
		st := f.server.hub.Snapshot()
		if st.Extra >= want {
			return
		}
		select {
		case <-st.Newer():
		case <-expired:
			require.FailNow(f.t, "timeout: the server does not follow its store")
		}
	}
}

// runClient runs a client with a new store until the end of the test, and returns the store.
func runClient(t testing.TB, cfg ClientConfig, servers ...grpc.ClientConnInterface) *watchers.Store {
	store := watchers.NewStore()
	start(t, newClient(t, cfg, servers...), store)
	return store
}

func newClient(t testing.TB, cfg ClientConfig, servers ...grpc.ClientConnInterface) *Client {
	cfg.MaxReconnect = 100 * time.Millisecond
	c, err := NewClient(cfg, servers...)
	require.NoError(t, err)
	return c
}

// start runs a client until stop is called or the test ends.
func start(t testing.TB, c *Client, store *watchers.Store) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, store) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return stop
}

// await waits until a store meets a condition.
func await(t testing.TB, store *watchers.Store, what string, ok func(watchers.Snapshot) bool) watchers.Snapshot {
	t.Helper()
	expired := time.After(timeout)
	for {
		snap := store.Snapshot()
		if ok(snap) {
			return snap
		}
		select {
		case <-snap.Newer():
		case <-expired:
			require.FailNow(t, "timeout", "waiting for %s; the store has:\n%s", what, dump(snap, nil))
		}
	}
}

// awaitText waits until the dump of a store equals want.
func awaitText(t testing.TB, store *watchers.Store, want string) {
	t.Helper()
	expired := time.After(timeout)
	for {
		snap := store.Snapshot()
		if snap.Synced() && dump(snap, nil) == want {
			return
		}
		select {
		case <-snap.Newer():
		case <-expired:
			require.Equal(t, want, dump(snap, nil))
			require.FailNow(t, "timeout")
		}
	}
}

// dump returns objects as text, independently of the protocol. include may be nil.
func dump(s watchers.Snapshot, include func(watchers.Object) bool) string {
	var b strings.Builder
	for k, object := range s.All() {
		if k.Kind == watchers.KindSynced || include != nil && !include(object) {
			continue
		}
		if slice, ok := object.(*watchers.EndpointSlice); ok {
			c := *slice
			c.TriggerTime = time.Time{} // not covered by digests
			object = &c
		}
		text, err := json.Marshal(object)
		fmt.Fprintf(&b, "%v %s %v\n", k, text, err)
		for _, x := range extensionsOf(object) {
			for e := range x.All() {
				fmt.Fprintf(&b, " %q=%q", e.Key, e.Value)
			}
			fmt.Fprintln(&b, ";")
		}
	}
	return b.String()
}

// extensionsOf returns the lists of extensions in an object, which have no JSON form.
func extensionsOf(object watchers.Object) (lists []watchers.Extensions) {
	switch o := object.(type) {
	case *watchers.Service:
		lists = append(lists, o.Extensions)
	case *watchers.EndpointSlice:
		lists = append(lists, o.Extensions)
		for i := range o.Details {
			lists = append(lists, o.Details[i].Extensions)
		}
	case *watchers.Node:
		lists = append(lists, o.Extensions)
	}
	return lists
}

// A byteCounter is a stats.Handler that counts the bytes that a client sends and receives.
type byteCounter struct {
	in, out, messages atomic.Int64
	more              chan struct{}
}

func newByteCounter() *byteCounter { return &byteCounter{more: make(chan struct{}, 1)} }

func (c *byteCounter) reset() {
	c.in.Store(0)
	c.out.Store(0)
	c.messages.Store(0)
}

// await waits until a number of messages has been received.
func (c *byteCounter) await(t testing.TB, messages int64) {
	t.Helper()
	expired := time.After(timeout)
	for c.messages.Load() < messages {
		select {
		case <-c.more:
		case <-expired:
			require.GreaterOrEqual(t, c.messages.Load(), messages)
		}
	}
}

func (c *byteCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (c *byteCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c *byteCounter) HandleConn(context.Context, stats.ConnStats)                       {}
func (c *byteCounter) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.InPayload:
		c.in.Add(int64(s.WireLength))
		c.messages.Add(1)
		select {
		case c.more <- struct{}{}:
		default:
		}
	case *stats.OutPayload:
		c.out.Add(int64(s.WireLength))
	}
}

// A logBuffer is a log output that a test can wait for.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newLogBuffer() *logBuffer { return &logBuffer{more: make(chan struct{}, 1)} }

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Write implements io.Writer.
func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

// await waits until the log contains want.
func (l *logBuffer) await(t testing.TB, want string) {
	t.Helper()
	expired := time.After(timeout)
	for {
		l.mu.Lock()
		text := l.text.String()
		l.mu.Unlock()
		if strings.Contains(text, want) {
			return
		}
		select {
		case <-l.more:
		case <-expired:
			require.Contains(t, text, want)
			require.FailNow(t, "timeout")
		}
	}
}
