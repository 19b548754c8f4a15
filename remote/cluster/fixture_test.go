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

// patience is how long anything may take.
const patience = 30 * time.Second

// A fixture is a place where servers run, one after the other, and clients find the
// present one.
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
	s := &fixture{t: t, store: store, cfg: cfg}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// start runs a new server, which knows nothing of earlier ones.
func (s *fixture) start() {
	server, err := NewServer(s.store, s.cfg)
	require.NoError(s.t, err)
	g := grpc.NewServer(ServerOption())
	server.Register(g)
	listener := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.Serve(listener) })
	running.Go(func() { _ = server.Run(ctx) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener, s.server = listener, server
	s.stop = func() {
		g.Stop()
		cancel()
		running.Wait()
		server.Close()
	}
}

// restart kills the server, and starts another.
func (s *fixture) restart() {
	s.stop()
	s.start()
}

func (s *fixture) dial(options ...grpc.DialOption) *grpc.ClientConn {
	return dial(s.t, func(ctx context.Context, _ string) (net.Conn, error) {
		s.mu.Lock()
		l := s.listener
		s.mu.Unlock()
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

// caughtUp returns when clients that begin now are told what is in the store.
func (s *fixture) caughtUp() {
	s.t.Helper()
	late := time.After(patience)
	for want := s.store.Snapshot().Revision(); ; {
		st := s.server.hub.State()
		if st.Extra >= want {
			return
		}
		select {
		case <-st.Newer():
		case <-late:
			require.FailNow(s.t, "the server does not follow its store")
		}
	}
}

// newSyncedStore runs a client into a store of its own until the test is over.
func newSyncedStore(t testing.TB, cfg ClientConfig, servers ...grpc.ClientConnInterface) *watchers.Store {
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

// start runs a client; the result ends it.
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

// await waits until a store fulfils a condition.
func await(t testing.TB, store *watchers.Store, what string, ok func(watchers.Snapshot) bool) watchers.Snapshot {
	t.Helper()
	late := time.After(patience)
	for {
		snap := store.Snapshot()
		if ok(snap) {
			return snap
		}
		select {
		case <-snap.Newer():
		case <-late:
			require.FailNow(t, "nothing came", "waiting for %s; there is:\n%s", what, dump(snap, nil))
		}
	}
}

// awaitText waits until a store holds exactly what is wanted.
func awaitText(t testing.TB, store *watchers.Store, want string) {
	t.Helper()
	late := time.After(patience)
	for {
		snap := store.Snapshot()
		if snap.Synced() && dump(snap, nil) == want {
			return
		}
		select {
		case <-snap.Newer():
		case <-late:
			require.Equal(t, want, dump(snap, nil))
			require.FailNow(t, "late")
		}
	}
}

// dump writes facts as text, those that are wanted. It knows nothing of the protocol.
func dump(s watchers.Snapshot, wanted func(watchers.Object) bool) string {
	var b strings.Builder
	for k, fact := range s.All() {
		if k.Kind == watchers.KindSynced || wanted != nil && !wanted(fact) {
			continue
		}
		if slice, ok := fact.(*watchers.EndpointSlice); ok {
			c := *slice
			c.TriggerTime = time.Time{} // no content
			fact = &c
		}
		text, err := json.Marshal(fact)
		fmt.Fprintf(&b, "%v %s %v\n", k, text, err)
	}
	return b.String()
}

// A byteCounter counts the bytes that a client sends and receives.
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

// await waits until so many messages have come.
func (c *byteCounter) await(t testing.TB, messages int64) {
	t.Helper()
	late := time.After(patience)
	for c.messages.Load() < messages {
		select {
		case <-c.more:
		case <-late:
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

// A logBuffer keeps what is logged.
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

// await waits until something was logged.
func (l *logBuffer) await(t testing.TB, want string) {
	t.Helper()
	late := time.After(patience)
	for {
		l.mu.Lock()
		text := l.text.String()
		l.mu.Unlock()
		if strings.Contains(text, want) {
			return
		}
		select {
		case <-l.more:
		case <-late:
			require.Contains(t, text, want)
			require.FailNow(t, "late")
		}
	}
}
