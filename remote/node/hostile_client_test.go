// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bytes"
	"context"
	"errors"
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

// newService returns a Service with one port whose name ends in suffix.
func newService(i int, suffix string) *watchers.Service {
	return &watchers.Service{
		Name: watchers.ServiceName{Namespace: "ns", Name: fmt.Sprint("svc-", i)},
		Type: watchers.TypeClusterIP, ClusterIP: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}),
		ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}, IPFamilies: []watchers.IPFamily{watchers.FamilyIPv4},
		Ports: []watchers.ServicePort{{Name: "p" + suffix, Protocol: localsink.ProtocolTCP, Port: 80}},
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

// slice returns an EndpointSlice of a Service, with each endpoint on another node.
func slice(service, endpoints int) *watchers.EndpointSlice {
	s := &watchers.EndpointSlice{
		Namespace: "ns", Name: fmt.Sprint("slice-", service), Family: watchers.FamilyIPv4,
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

// A rawClient is a stream on which a test sends any messages.
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

// waitCommit receives messages up to the next Commit and returns its revision.
func (c *rawClient) waitCommit() uint64 {
	for {
		in, err := c.stream.Recv()
		require.NoError(c.t, err)
		if in.GetCommit() != nil {
			return in.GetCommit().GetRevision()
		}
	}
}

// waitSendDigests receives the Welcome, which must ask for digests. The server rejects
// digests that arrive before it has asked.
func (c *rawClient) waitSendDigests() {
	in, err := c.stream.Recv()
	require.NoError(c.t, err)
	require.True(c.t, in.GetWelcome().GetSendDigests())
}

// waitEnd receives until the stream ends and returns its status code.
func (c *rawClient) waitEnd() codes.Code {
	for {
		if _, err := c.stream.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return codes.OK
			}
			return status.Code(err)
		}
	}
}

// A bystander is a correct client that shares a server with hostile ones.
type bystander struct {
	t     *testing.T
	store *watchers.Store
	sink  *recordingSink
	n     int
}

func newBystander(t *testing.T, f *fixture) *bystander {
	b := &bystander{t: t, store: f.store, sink: newRecordingSink()}
	c, err := node.NewClient(node.ClientConfig{NodeName: "bystander"}, f.dial())
	require.NoError(t, err)
	run(t, c, b.sink)
	b.requireServed()
	return b
}

// requireServed changes a Service and waits until the bystander has it.
func (b *bystander) requireServed() {
	b.t.Helper()
	b.n++
	b.store.Update(func(tx *watchers.Tx) { tx.SetService(newService(0, fmt.Sprint(b.n))) })
	b.sink.wait(b.t, resolve(b.t, b.store, nodelocal.MultiNodeConfig{}, "bystander"))
}

// The server ends the stream of a hostile client with a status code that names the cause,
// and keeps serving others.
func TestHostileClientsAreDisconnected(t *testing.T) {
	const ack, resume = kpng.Capability_CAPABILITY_ACKNOWLEDGE, kpng.Capability_CAPABILITY_RESUME
	limits := transport.StreamLimits{AckTimeout: time.Second, SendTimeout: time.Second, HelloTimeout: time.Second, HeldItems: 1000}
	store := newStore(3)
	f := newFixture(t, store, node.ServerConfig{Limits: limits})
	b := newBystander(t, f)
	held := func(n uint32) *kpng.WatchNodeRequest {
		h := hello("n", resume)
		h.GetHello().Hello.HeldCount, h.GetHello().Hello.HeldDigestsXor = n, 12345
		return h
	}
	for _, test := range []struct {
		name string
		run  func(c *rawClient)
		want codes.Code
	}{
		{"sends nothing", func(*rawClient) {}, codes.DeadlineExceeded},
		{"sends an empty message", func(c *rawClient) { _ = c.stream.Send(&kpng.WatchNodeRequest{}) }, codes.InvalidArgument},
		{"starts with digests", func(c *rawClient) { _ = c.stream.Send(heldDigests([]uint64{1}, true)) }, codes.InvalidArgument},
		{"starts with an acknowledgement", func(c *rawClient) { _ = c.stream.Send(ackRequest(1)) }, codes.InvalidArgument},
		{"sends no node name", func(c *rawClient) { _ = c.stream.Send(hello("")) }, codes.InvalidArgument},
		{"sends a node name that is too long", func(c *rawClient) { _ = c.stream.Send(hello(strings.Repeat("n", 254))) }, codes.InvalidArgument},
		{"sends invalid UTF-8", func(c *rawClient) { _ = c.stream.SendMsg(rawMessage("\x0a\x04\x12\x02\xff\xfe")) }, codes.Internal},
		{"sends invalid protobuf", func(c *rawClient) { _ = c.stream.SendMsg(rawMessage("\x0a\xff\xff\xff")) }, codes.Internal},
		{"sends a message that is too large", func(c *rawClient) {
			h := hello("n")
			h.GetHello().Hello.Client = strings.Repeat("x", 5<<20)
			_ = c.stream.Send(h)
		}, codes.ResourceExhausted},
		{"sends hello twice", func(c *rawClient) { _, _ = c.stream.Send(hello("n")), c.stream.Send(hello("n")) }, codes.InvalidArgument},
		{"sends hello without end", func(c *rawClient) {
			for err := error(nil); err == nil; {
				err = c.stream.Send(hello("n"))
			}
		}, codes.InvalidArgument},
		{"closes after hello", func(c *rawClient) { _ = c.stream.Send(hello("n", ack)); _ = c.stream.CloseSend() }, codes.OK},
		{"closes before hello", func(c *rawClient) { _ = c.stream.CloseSend() }, codes.InvalidArgument},
		{"never acknowledges", func(c *rawClient) { _ = c.stream.Send(hello("n", ack)) }, codes.ResourceExhausted},
		{"acknowledges a future revision", func(c *rawClient) {
			_ = c.stream.Send(hello("n", ack))
			_ = c.stream.Send(ackRequest(c.waitCommit() + 1000000))
		}, codes.InvalidArgument},
		{"acknowledges without the capability", func(c *rawClient) {
			_ = c.stream.Send(hello("n"))
			_ = c.stream.Send(ackRequest(c.waitCommit()))
		}, codes.InvalidArgument},
		{"claims to hold more than the limit", func(c *rawClient) { _ = c.stream.Send(held(1001)) }, codes.ResourceExhausted},
		{"claims to hold the maximum count", func(c *rawClient) { _ = c.stream.Send(held(1<<32 - 1)) }, codes.ResourceExhausted},
		{"does not send its digests", func(c *rawClient) { _ = c.stream.Send(held(7)) }, codes.DeadlineExceeded},
		{"sends more digests than it claimed", func(c *rawClient) {
			_ = c.stream.Send(held(7))
			c.waitSendDigests()
			_ = c.stream.Send(heldDigests(make([]uint64, 8), false))
		}, codes.ResourceExhausted},
		{"sends its digests twice", func(c *rawClient) {
			_ = c.stream.Send(held(7))
			c.waitSendDigests()
			_ = c.stream.Send(heldDigests([]uint64{1, 2}, true))
			_ = c.stream.Send(heldDigests([]uint64{1, 2}, true))
		}, codes.InvalidArgument},
		{"sends digests unasked", func(c *rawClient) {
			_ = c.stream.Send(hello("n"))
			_ = c.stream.Send(heldDigests(nil, true))
		}, codes.InvalidArgument},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newRawClient(t, f.dial())
			test.run(c)
			b.requireServed()
			require.Equal(t, test.want, c.waitEnd())
			b.requireServed()
		})
	}
	require.Equal(t, []string{"bystander"}, f.connected())
}

// rawMessage holds the bytes of a message, which are sent unchanged.
type rawMessage string

type rawCodec struct{ encoding.CodecV2 }

func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if raw, ok := v.(rawMessage); ok {
		return mem.BufferSlice{mem.SliceBuffer(raw)}, nil
	}
	return c.CodecV2.Marshal(v)
}

func TestUnknownValuesOfNewerClientsAreIgnored(t *testing.T) {
	f := newFixture(t, newStore(3), node.ServerConfig{})
	c := newRawClient(t, f.dial())
	h := hello("n", 77, kpng.Capability_CAPABILITY_DELTAS, 78)
	h.GetHello().Unsupported = []kpng.Feature{99, kpng.Feature_FEATURE_UDP}
	h.ProtoReflect().SetUnknown([]byte("\xf2\x3f\x05hello"))
	h.GetHello().ProtoReflect().SetUnknown([]byte("\xf2\x3f\x05hello"))
	require.NoError(t, c.stream.Send(h))
	welcome, err := c.stream.Recv()
	require.NoError(t, err)
	require.Equal(t, []kpng.Capability{kpng.Capability_CAPABILITY_DELTAS}, welcome.GetWelcome().GetCapabilities())
	c.waitCommit()
	unknown := &kpng.WatchNodeRequest{}
	unknown.ProtoReflect().SetUnknown([]byte("\xf2\x3f\x05hello"))
	require.NoError(t, c.stream.Send(unknown), "a message with an unknown field only")
	f.store.Update(func(tx *watchers.Tx) { tx.SetService(newService(0, "new")) })
	c.waitCommit()
}

// Clients that do not read use a bounded amount of memory each and do not delay others.
func TestStalledClientsUseBoundedMemory(t *testing.T) {
	const streams = 500
	store := newStore(1000)
	f := newFixture(t, store, node.ServerConfig{Limits: transport.StreamLimits{SendTimeout: 2 * time.Second}})
	b := newBystander(t, f)
	conn := f.dial()
	before := memory()
	var clients []*rawClient
	for i := range streams {
		c := newRawClient(t, conn)
		require.NoError(t, c.stream.Send(hello(fmt.Sprint("n-", i))))
		clients = append(clients, c)
		if i%100 == 0 {
			b.requireServed()
		}
	}
	b.requireServed()
	growth := int64(memory()) - int64(before)
	// Both ends are in this process; each has a buffer of 64 KiB per stream.
	require.Less(t, growth/streams, int64(256<<10), "per stream")
	for _, c := range clients {
		c.cancel()
	}
	f.waitConnected("bystander")
	b.requireServed()
}

func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func TestClosedStreamsReleaseResources(t *testing.T) {
	f := newFixture(t, newStore(50), node.ServerConfig{})
	b := newBystander(t, f)
	conn := f.dial()
	round := func(n int) {
		var calls sync.WaitGroup
		for worker := range 4 {
			calls.Go(func() {
				for i := range n / 4 {
					ctx, cancel := context.WithCancel(context.Background())
					stream, err := kpng.NewNodeServiceClient(conn).WatchNode(ctx)
					if err == nil && i%4 > 0 {
						_ = stream.Send(hello(fmt.Sprint("n-", worker, i), kpng.Capability_CAPABILITY_ACKNOWLEDGE))
						for range i % 3 { // the server sends two messages at most
							_, _ = stream.Recv()
						}
					}
					cancel()
				}
			})
		}
		calls.Wait()
		f.waitConnected("bystander")
		b.requireServed()
	}
	round(100) // warm up caches and pools
	goroutines, bytes := runtime.NumGoroutine(), memory()
	round(1000)
	eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+3 })
	require.Less(t, int64(memory())-int64(bytes), int64(2<<20))
}

// eventually polls a condition for up to 20 seconds.
func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); runtime.Gosched() {
		require.True(t, time.Now().Before(deadline), "timeout")
	}
}

// Connections without HTTP/2 or gRPC do not affect other clients.
func TestGarbageOnConnectionIsHarmless(t *testing.T) {
	store := newStore(3)
	f := newFixture(t, store, node.ServerConfig{Limits: transport.StreamLimits{HelloTimeout: time.Second}})
	b := newBystander(t, f)
	address := f.listenTCP()
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
		preface + settings + "\xff\xff\xff\x01\x04\x00\x00\x00\x01",                                     // HEADERS of 16 MB
		preface + settings + "\x00\x00\x05\x01\x04\x00\x00\x00\x01\xff\xff\xff\xff\xff",                 // invalid HPACK
		preface + settings + "\x00\x00\x05\x00\x00\x00\x00\x00\x07hello",                                // DATA without a stream
		preface + settings + strings.Repeat("\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", 10000),      // PING flood
		preface + settings + strings.Repeat("\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff", 10), // WINDOW_UPDATE overflow
		preface + settings + noise(1<<16), preface + noise(1<<16), noise(1 << 20),
	} {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		var read sync.WaitGroup
		read.Go(func() { _, _ = io.Copy(io.Discard, conn) })
		_, _ = io.Copy(conn, bytes.NewReader([]byte(garbage)))
		b.requireServed()
		require.NoError(t, conn.Close())
		read.Wait()
	}
	// A client that opens a stream and sends no hello.
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	c := newRawClient(t, conn)
	require.Equal(t, codes.DeadlineExceeded, c.waitEnd())
	b.requireServed()
	require.Equal(t, []string{"bystander"}, f.connected())
}

// When Run ends, all streams end: those before hello, those that wait for a synced store,
// and later ones. GracefulStop of the gRPC server waits for all of them.
func TestStreamsEndWithServer(t *testing.T) {
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
		silent, watching := newRawClient(t, conn), newRawClient(t, conn)
		require.NoError(t, watching.stream.Send(hello("n")))
		if synced {
			watching.waitCommit()
		}
		cancel()
		require.Equal(t, codes.Unavailable, silent.waitEnd())
		require.Equal(t, codes.Unavailable, watching.waitEnd())
		late := newRawClient(t, conn)
		_ = late.stream.Send(hello("n")) // fails if the stream has ended already
		require.Equal(t, codes.Unavailable, late.waitEnd())
		g.GracefulStop()
		running.Wait()
		require.NoError(t, conn.Close())
	}
}

// The third stream of a node ends its oldest one, and no stream of other nodes.
func TestThirdStreamOfNodeEndsOldest(t *testing.T) {
	var log bytes.Buffer
	store := newStore(1)
	store.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "other"}) })
	f := newFixture(t, store, node.ServerConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	conn := f.dial()
	open := func(node string) *rawClient {
		c := newRawClient(t, conn)
		require.NoError(t, c.stream.Send(hello(node)))
		c.waitCommit()
		return c
	}
	other, first, second := open("other"), open("n"), open("n")
	third := open("n")
	require.Equal(t, codes.Aborted, first.waitEnd())
	f.stop()
	for _, c := range []*rawClient{other, second, third} {
		require.Equal(t, codes.Unavailable, c.waitEnd(), "it lasts until the server stops")
	}
	require.Equal(t, 1, strings.Count(log.String(), "Client watches unknown node"), "not for an existing Node:\n%s", &log)
	require.Equal(t, 1, strings.Count(log.String(), "Too many streams of one node"), "%s", &log)
	f.start()
}

// A node that opens streams in a loop causes two lines of the log, and another node one with
// the number of suppressed lines.
func TestStreamsOfOneNodeDoNotFillTheLog(t *testing.T) {
	var log bytes.Buffer
	f := newFixture(t, newStore(1), node.ServerConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	conn := f.dial()
	for range 50 {
		c := newRawClient(t, conn)
		require.NoError(t, c.stream.Send(hello("n")))
		c.waitCommit()
	}
	c := newRawClient(t, conn)
	require.NoError(t, c.stream.Send(hello("m")))
	c.waitCommit()
	f.stop()
	require.Equal(t, 3, strings.Count(log.String(), "\n"), "%s", &log)
	require.Contains(t, log.String(), "node=m suppressed=94") // 2 before the second line
	f.start()
}
