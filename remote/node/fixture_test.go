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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

// A fixture runs a server that can be restarted; its connections lead to the current server.
type fixture struct {
	t        *testing.T
	store    *watchers.Store
	cfg      node.ServerConfig
	mu       sync.Mutex
	listener *bufconn.Listener
	stop     func()
	server   *node.Server
	grpc     *grpc.Server
	inspect  *grpc.ClientConn // created by inspector
}

func newFixture(t *testing.T, store *watchers.Store, cfg node.ServerConfig) *fixture {
	f := &fixture{t: t, store: store, cfg: cfg}
	f.start()
	t.Cleanup(func() { f.stop() })
	return f
}

// start runs a new server without the state of earlier ones.
func (f *fixture) start() {
	server, err := node.NewServer(f.store, f.cfg)
	require.NoError(f.t, err)
	g := grpc.NewServer(node.ServerOption())
	server.Register(g)
	server.RegisterInspect(g)
	listener := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.Serve(listener) })
	running.Go(func() { _ = server.Run(ctx) })
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listener, f.server, f.grpc = listener, server, g
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

func (f *fixture) dial(more ...grpc.DialOption) *grpc.ClientConn {
	conn, err := grpc.NewClient("passthrough:///site", append(more,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			f.mu.Lock()
			l := f.listener
			f.mu.Unlock()
			return l.DialContext(ctx)
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))...)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { conn.Close() })
	return conn
}

// listenTCP serves the current server on a loopback address as well.
func (f *fixture) listenTCP() (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(f.t, err)
	go func() { _ = f.grpc.Serve(listener) }() // ends with the gRPC server
	return listener.Addr().String()
}

// connected returns the names of the connected nodes.
func (f *fixture) connected() (names []string) {
	for _, n := range f.list("").GetNodes() {
		if n.GetConnected() {
			names = append(names, n.GetName())
		}
	}
	return names
}

// applied reports whether a node has applied the newest revision.
func (f *fixture) applied(node string) bool {
	list := f.list(node)
	n := list.GetNodes()
	return len(n) == 1 && n[0].GetConnected() && n[0].GetAppliedRevision() == list.GetRevision()
}

// list returns the nodes whose names have a prefix. A server that has just started, and has
// not resolved the cluster state yet, refuses the call; the result is nil then.
func (f *fixture) list(prefix string) *kpng.ListNodesResponse {
	list, err := kpng.NewInspectServiceClient(f.inspector()).ListNodes(f.t.Context(), &kpng.ListNodesRequest{Prefix: prefix})
	if status.Code(err) == codes.Unavailable {
		return nil
	}
	require.NoError(f.t, err)
	return list
}

func (f *fixture) inspector() *grpc.ClientConn {
	if f.inspect == nil {
		f.inspect = f.dial()
	}
	return f.inspect
}

// waitConnected waits until exactly these nodes are connected.
func (f *fixture) waitConnected(nodes ...string) {
	f.t.Helper()
	eventually(f.t, func() bool { return slices.Equal(nodes, f.connected()) })
}

// A recordingSink keeps the last update.
type recordingSink struct {
	mu      sync.Mutex
	last    *localsink.Update
	syncs   int
	changed chan struct{}
}

func newRecordingSink() *recordingSink { return &recordingSink{changed: make(chan struct{})} }

func (s *recordingSink) Sync(_ context.Context, u *localsink.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = u
	s.syncs++
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *recordingSink) current() (*localsink.Update, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.changed
}

// count returns the last update as text, and the number of Syncs.
func (s *recordingSink) count() (state string, syncs int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return text(s.last), s.syncs
}

// first waits for an update and returns it.
func (s *recordingSink) first(t *testing.T) *localsink.Update {
	return s.waitFor(t, func(*localsink.Update) bool { return true })
}

// waitContains waits for an update whose text contains a word.
func (s *recordingSink) waitContains(t *testing.T, word string) {
	s.waitFor(t, func(u *localsink.Update) bool { return strings.Contains(text(u), word) })
}

func (s *recordingSink) waitFor(t *testing.T, condition func(*localsink.Update) bool) *localsink.Update {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		u, changed := s.current()
		if u != nil && condition(u) {
			return u
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("timeout; the last update:\n%s", text(u))
		}
	}
}

// wait waits for an update whose text equals want.
func (s *recordingSink) wait(t *testing.T, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		u, changed := s.current()
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
			t.Fatal("timeout")
		}
	}
}

func text(u *localsink.Update) string {
	if u == nil {
		return "no update"
	}
	var b strings.Builder
	n := u.Node
	b.WriteString(strings.Join([]string{n.Name, join(n.IPs), join(n.LocalPods.Networks), join(n.NodePortAddresses), join(n.ServiceNetworks)}, " | "))
	if len(n.LoopbackNodePorts) > 0 { // not in the recording of the first version
		b.WriteString(" | " + join(n.LoopbackNodePorts))
	}
	if len(n.NoMasquerade) > 0 {
		b.WriteString(" | not masqueraded " + join(n.NoMasquerade))
	}
	if n.Extensions.Len() > 0 {
		b.WriteString(" | " + n.Extensions.String())
	}
	if n.Deleting {
		b.WriteString(" | deleting")
	}
	b.WriteString("\n")
	for svc := range u.All.All() {
		b.WriteString(svc.Text())
	}
	return b.String()
}

func join[T interface{ String() string }](list []T) string {
	texts := make([]string, len(list))
	for i := range list {
		texts[i] = list[i].String()
	}
	return strings.Join(texts, " ")
}

// resolve returns the state of a node as a local Resolver computes it. It completes the
// Node first, or creates it.
func resolve(t *testing.T, store *watchers.Store, cfg nodelocal.MultiNodeConfig, node string) string {
	if object := store.Snapshot().Node(node); object == nil || len(object.IPs) == 0 || cfg.LocalPods.NodeCIDR && len(object.PodCIDRs) == 0 {
		// The state of an absent or incomplete Node depends on the versions before it.
		complete := &watchers.Node{Name: node, Zone: "zone-1", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.9")},
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")}}
		store.Update(func(tx *watchers.Tx) { tx.SetNode(complete) })
	}
	resolver, err := nodelocal.NewResolver(store, cfg.ForNode(node))
	require.NoError(t, err)
	defer resolver.Close()
	resolver.Refresh()
	return text(resolver.FullUpdate())
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
