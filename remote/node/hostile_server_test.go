// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

type (
	request  = kpng.WatchNodeRequest
	response = kpng.WatchNodeResponse
)

// A tamperingProxy forwards streams between clients and a server, and can replace messages
// of the server.
type tamperingProxy struct {
	kpng.UnimplementedNodeServiceServer
	t    *testing.T
	real *grpc.ClientConn
	conn *grpc.ClientConn // for clients

	mu        sync.Mutex
	tamper    func(n int, in *response) []any // replaces the nth message of the next stream
	hellos    []*kpng.NodeHello
	logged    bytes.Buffer                                   // by the clients
	onMessage func(stream int, client bool, m proto.Message) // if not nil, called with mu held
	opened    int                                            // number of streams so far
	gate      sync.Mutex                                     // held while no client may connect
	cancels   map[*context.CancelFunc]struct{}               // of the open streams
}

func newTamperingProxy(t *testing.T, f *fixture) *tamperingProxy {
	p := &tamperingProxy{t: t, real: f.dial(), cancels: map[*context.CancelFunc]struct{}{}}
	p.conn = serveRaw(t, p)
	return p
}

// serveRaw runs a NodeService that may send rawMessages, and returns a connection to it.
func serveRaw(t *testing.T, service kpng.NodeServiceServer) *grpc.ClientConn {
	listener := bufconn.Listen(1 << 20)
	g := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
	kpng.RegisterNodeServiceServer(g, service)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(listener) })
	t.Cleanup(func() { g.Stop(); serving.Wait() })
	conn, err := grpc.NewClient("passthrough:///raw",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// tamperNext replaces the messages of the next stream.
func (p *tamperingProxy) tamperNext(tamper func(n int, in *response) []any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tamper = tamper
}

// endStreams ends the open streams.
func (p *tamperingProxy) endStreams() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for end := range p.cancels {
		(*end)()
	}
}

// Write implements io.Writer for the log of clients.
func (p *tamperingProxy) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logged.Write(b)
}

func (p *tamperingProxy) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logged.String()
}

func (p *tamperingProxy) lastHello() *kpng.NodeHello {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hellos[len(p.hellos)-1]
}

// withoutClients ends all streams and calls do while no client can connect.
func (p *tamperingProxy) withoutClients(do func()) {
	p.gate.Lock()
	defer p.gate.Unlock()
	p.endStreams()
	do()
}

func (p *tamperingProxy) observe(stream int, client bool, m proto.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.onMessage != nil {
		p.onMessage(stream, client, m)
	}
}

func (p *tamperingProxy) WatchNode(client kpng.NodeService_WatchNodeServer) error {
	p.gate.Lock()
	p.gate.Unlock() //nolint:staticcheck // waits for the end of withoutClients
	ctx, cancel := context.WithCancel(client.Context())
	server, err := kpng.NewNodeServiceClient(p.real).WatchNode(ctx)
	if err != nil {
		cancel()
		return err
	}
	p.mu.Lock()
	tamper, stream := p.tamper, p.opened
	p.opened++
	p.tamper, p.cancels[&cancel] = nil, struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.cancels, &cancel)
	}()
	var requests sync.WaitGroup
	requests.Go(func() {
		for {
			in, err := client.Recv()
			if err == nil {
				p.observe(stream, true, in)
			}
			// The answer of the server may arrive before Send returns.
			if in.GetHello() != nil {
				p.mu.Lock()
				p.hellos = append(p.hellos, in.GetHello())
				p.mu.Unlock()
			}
			if err != nil || server.Send(in) != nil {
				cancel()
				return
			}
		}
	})
	defer cancel()
	for n := 0; ; n++ {
		in, err := server.Recv()
		if err != nil {
			return err
		}
		p.observe(stream, false, in)
		messages := []any{in}
		if tamper != nil {
			messages = tamper(n, in)
		}
		for _, m := range messages {
			if err := client.SendMsg(m); err != nil {
				return err
			}
		}
	}
}

// newClient runs a client behind the proxy and returns its sink.
func (p *tamperingProxy) newClient() *recordingSink {
	k := newRecordingSink()
	c, err := node.NewClient(node.ClientConfig{
		NodeName: "node-1", Logger: slog.New(slog.NewTextHandler(p, nil)), MaxReconnect: 1,
	}, p.conn)
	require.NoError(p.t, err)
	run(p.t, c, k)
	return k
}

func newClusterStore() *watchers.Store {
	store := newStore(5)
	store.Update(func(tx *watchers.Tx) {
		tx.SetNode(&watchers.Node{Name: "node-1", Zone: "zone-1"})
		for i := range 5 {
			tx.SetEndpointSlice(slice(i, 3))
		}
	})
	return store
}

// The client logs the error of an invalid message, keeps its state, and reconnects.
func TestHostileServersDoNotChangeState(t *testing.T) {
	store := newClusterStore()
	f := newFixture(t, store, node.ServerConfig{})
	p := newTamperingProxy(t, f)
	sink := p.newClient()
	desired := func() string { return resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1") }
	sink.wait(t, desired())
	for _, test := range slices.Concat(hostileStreams(), hostileNames(), hostileDeltas(), hostileEndpoints(), hostileFrontends(), hostileNodes()) {
		t.Run(test.name, func(t *testing.T) {
			_, before := sink.count()
			logged := len(p.log())
			streams := p.streams()
			restored := func() int { return strings.Count(p.log()[logged:], "Server connection restored") }
			want := 1 // after the reconnect
			if test.sends[0] == (original{}) {
				want++ // and before the invalid message
			}
			p.tamperNext(func(n int, in *response) []any {
				if n != 1 {
					return []any{in}
				}
				for i, m := range test.sends {
					if m == (original{}) {
						test.sends[i] = in
					}
				}
				return test.sends
			})
			p.endStreams()
			eventually(t, func() bool { return p.streams() >= streams+2 && f.applied("node-1") })
			require.Contains(t, p.log()[logged:], test.error)
			eventually(t, func() bool { return restored() >= want })
			require.Equal(t, want, restored(), p.log()[logged:])
			require.Equal(t, test.keeps, p.lastHello().GetHello().GetHeldCount() > 0, "the client holds Services")
			text, after := sink.count()
			require.Equal(t, before, after, "the sink is not called")
			require.Equal(t, desired(), text)
		})
	}
	store.Update(func(tx *watchers.Tx) { tx.SetService(newService(1, "new")) })
	sink.wait(t, desired())
}

func TestStreamWithoutWelcomeIsRetried(t *testing.T) {
	store := newClusterStore()
	f := newFixture(t, store, node.ServerConfig{})
	p := newTamperingProxy(t, f)
	p.tamperNext(func(_ int, in *response) []any {
		in.Welcome = nil
		return []any{in}
	})
	sink := p.newClient()
	sink.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
	require.Contains(t, p.log(), "the first message of the server must be welcome")
}

// The client leaves out values that it does not support, reports them as problems, and
// programs the rest.
func TestUnsupportedValuesOfNewerServersBecomeProblems(t *testing.T) {
	store := newClusterStore()
	f := newFixture(t, store, node.ServerConfig{})
	unchanged := resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1")
	change := func(fn func(*kpng.Port)) func(int, *response) []any {
		return func(_ int, in *response) []any {
			for _, c := range in.GetServices() {
				if c.GetName() == "svc-1" && c.GetService() != nil {
					fn(c.GetService().GetPorts()[0])
				}
				c.ProtoReflect().SetUnknown([]byte("\xf2\x3f\x05hello"))
			}
			in.ProtoReflect().SetUnknown([]byte("\xf2\x3f\x05hello"))
			return []any{in}
		}
	}
	for _, test := range []struct {
		name    string
		change  func(*kpng.Port)
		problem string
	}{
		{"fields", func(p *kpng.Port) { p.ProtoReflect().SetUnknown([]byte("\xf2\x3f\x05hello")) }, ""},
		{"protocol", func(p *kpng.Port) { p.Protocol = 99 }, "protocol 99"},
		{"kind", func(p *kpng.Port) { p.Frontends[0].Kind = 99 }, "frontend kind 99"},
		{"from", func(p *kpng.Port) { p.RouteLists[0].Routes[0].From = 99 }, "route from 99"},
		{"verdict", func(p *kpng.Port) { p.RouteLists[0].Routes[0].EmptyVerdict = 99 }, "verdict 99"},
		{"condition", func(p *kpng.Port) { p.RouteLists[0].Routes[0].Condition = 99 }, "route condition 99"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newTamperingProxy(t, f)
			p.tamperNext(change(test.change))
			sink := p.newClient()
			if test.problem == "" {
				sink.wait(t, unchanged)
				return
			}
			u := sink.first(t)
			require.Equal(t, 5, u.All.Len())
			n := 0
			for svc := range u.All.All() {
				if svc.Name.Name != "svc-1" {
					require.Empty(t, svc.Problems)
					require.Len(t, svc.Ports, 1)
					continue
				}
				n++
				require.Empty(t, svc.Ports)
				require.Len(t, svc.Problems, 1)
				require.Equal(t, "Service ns/svc-1", svc.Problems[0].Object)
				require.Equal(t, "ports[0]", svc.Problems[0].Field)
				require.Contains(t, svc.Problems[0].Message, test.problem+": not supported by this version of the client")
			}
			require.Equal(t, 1, n)
			// Deltas of a Service with unsupported values still apply.
			store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice(1, 4)) })
			store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice(2, 4)) })
			sink.waitContains(t, "10.1.2.4")
			require.Equal(t, 1, p.streams())
			store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice(1, 3)); tx.SetEndpointSlice(slice(2, 3)) })
		})
	}
}

// A client that holds two Services with the same digest does not resume.
func TestClientWithEqualDigestsDoesNotResume(t *testing.T) {
	store := newClusterStore()
	f := newFixture(t, store, node.ServerConfig{})
	p := newTamperingProxy(t, f)
	p.tamperNext(func(_ int, in *response) []any {
		for _, c := range in.GetServices() {
			c.Digest = 7
		}
		return []any{in}
	})
	sink := p.newClient()
	sink.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
	store.Update(func(tx *watchers.Tx) { tx.DeleteService(newService(1, "").Name); tx.SetService(newService(2, "new")) })
	sink.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
	p.endStreams()
	eventually(t, func() bool { return p.streams() == 2 && f.applied("node-1") })
	require.Zero(t, p.lastHello().GetHello().GetHeldCount())
	store.Update(func(tx *watchers.Tx) { tx.DeleteService(newService(3, "").Name) })
	sink.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
}

func (p *tamperingProxy) streams() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.hellos)
}

// A stalledServer accepts streams and never sends a message.
type stalledServer struct {
	grpc.ClientConnInterface
	streams atomic.Int64
}

type stalledStream struct {
	grpc.ClientStream
	ctx context.Context
}

func (s *stalledServer) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	s.streams.Add(1)
	return &stalledStream{ctx: ctx}, nil
}

func (s *stalledStream) SendMsg(any) error { return nil }

func (s *stalledStream) RecvMsg(any) error {
	<-s.ctx.Done()
	return s.ctx.Err()
}

func TestClientRetriesServersThatDoNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := []*stalledServer{{}, {}}
		c, err := node.NewClient(node.ClientConfig{NodeName: "n"}, servers[0], servers[1])
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx, newRecordingSink()) }()
		time.Sleep(10 * time.Minute)
		for _, s := range servers {
			require.GreaterOrEqual(t, s.streams.Load(), int64(15))
			require.LessOrEqual(t, s.streams.Load(), int64(31), "each attempt takes 10 s")
		}
		cancel()
		require.NoError(t, <-done)
	})
}
