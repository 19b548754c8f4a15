// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/remote/internal/session"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

// The benchmarks run a real server. Its clients are fakeClients, which use nearly no
// resources, or, with KPNG_BENCH_LOOPBACK=1, gRPC clients on loopback in another process, so
// that the CPU time of this process is that of the server. The other process runs this test
// binary with clientsEnv set to the address and the number of clients.
const clientsEnv = "KPNG_BENCH_CLIENTS"

func TestMain(m *testing.M) {
	if spec := os.Getenv(clientsEnv); spec != "" {
		if err := runClients(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func scaleService(i int) *watchers.Service {
	ip := netip.AddrFrom4([4]byte{10, 96 + byte(i>>16), byte(i >> 8), byte(i)})
	return &watchers.Service{
		Name:      watchers.ServiceName{Namespace: "bench", Name: fmt.Sprintf("svc-%05d", i)},
		ClusterIP: ip, ClusterIPs: []netip.Addr{ip}, IPFamilies: []watchers.IPFamily{watchers.FamilyIPv4},
		Ports: []watchers.ServicePort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 80}},
	}
}

// scaleSlice returns a slice whose first endpoint is not ready if generation is odd.
func scaleSlice(i, endpoints, nodes, generation int) *watchers.EndpointSlice {
	name := fmt.Sprintf("svc-%05d", i)
	s := &watchers.EndpointSlice{
		Namespace: "bench", Name: name + "-a", Service: watchers.ServiceName{Namespace: "bench", Name: name},
		Family: watchers.FamilyIPv4, Ports: []watchers.EndpointPort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 8080}},
	}
	for j := range endpoints {
		n := i*endpoints + j
		e := watchers.Endpoint{
			Addr:  netip.AddrFrom4([4]byte{10, byte(128 + n>>16&0x3f), byte(n >> 8), byte(n)}),
			Node:  fmt.Sprintf("node-%04d", n%nodes),
			Ready: true, Serving: true,
		}
		if j == 0 && generation%2 == 1 {
			e.Ready, e.Serving = false, false
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func scaleStore(services, endpoints, nodes int) *watchers.Store {
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) {
		for i := range nodes {
			tx.SetNode(&watchers.Node{
				Name: fmt.Sprintf("node-%04d", i), Zone: fmt.Sprint("zone-", i%3),
				IPs: []netip.Addr{netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)})},
			})
		}
		for i := range services {
			tx.SetService(scaleService(i))
			tx.SetEndpointSlice(scaleSlice(i, endpoints, nodes, 0))
		}
		tx.SetSynced()
	})
	return store
}

// A benchServer is a server with its clients: fakeClients, or a process if clients is nil.
type benchServer struct {
	b       *testing.B
	store   *watchers.Store
	server  *node.Server
	clients *fakeClients
	process *exec.Cmd
	output  *bufio.Scanner // of the process
	in      io.WriteCloser
}

func newBenchServer(b *testing.B, services, endpoints, nodes int) *benchServer {
	relaxGC(b)
	s := &benchServer{b: b, store: scaleStore(services, endpoints, max(nodes, 1))}
	server, err := node.NewServer(s.store, node.ServerConfig{ServerName: "bench"})
	require.NoError(b, err)
	s.server = server
	g := grpc.NewServer(append(serverOptions(), node.ServerOption())...)
	server.Register(g)
	var l net.Listener
	if os.Getenv("KPNG_BENCH_LOOPBACK") != "" {
		l, err = net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
	} else {
		s.clients = newFakeClients(nodes)
		l = s.clients
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.Serve(l) })
	running.Go(func() { _ = server.Run(ctx) })
	<-server.Ready()
	b.Cleanup(func() {
		if s.in != nil && s.process.Process != nil {
			s.in.Close()
			_ = s.process.Wait()
		}
		g.Stop()
		cancel()
		running.Wait()
		server.Close()
	})
	if s.clients != nil {
		return s
	}
	s.process = exec.Command(os.Args[0])
	s.process.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", clientsEnv, l.Addr(), nodes))
	s.process.Stderr = os.Stderr
	s.in, err = s.process.StdinPipe()
	require.NoError(b, err)
	out, err := s.process.StdoutPipe()
	require.NoError(b, err)
	s.output = bufio.NewScanner(out)
	return s
}

// relaxGC sets the GC percentage of tuning.ServerGarbageCollection.
func relaxGC(b *testing.B) {
	percent := debug.SetGCPercent(400)
	b.Cleanup(func() { debug.SetGCPercent(percent) })
}

func serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.InitialWindowSize(1 << 20), grpc.InitialConnWindowSize(1 << 20),
		grpc.ReadBufferSize(4 << 10), grpc.WriteBufferSize(16 << 10),
	}
}

// allReceived reports when the last node received a revision, and the bytes sent so far.
type allReceived struct {
	revision uint64
	last     time.Time
	down, up int64
}

// connect starts the clients.
func (s *benchServer) connect() {
	if s.clients != nil {
		go s.clients.connect(func(i int) string { return fmt.Sprintf("node-%04d", i) })
		return
	}
	require.NoError(s.b, s.process.Start())
}

func (s *benchServer) wait(revision uint64) allReceived {
	for s.clients != nil {
		select {
		case r := <-s.clients.reached:
			if r.revision >= revision {
				return r
			}
		case <-time.After(3 * time.Minute):
			s.b.Fatal("timeout: not all nodes have received the revision")
		}
	}
	for s.output.Scan() {
		var r allReceived
		var ns int64
		_, err := fmt.Sscan(s.output.Text(), &r.revision, &ns, &r.down, &r.up)
		require.NoError(s.b, err, s.output.Text())
		if r.last = time.Unix(0, ns); r.revision >= revision {
			return r
		}
	}
	s.b.Fatal("the client process has ended")
	return allReceived{}
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// peak returns the peak resident memory of this process, including garbage.
func peak() int64 {
	data, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(f[0], 10, 64)
	return kib << 10
}

// resident returns the resident memory of this process after a garbage collection.
func resident() int64 {
	debug.FreeOSMemory()
	data, _ := os.ReadFile("/proc/self/statm")
	f := strings.Fields(string(data))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// BenchmarkFanout measures one endpoint change to all nodes: CPU time of the server, bytes
// sent, and the time until the last node has received it. KPNG_BENCH_SCALE=30000x4x5000 sets
// the number of Services, endpoints per Service, and nodes.
func BenchmarkFanout(b *testing.B) {
	sizes := [][3]int{{10_000, 10, 1000}, {10_000, 10, 5000}}
	if spec := os.Getenv("KPNG_BENCH_SCALE"); spec != "" {
		var s [3]int
		_, err := fmt.Sscanf(spec, "%dx%dx%d", &s[0], &s[1], &s[2])
		require.NoError(b, err)
		sizes = [][3]int{s}
	}
	for _, s := range sizes {
		services, endpoints, nodes := s[0], s[1], s[2]
		b.Run(fmt.Sprintf("%dx%d to %d nodes", services, endpoints, nodes), func(b *testing.B) {
			st := newBenchServer(b, services, endpoints, nodes)
			before, start := resident(), time.Now()
			beforeCPU := cpuTime()
			st.connect()
			first := st.wait(1)
			b.Logf("all connected after %v, server CPU %v; resident %d MiB, %d KiB per node; %d B down and %d B up per node",
				time.Since(start).Round(time.Millisecond), cpuTime()-beforeCPU, resident()>>20, (resident()-before)>>10/int64(nodes),
				first.down/int64(nodes), first.up/int64(nodes))
			revision, last, n := uint64(1), first, 0
			var worst, sum time.Duration
			b.ResetTimer()
			startCPU, allocs := cpuTime(), mallocs()
			for b.Loop() {
				n++
				revision++
				at := time.Now()
				slice := scaleSlice((n-1)%services, endpoints, nodes, 1+(n-1)/services)
				st.store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice) })
				last = st.wait(revision)
				latency := last.last.Sub(at)
				worst, sum = max(worst, latency), sum+latency
			}
			used := cpuTime() - startCPU
			allocs = mallocs() - allocs
			per := func(v float64) float64 { return v / float64(n) / float64(nodes) }
			b.ReportMetric(per(float64(used.Nanoseconds()))/1000, "server-us/node")
			b.ReportMetric(per(float64(allocs)), "allocs/node")
			b.ReportMetric(per(float64(last.down-first.down)), "B-down/node")
			b.ReportMetric(per(float64(last.up-first.up)), "B-up/node")
			b.ReportMetric(float64(sum.Milliseconds())/float64(n), "ms-to-last")
			b.ReportMetric(float64(worst.Milliseconds()), "ms-to-last-worst")
			b.ReportMetric(float64(resident()>>20), "MiB-server")
			b.ReportMetric(float64(peak()>>20), "MiB-peak")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// A counter is a connection that counts its bytes.
type counter struct {
	net.Conn
	down, up *atomic.Int64
}

func (c counter) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.down.Add(int64(n))
	return n, err
}

func (c counter) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.up.Add(int64(n))
	return n, err
}

// runClients runs clients that receive and acknowledge updates. It prints a line when all of
// them have received a revision.
func runClients(spec string) error {
	var target string
	var nodes int
	if _, err := fmt.Sscan(spec, &target, &nodes); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // the parent process has ended or closed the pipe
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0) //nolint:revive // ends the process of the clients at once
	}()
	var down, up atomic.Int64
	received := make(chan uint64, nodes)
	failed := make(chan error, nodes)
	for i := range nodes {
		go func() { failed <- runClient(ctx, target, fmt.Sprintf("node-%04d", i), &down, &up, received) }()
	}
	counts := map[uint64]int{}
	for {
		select {
		case r := <-received:
			if counts[r]++; counts[r] == nodes {
				fmt.Fprintln(os.Stdout, r, time.Now().UnixNano(), down.Load(), up.Load())
				delete(counts, r)
			}
		case err := <-failed:
			return err
		}
	}
}

// A rawResponse is an encoded WatchNodeResponse. It is not decoded, because the CPU time of
// clients is not measured.
type rawResponse []byte

type rawResponseCodec struct{ encoding.CodecV2 }

func (c rawResponseCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a proto.Message", v)
	}
	b, err := proto.Marshal(m)
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}

func (c rawResponseCodec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*rawResponse)
	if !ok {
		return fmt.Errorf("%T is not a *rawResponse", v)
	}
	*r = data.MaterializeToBuffer(mem.DefaultBufferPool()).ReadOnlyData()
	return nil
}

func (c rawResponseCodec) Name() string { return "proto" }

// revision returns the revision of the Commit in r, or 0 if there is none.
func (r rawResponse) revision() uint64 {
	for b := []byte(r); len(b) > 0; {
		field, kind, n := protowire.ConsumeTag(b)
		b = b[max(n, 0):]
		if field == 7 && kind == protowire.BytesType {
			inner, _ := protowire.ConsumeBytes(b)
			_, _, n := protowire.ConsumeTag(inner)
			v, _ := protowire.ConsumeVarint(inner[max(n, 0):])
			return v
		}
		if n = protowire.ConsumeFieldValue(field, kind, b); n < 0 {
			return 0
		}
		b = b[n:]
	}
	return 0
}

func runClient(ctx context.Context, target, name string, down, up *atomic.Int64, received chan<- uint64) error {
	conn, err := grpc.NewClient("passthrough:///"+target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, a string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", a)
			return counter{c, down, up}, err
		}),
		grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(1<<20),
		grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawResponseCodec{})))
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		kpng.NodeService_WatchNode_FullMethodName, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	hello := &kpng.NodeHello{NodeName: name, Hello: &kpng.Hello{Client: "bench", Capabilities: []kpng.Capability{
		kpng.Capability_CAPABILITY_DELTAS, kpng.Capability_CAPABILITY_RESUME, kpng.Capability_CAPABILITY_ACKNOWLEDGE,
	}}}
	if err := stream.SendMsg(&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Hello{Hello: hello}}); err != nil {
		return err
	}
	acks := session.NewAckQueue() // acknowledges several updates in one message, as real clients do
	go func() {
		for {
			ack, ok := acks.Next(ctx, 500*time.Millisecond)
			if !ok || stream.SendMsg(&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Ack{Ack: ack}}) != nil {
				return
			}
		}
	}()
	for {
		var in rawResponse
		if err := stream.RecvMsg(&in); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if revision := in.revision(); revision != 0 {
			acks.Add(&kpng.Ack{Revision: revision, DurationNs: 50_000})
			received <- revision
		}
	}
}
