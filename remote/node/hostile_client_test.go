// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
)

// newService returns a Service of one port; text makes it large or small.
func newService(i int, text string) *watchers.Service {
	return &watchers.Service{
		Name: watchers.ServiceName{Namespace: "ns", Name: fmt.Sprint("svc-", i)},
		Type: watchers.TypeClusterIP, ClusterIP: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}),
		ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}, IPFamilies: []watchers.IPFamily{watchers.IPv4},
		Ports: []watchers.ServicePort{{Name: "p" + text, Protocol: localsink.ProtocolTCP, Port: 80}},
	}
}

func newStore(services int) *watchers.Store {
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) {
		for i := range services {
			tx.SetService(newService(i, ""))
		}
		tx.SetSynced()
	})
	return store
}

// slice returns the slice of a Service's endpoints.
func slice(service, endpoints int) *watchers.EndpointSlice {
	s := &watchers.EndpointSlice{
		Namespace: "ns", Name: fmt.Sprint("slice-", service), Family: watchers.IPv4,
		Service: watchers.ServiceName{Namespace: "ns", Name: fmt.Sprint("svc-", service)},
		Ports:   []watchers.EndpointPort{{Name: "p", Protocol: localsink.ProtocolTCP, Port: 8080}},
	}
	for i := range endpoints {
		s.Endpoints = append(s.Endpoints, watchers.Endpoint{
			Addr: netip.AddrFrom4([4]byte{10, 1 + byte(service>>8), byte(service), byte(i + 1)}), Node: fmt.Sprint("node-", i), Ready: true, Serving: true,
		})
	}
	return s
}

// A rawClient is a client that a test plays.
type rawClient struct {
	t      *testing.T
	stream kpng.NodeService_WatchNodeClient
	cancel context.CancelFunc
}

func newRawClient(t *testing.T, conn *grpc.ClientConn) *rawClient {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	stream, err := kpng.NewNodeServiceClient(conn).WatchNode(ctx, grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
	require.NoError(t, err)
	return &rawClient{t, stream, cancel}
}

func hello(node string, can ...kpng.Capability) *kpng.WatchNodeRequest {
	return &kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Hello{Hello: &kpng.NodeHello{
		Hello: &kpng.Hello{Capabilities: can}, NodeName: node,
	}}}
}

func heldDigests(digests []uint64, last bool) *kpng.WatchNodeRequest {
	return &kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_HeldDigests{HeldDigests: &kpng.HeldDigests{Digests: digests, Last: last}}}
}

func ackRequest(revision uint64) *kpng.WatchNodeRequest {
	return &kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Ack{Ack: &kpng.Ack{Revision: revision}}}
}

// waitCommit reads up to the next commit and returns its revision.
func (c *rawClient) waitCommit() uint64 {
	for {
		in, err := c.stream.Recv()
		require.NoError(c.t, err)
		if in.GetCommit() != nil {
			return in.GetCommit().GetRevision()
		}
	}
}

// waitSendDigests reads the welcome, which asks what the caller holds: who answers before is told
// that nobody asked.
func (c *rawClient) waitSendDigests() {
	in, err := c.stream.Recv()
	require.NoError(c.t, err)
	require.True(c.t, in.GetWelcome().GetSendDigests())
}

// waitEnd reads until the stream ends, and returns its code.
func (c *rawClient) waitEnd() codes.Code {
	for {
		if _, err := c.stream.Recv(); err != nil {
			if err == io.EOF {
				return codes.OK
			}
			return status.Code(err)
		}
	}
}

// A bystander is an honest node beside hostile ones.
type bystander struct {
	t     *testing.T
	store *watchers.Store
	k     *recordingSink
	n     int
}

func newBystander(t *testing.T, s *fixture) *bystander {
	w := &bystander{t: t, store: s.store, k: newRecordingSink()}
	c, err := node.NewClient(node.ClientConfig{NodeName: "witness"}, s.dial())
	require.NoError(t, err)
	run(t, c, w.k)
	w.requireServed()
	return w
}

// requireServed changes something, and sees that the witness is told.
func (w *bystander) requireServed() {
	w.t.Helper()
	w.n++
	w.store.Update(func(tx *watchers.Tx) { tx.SetService(newService(0, fmt.Sprint(w.n))) })
	w.k.wait(w.t, resolve(w.t, w.store, nodelocal.MultiNodeConfig{}, "witness"))
}

// TestHostileClients: each is ended with a code that says why, and nobody else notices.
func TestHostileClients(t *testing.T) {
	const ack, resume = kpng.Capability_CAPABILITY_ACKNOWLEDGE, kpng.Capability_CAPABILITY_RESUME
	limits := transport.StreamLimits{AckTimeout: time.Second, SendTimeout: time.Second, HelloTimeout: time.Second, Held: 1000}
	store := newStore(3)
	s := newFixture(t, store, node.ServerConfig{Limits: limits})
	w := newBystander(t, s)
	held := func(n uint32) *kpng.WatchNodeRequest {
		h := hello("n", resume)
		h.GetHello().Hello.HeldCount, h.GetHello().Hello.HeldDigestsXor = n, 12345
		return h
	}
	for _, h := range []struct {
		name  string
		plays func(c *rawClient)
		want  codes.Code
	}{
		{"says nothing", func(*rawClient) {}, codes.DeadlineExceeded},
		{"says an empty message", func(c *rawClient) { _ = c.stream.Send(&kpng.WatchNodeRequest{}) }, codes.InvalidArgument},
		{"begins with held", func(c *rawClient) { _ = c.stream.Send(heldDigests([]uint64{1}, true)) }, codes.InvalidArgument},
		{"begins with an acknowledgement", func(c *rawClient) { _ = c.stream.Send(ackRequest(1)) }, codes.InvalidArgument},
		{"has no name", func(c *rawClient) { _ = c.stream.Send(hello("")) }, codes.InvalidArgument},
		{"has a name that nobody has", func(c *rawClient) { _ = c.stream.Send(hello(strings.Repeat("n", 254))) }, codes.InvalidArgument},
		{"is no UTF-8", func(c *rawClient) { _ = c.stream.SendMsg(rawMessage("\x0a\x04\x12\x02\xff\xfe")) }, codes.Internal},
		{"is no protobuf", func(c *rawClient) { _ = c.stream.SendMsg(rawMessage("\x0a\xff\xff\xff")) }, codes.Internal},
		{"is too large", func(c *rawClient) {
			h := hello("n")
			h.GetHello().Hello.Client = strings.Repeat("x", 5<<20)
			_ = c.stream.Send(h)
		}, codes.ResourceExhausted},
		{"says hello twice", func(c *rawClient) { _, _ = c.stream.Send(hello("n")), c.stream.Send(hello("n")) }, codes.InvalidArgument},
		{"says hello for ever", func(c *rawClient) {
			for c.stream.Send(hello("n")) == nil {
			}
		}, codes.InvalidArgument},
		{"says hello and nothing more", func(c *rawClient) { _ = c.stream.Send(hello("n", ack)); _ = c.stream.CloseSend() }, codes.OK},
		{"says nothing and leaves", func(c *rawClient) { _ = c.stream.CloseSend() }, codes.InvalidArgument},
		{"never acknowledges", func(c *rawClient) { _ = c.stream.Send(hello("n", ack)) }, codes.ResourceExhausted},
		{"acknowledges the future", func(c *rawClient) {
			_ = c.stream.Send(hello("n", ack))
			_ = c.stream.Send(ackRequest(c.waitCommit() + 1000000))
		}, codes.InvalidArgument},
		{"acknowledges and never said that it would", func(c *rawClient) {
			_ = c.stream.Send(hello("n"))
			_ = c.stream.Send(ackRequest(c.waitCommit()))
		}, codes.InvalidArgument},
		{"claims to hold too much", func(c *rawClient) { _ = c.stream.Send(held(1001)) }, codes.ResourceExhausted},
		{"claims to hold the most there is", func(c *rawClient) { _ = c.stream.Send(held(1<<32 - 1)) }, codes.ResourceExhausted},
		{"does not say what it holds", func(c *rawClient) { _ = c.stream.Send(held(7)) }, codes.DeadlineExceeded},
		{"holds more than it said", func(c *rawClient) {
			_ = c.stream.Send(held(7))
			c.waitSendDigests()
			_ = c.stream.Send(heldDigests(make([]uint64, 8), false))
		}, codes.ResourceExhausted},
		{"says twice what it holds", func(c *rawClient) {
			_ = c.stream.Send(held(7))
			c.waitSendDigests()
			_ = c.stream.Send(heldDigests([]uint64{1, 2}, true))
			_ = c.stream.Send(heldDigests([]uint64{1, 2}, true))
		}, codes.InvalidArgument},
		{"says what it holds and was not asked", func(c *rawClient) {
			_ = c.stream.Send(hello("n"))
			_ = c.stream.Send(heldDigests(nil, true))
		}, codes.InvalidArgument},
	} {
		t.Run(h.name, func(t *testing.T) {
			c := newRawClient(t, s.dial())
			h.plays(c)
			w.requireServed()
			require.Equal(t, h.want, c.waitEnd())
			w.requireServed()
		})
	}
	require.Equal(t, []string{"witness"}, s.connected())
}

// rawMessage is a message that is no message: it goes on the wire as it is.
type rawMessage string

type rawCodec struct{ encoding.CodecV2 }

func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if raw, ok := v.(rawMessage); ok {
		return mem.BufferSlice{mem.SliceBuffer(raw)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// TestClientsOfTheFuture: capabilities, features and fields that nobody knows yet are
// ignored.
func TestClientsOfTheFuture(t *testing.T) {
	s := newFixture(t, newStore(3), node.ServerConfig{})
	c := newRawClient(t, s.dial())
	h := hello("n", 77, kpng.Capability_CAPABILITY_DELTAS, 78)
	h.GetHello().Unsupported = []kpng.Feature{99, kpng.Feature_FEATURE_UDP}
	h.ProtoReflect().SetUnknown([]byte("\xf2\x3f\x05hello"))
	h.GetHello().ProtoReflect().SetUnknown([]byte("\xf2\x3f\x05hello"))
	require.NoError(t, c.stream.Send(h))
	welcome, err := c.stream.Recv()
	require.NoError(t, err)
	require.Equal(t, []kpng.Capability{kpng.Capability_CAPABILITY_DELTAS}, welcome.GetWelcome().GetCapabilities())
	c.waitCommit()
	future := &kpng.WatchNodeRequest{}
	future.ProtoReflect().SetUnknown([]byte("\xf2\x3f\x05hello"))
	require.NoError(t, c.stream.Send(future), "a kind of message that this server does not know")
	s.store.Update(func(tx *watchers.Tx) { tx.SetService(newService(0, "new")) })
	c.waitCommit()
}

// TestClientsThatDoNotRead cost a bounded amount of memory, whoever they are and however
// many, and nobody waits for them.
func TestClientsThatDoNotRead(t *testing.T) {
	const streams = 500
	store := newStore(1000)
	s := newFixture(t, store, node.ServerConfig{Limits: transport.StreamLimits{SendTimeout: 2 * time.Second}})
	w := newBystander(t, s)
	conn := s.dial()
	before := memory()
	var callers []*rawClient
	for i := range streams {
		c := newRawClient(t, conn)
		require.NoError(t, c.stream.Send(hello(fmt.Sprint("n-", i))))
		callers = append(callers, c)
		if i%100 == 0 {
			w.requireServed()
		}
	}
	w.requireServed()
	grown := int64(memory()) - int64(before)
	// Both ends are in this process, and both have buffers: 64 KiB each for a stream.
	require.Less(t, grown/streams, int64(256<<10), "per stream")
	for _, c := range callers {
		c.cancel()
	}
	s.waitConnected("witness")
	w.requireServed()
}

func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestComingAndGoing leaves nothing behind: no stream, no goroutine, no memory.
func TestComingAndGoing(t *testing.T) {
	s := newFixture(t, newStore(50), node.ServerConfig{})
	w := newBystander(t, s)
	conn := s.dial()
	round := func(n int) {
		var calls sync.WaitGroup
		for worker := range 4 {
			calls.Go(func() {
				for i := range n / 4 {
					ctx, cancel := context.WithCancel(context.Background())
					stream, err := kpng.NewNodeServiceClient(conn).WatchNode(ctx)
					if err == nil && i%4 > 0 {
						_ = stream.Send(hello(fmt.Sprint("n-", worker, i), kpng.Capability_CAPABILITY_ACKNOWLEDGE))
						for range i % 3 { // there is no third message
							_, _ = stream.Recv()
						}
					}
					cancel()
				}
			})
		}
		calls.Wait()
		s.waitConnected("witness")
		w.requireServed()
	}
	round(100) // what is there for good
	goroutines, bytes := runtime.NumGoroutine(), memory()
	round(1000)
	eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+3 })
	require.Less(t, int64(memory())-int64(bytes), int64(2<<20))
}

// eventually waits until something is so, and looks again whenever others have run.
func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); runtime.Gosched() {
		require.True(t, time.Now().Before(deadline), "it takes too long")
	}
}

// TestGarbageOnTheWire: whoever is no gRPC client is cut off or ignored, over TCP.
func TestGarbageOnTheWire(t *testing.T) {
	store := newStore(3)
	s := newFixture(t, store, node.ServerConfig{Limits: transport.StreamLimits{HelloTimeout: time.Second}})
	w := newBystander(t, s)
	address := s.listenTCP()
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	r := rand.New(rand.NewPCG(1, 1))
	noise := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.IntN(256))
		}
		return string(b)
	}
	for _, garbage := range []string{
		"", "\x00", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00", preface, preface + "\xff\xff\xff\x00",
		preface + settings + "\xff\xff\xff\x01\x04\x00\x00\x00\x01",                                     // headers of 16 MB
		preface + settings + "\x00\x00\x05\x01\x04\x00\x00\x00\x01\xff\xff\xff\xff\xff",                 // no HPACK
		preface + settings + "\x00\x00\x05\x00\x00\x00\x00\x00\x07hello",                                // data of no stream
		preface + settings + strings.Repeat("\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", 10000),      // pings
		preface + settings + strings.Repeat("\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff", 10), // windows
		preface + settings + noise(1<<16), preface + noise(1<<16), noise(1 << 20),
	} {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		var read sync.WaitGroup
		read.Go(func() { _, _ = io.Copy(io.Discard, conn) })
		_, _ = io.Copy(conn, bytes.NewReader([]byte(garbage)))
		w.requireServed()
		require.NoError(t, conn.Close())
		read.Wait()
	}
	// One that opened a stream and died in the middle of its hello.
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	c := newRawClient(t, conn)
	require.Equal(t, codes.DeadlineExceeded, c.waitEnd())
	w.requireServed()
	require.Equal(t, []string{"witness"}, s.connected())
}

// TestStreamsEndWithTheServer: also those that it has not begun to serve, and those that
// come later; a gRPC server that stops gracefully waits for them all.
func TestStreamsEndWithTheServer(t *testing.T) {
	for _, synced := range []bool{false, true} {
		store := watchers.NewStore()
		if synced {
			store = newStore(1)
		}
		server, err := node.NewServer(store, node.ServerConfig{})
		require.NoError(t, err)
		defer server.Close()
		g := grpc.NewServer(node.ServerOption())
		server.Register(g)
		listener := bufconn.Listen(1 << 20)
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = g.Serve(listener) })
		running.Go(func() { _ = server.Run(ctx) })
		conn, err := grpc.NewClient("passthrough:///server", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		require.NoError(t, err)
		silent, waiting := newRawClient(t, conn), newRawClient(t, conn)
		require.NoError(t, waiting.stream.Send(hello("n")))
		if synced {
			waiting.waitCommit()
		}
		cancel()
		require.Equal(t, codes.Unavailable, silent.waitEnd())
		require.Equal(t, codes.Unavailable, waiting.waitEnd())
		late := newRawClient(t, conn)
		_ = late.stream.Send(hello("n")) // the stream may have ended already
		require.Equal(t, codes.Unavailable, late.waitEnd())
		g.GracefulStop()
		running.Wait()
		require.NoError(t, conn.Close())
	}
}

// TestANodeHasTwoStreams: a third ends the oldest, and disturbs nobody else.
func TestANodeHasTwoStreams(t *testing.T) {
	var log bytes.Buffer
	store := newStore(1)
	store.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "other"}) })
	s := newFixture(t, store, node.ServerConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	conn := s.dial()
	open := func(node string) *rawClient {
		c := newRawClient(t, conn)
		require.NoError(t, c.stream.Send(hello(node)))
		c.waitCommit()
		return c
	}
	other, first, second := open("other"), open("n"), open("n")
	third := open("n")
	require.Equal(t, codes.Aborted, first.waitEnd())
	s.stop()
	for _, c := range []*rawClient{other, second, third} {
		require.Equal(t, codes.Unavailable, c.waitEnd(), "it went on until the server stopped")
	}
	require.Equal(t, 3, strings.Count(log.String(), "nobody has heard"), "and not for a Node that there is:\n%s", &log)
	require.Equal(t, 1, strings.Count(log.String(), "watched by more than two clients"), "%s", &log)
	s.start()
}
