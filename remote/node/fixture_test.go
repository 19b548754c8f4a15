// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

// A fixture is a place where servers run, one after the other, and clients find the
// present one.
type fixture struct {
	t        *testing.T
	store    *watchers.Store
	cfg      node.ServerConfig
	mu       sync.Mutex
	listener *bufconn.Listener
	stop     func()
	server   *node.Server
	grpc     *grpc.Server
	inspect  *grpc.ClientConn // of those who inspect
}

func newFixture(t *testing.T, store *watchers.Store, cfg node.ServerConfig) *fixture {
	s := &fixture{t: t, store: store, cfg: cfg}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// start runs a new server, which knows nothing of earlier ones.
func (s *fixture) start() {
	server, err := node.NewServer(s.store, s.cfg)
	require.NoError(s.t, err)
	g := grpc.NewServer(node.ServerOption())
	server.Register(g)
	server.RegisterInspect(g)
	listener := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.Serve(listener) })
	running.Go(func() { _ = server.Run(ctx) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener, s.server, s.grpc = listener, server, g
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

func (s *fixture) dial(more ...grpc.DialOption) *grpc.ClientConn {
	conn, err := grpc.NewClient("passthrough:///site", append(more,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			s.mu.Lock()
			l := s.listener
			s.mu.Unlock()
			return l.DialContext(ctx)
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))...)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// listenTCP lets the present server listen on the loopback interface as well.
func (s *fixture) listenTCP() (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	go func() { _ = s.grpc.Serve(listener) }() // ends with the server
	return listener.Addr().String()
}

// connected returns the names of the nodes that are connected.
func (s *fixture) connected() (names []string) {
	list, err := kpng.NewInspectServiceClient(s.inspector()).ListNodes(s.t.Context(), &kpng.ListNodesRequest{})
	require.NoError(s.t, err)
	for _, n := range list.GetNodes() {
		if n.GetConnected() {
			names = append(names, n.GetName())
		}
	}
	return names
}

// applied says whether a node has applied all that there is.
func (s *fixture) applied(node string) bool {
	list, err := kpng.NewInspectServiceClient(s.inspector()).ListNodes(s.t.Context(), &kpng.ListNodesRequest{Prefix: node})
	require.NoError(s.t, err)
	n := list.GetNodes()
	return len(n) == 1 && n[0].GetConnected() && n[0].GetAppliedRevision() == list.GetRevision()
}

func (s *fixture) inspector() *grpc.ClientConn {
	if s.inspect == nil {
		s.inspect = s.dial()
	}
	return s.inspect
}

// waitConnected waits until nobody is connected but the given nodes.
func (s *fixture) waitConnected(but ...string) {
	s.t.Helper()
	eventually(s.t, func() bool { return slices.Equal(but, s.connected()) })
}

// A recordingSink is a sink that keeps what it accepted last.
type recordingSink struct {
	mu      sync.Mutex
	last    *localsink.Update
	syncs   int
	changed chan struct{}
}

func newRecordingSink() *recordingSink { return &recordingSink{changed: make(chan struct{})} }

func (k *recordingSink) Sync(_ context.Context, u *localsink.Update) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = u
	k.syncs++
	close(k.changed)
	k.changed = make(chan struct{})
	return nil
}

func (k *recordingSink) present() (*localsink.Update, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last, k.changed
}

// count returns what the keeper has accepted last, and how often.
func (k *recordingSink) count() (state string, syncs int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return text(k.last), k.syncs
}

// first returns the first state that the keeper accepts.
func (k *recordingSink) first(t *testing.T) *localsink.Update {
	return k.waitFor(t, func(*localsink.Update) bool { return true })
}

// waitContains returns when the keeper has accepted a state that has a word in it.
func (k *recordingSink) waitContains(t *testing.T, word string) {
	k.waitFor(t, func(u *localsink.Update) bool { return strings.Contains(text(u), word) })
}

func (k *recordingSink) waitFor(t *testing.T, is func(*localsink.Update) bool) *localsink.Update {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		u, changed := k.present()
		if u != nil && is(u) {
			return u
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("late; the last was:\n%s", text(u))
		}
	}
}

// wait returns when the keeper has accepted a state that reads so.
func (k *recordingSink) wait(t *testing.T, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		u, changed := k.present()
		got := ""
		if u != nil {
			got = text(u)
		}
		if got == want {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			require.Equal(t, want, got)
			t.Fatal("late")
		}
	}
}

func text(u *localsink.Update) string {
	if u == nil {
		return "nothing"
	}
	var b strings.Builder
	n := u.Node
	b.WriteString(strings.Join([]string{n.Name, join(n.IPs), join(n.LocalPods.Networks), join(n.NodePortAddresses), join(n.ServiceNetworks)}, " | "))
	if len(n.LoopbackNodePorts) > 0 { // the recorded version has none
		b.WriteString(" | " + join(n.LoopbackNodePorts))
	}
	if n.Deleting {
		b.WriteString(" | leaving")
	}
	b.WriteString("\n")
	for svc := range u.All.All() {
		b.WriteString(svc.Text())
	}
	return b.String()
}

func join[T interface{ String() string }](list []T) string {
	words := make([]string, len(list))
	for i := range list {
		words[i] = list[i].String()
	}
	return strings.Join(words, " ")
}

// resolve returns what a node must do, computed at once by itself.
func resolve(t *testing.T, store *watchers.Store, cfg nodelocal.MultiNodeConfig, node string) string {
	table, err := nodelocal.NewResolver(store, cfg.ForNode(node))
	require.NoError(t, err)
	defer table.Close()
	table.Refresh()
	return text(table.FullUpdate())
}

func run(t *testing.T, c *node.Client, sink localsink.Sink) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, sink) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}
