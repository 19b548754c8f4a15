// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
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

// A tamperingProxy stands between clients and an honest server, and changes what it says.
type tamperingProxy struct {
	kpng.UnimplementedNodeServiceServer
	t    *testing.T
	real *grpc.ClientConn
	conn *grpc.ClientConn // for clients

	mu        sync.Mutex
	tamper    func(n int, in *response) []any // what is said instead of the nth message
	hellos    []*kpng.NodeHello
	logged    bytes.Buffer
	onMessage func(stream int, client bool, m proto.Message) // when not nil, under mu
	opened    int
	gate      sync.Mutex                       // whoever holds it keeps clients away
	cancels   map[*context.CancelFunc]struct{} // of the present streams
}

func newTamperingProxy(t *testing.T, s *fixture) *tamperingProxy {
	f := &tamperingProxy{t: t, real: s.dial(), cancels: map[*context.CancelFunc]struct{}{}}
	f.conn = serveRaw(t, f)
	return f
}

// serveRaw serves nodes with a service that may send rawMessages.
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

// tamperNext changes what is said on one stream, the next.
func (f *tamperingProxy) tamperNext(forge func(n int, in *response) []any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tamper = forge
}

// endStreams ends the present streams.
func (f *tamperingProxy) endStreams() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for end := range f.cancels {
		(*end)()
	}
}

// Write takes in what the client logs.
func (f *tamperingProxy) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logged.Write(b)
}

func (f *tamperingProxy) log() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logged.String()
}

func (f *tamperingProxy) lastHello() *kpng.NodeHello {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hellos[len(f.hellos)-1]
}

// withoutClients does something while no client is there.
func (f *tamperingProxy) withoutClients(do func()) {
	f.gate.Lock()
	defer f.gate.Unlock()
	f.endStreams()
	do()
}

func (f *tamperingProxy) observe(stream int, client bool, m proto.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.onMessage != nil {
		f.onMessage(stream, client, m)
	}
}

func (f *tamperingProxy) WatchNode(client kpng.NodeService_WatchNodeServer) error {
	f.gate.Lock()
	f.gate.Unlock()
	ctx, cancel := context.WithCancel(client.Context())
	server, err := kpng.NewNodeServiceClient(f.real).WatchNode(ctx)
	if err != nil {
		cancel()
		return err
	}
	f.mu.Lock()
	forge, stream := f.tamper, f.opened
	f.opened++
	f.tamper, f.cancels[&cancel] = nil, struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.cancels, &cancel)
	}()
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			in, err := client.Recv()
			if err == nil {
				f.observe(stream, true, in)
			}
			if err != nil || server.Send(in) != nil {
				cancel()
				return
			}
			if in.GetHello() != nil {
				f.mu.Lock()
				f.hellos = append(f.hellos, in.GetHello())
				f.mu.Unlock()
			}
		}
	})
	defer cancel()
	for n := 0; ; n++ {
		in, err := server.Recv()
		if err != nil {
			return err
		}
		f.observe(stream, false, in)
		said := []any{in}
		if forge != nil {
			said = forge(n, in)
		}
		for _, m := range said {
			if err := client.SendMsg(m); err != nil {
				return err
			}
		}
	}
}

// newClient returns a client behind the forger, and the sink that it feeds.
func (f *tamperingProxy) newClient() *recordingSink {
	k := newRecordingSink()
	c, err := node.NewClient(node.ClientConfig{
		NodeName: "node-1", Logger: slog.New(slog.NewTextHandler(f, nil)), MaxReconnect: 1,
	}, f.conn)
	require.NoError(f.t, err)
	run(f.t, c, k)
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

// TestHostileServers: whatever a server says, the client says what is wrong with it,
// keeps what it has, and goes on with the next.
func TestHostileServers(t *testing.T) {
	store := newClusterStore()
	s := newFixture(t, store, node.ServerConfig{})
	f := newTamperingProxy(t, s)
	k := f.newClient()
	want := func() string { return resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1") }
	k.wait(t, want())
	service := func(in *kpng.Service) *response {
		return &response{Services: []*kpng.ServiceChange{{Namespace: "ns", Name: "svc-1", Digest: 1, Change: &kpng.ServiceChange_Service{Service: in}}}}
	}
	port := func(in *kpng.Port) *response { return service(&kpng.Service{Ports: []*kpng.Port{{}, in}}) }
	routes := func(in ...*kpng.Route) *response {
		return port(&kpng.Port{Protocol: 6, RouteLists: []*kpng.RouteList{{Routes: in}}})
	}
	delta := func(name string, in *kpng.PortDelta) *response {
		return &response{Services: []*kpng.ServiceChange{{Namespace: "ns", Name: name, Digest: 1, Change: &kpng.ServiceChange_Delta{Delta: &kpng.ServiceDelta{Ports: []*kpng.PortDelta{in}}}}}}
	}
	own := func(in ...*kpng.OverlayEndpoint) *response {
		return &response{Overlays: []*kpng.OverlayChange{{Namespace: "ns", Name: "svc-1", Endpoints: in}}}
	}
	end := func(ip byte, port uint32) *kpng.Endpoint {
		return &kpng.Endpoint{Address: []byte{10, 0, 0, ip}, Port: port}
	}
	v4 := []byte{10, 0, 0, 1}
	commit := func(revision uint64) *response { return &response{Commit: &kpng.Commit{Revision: revision}} }
	var honest any // what the honest server says
	last := &kpng.Route{Pools: []uint32{1}}
	for _, h := range []struct {
		name  string
		says  []any
		error string // what the client logs
		keeps bool   // it goes on with what it holds
	}{
		{"garbage", []any{rawMessage("\xff\xff\xff\xff\xff")}, "unmarshal", true},
		{"no UTF-8", []any{rawMessage("\x12\x04\x0a\x02\xff\xfe")}, "UTF-8", true},
		{"too much", []any{rawMessage(make([]byte, 5<<20))}, "larger than max", true},
		{"a difference from nothing", []any{delta("svc-none", &kpng.PortDelta{})}, "Service ns/svc-none: a difference from nothing", false},
		{"a difference of a port that is not there", []any{delta("svc-1", &kpng.PortDelta{Port: 9})}, "Service ns/svc-1 has no port 9", false},
		{"a difference of port 4294967295", []any{delta("svc-1", &kpng.PortDelta{Port: 1<<32 - 1})}, "Service ns/svc-1 has no port", false},
		{"an endpoint removed that is not there", []any{delta("svc-1", &kpng.PortDelta{Removed: []*kpng.Endpoint{end(99, 1)}})}, "Service ns/svc-1, port 0: no endpoint 10.0.0.99:1 to remove", false},
		{"a difference out of order", []any{delta("svc-1", &kpng.PortDelta{Set: []*kpng.Endpoint{end(2, 1), end(1, 1)}})}, "Service ns/svc-1: delta: ports[0].set: 10.0.0.1:1 is out of order", false},
		{"an address of three bytes", []any{port(&kpng.Port{Endpoints: []*kpng.Endpoint{{Address: []byte{1, 2, 3}}}})}, "Service ns/svc-1: ports[1].endpoints: address", false},
		{"an endpoint of nothing", []any{port(&kpng.Port{Endpoints: []*kpng.Endpoint{nil}})}, "Service ns/svc-1: ports[1].endpoints: address", false},
		{"port 65536", []any{port(&kpng.Port{Endpoints: []*kpng.Endpoint{end(1, 65536)}})}, "Service ns/svc-1: ports[1].endpoints: port", false},
		{"endpoints twice", []any{port(&kpng.Port{Endpoints: []*kpng.Endpoint{end(1, 1), end(1, 1)}})}, "ports[1].endpoints: 10.0.0.1:1 is out of order", false},
		{"a health check on port 65536", []any{service(&kpng.Service{HealthCheckPort: 65536})}, "Service ns/svc-1: health_check_port", false},
		{"routes that are not there", []any{port(&kpng.Port{Protocol: 6, Frontends: []*kpng.Frontend{{Kind: 1, Address: v4, RouteList: 3}}})}, "ports[1].frontends[0].routes: there is no route list 3", false},
		{"no routes", []any{routes()}, "ports[1].route_lists[0].routes: the last one is not for everybody", false},
		{"routes not for all", []any{routes(&kpng.Route{From: 1, Pools: []uint32{1}})}, "the last one is not for everybody", false},
		{"routes not on all nodes", []any{routes(&kpng.Route{Condition: 1, Pools: []uint32{1}})}, "the last one is not for everybody", false},
		{"routes on other nodes not for all", []any{routes(last, &kpng.Route{From: 1, Condition: 2, Pools: []uint32{1}})}, "the last one is not for everybody", false},
		{"a route to nowhere", []any{routes(&kpng.Route{})}, "route_lists[0].routes[0].pools: there is none", false},
		{"a pool that cannot be", []any{routes(&kpng.Route{Pools: []uint32{8}})}, "routes[0].pools: there is no pool 8", false},
		{"a network of 33 bits", []any{port(&kpng.Port{Protocol: 6, RouteLists: []*kpng.RouteList{{Routes: []*kpng.Route{last}}}, Frontends: []*kpng.Frontend{
			{Kind: 1, Address: v4, SourceRanges: &kpng.Networks{Networks: []*kpng.Network{{Address: v4, Length: 33}}}}}})}, "frontends[0].sources: networks[0]", false},
		{"own endpoints out of order", []any{own(&kpng.OverlayEndpoint{ServicePort: 1, Endpoint: end(1, 1)}, &kpng.OverlayEndpoint{Endpoint: end(1, 1)})}, "own part of Service ns/svc-1: endpoints[1]: 10.0.0.1:1 is out of order", false},
		{"an own endpoint of nothing", []any{own(&kpng.OverlayEndpoint{})}, "own part of Service ns/svc-1: endpoints[0].address", false},
		{"a node of no address", []any{&response{Node: &kpng.Node{Ips: [][]byte{{1}}}}}, "node: ips[0]", false},
		{"a node of no loopback address", []any{&response{Node: &kpng.Node{LoopbackNodePorts: [][]byte{{127, 0, 0, 1}, {1}}}}}, "node: loopback_node_ports[1]", false},
		{"a node of no network", []any{&response{Node: &kpng.Node{ServiceNetworks: []*kpng.Network{{}}}}}, "node: service_networks[0]", false},
		{"commit 0", []any{commit(0)}, "commit: revision 0 after 0", false},
		{"commits going backwards", []any{honest, commit(1000), commit(999)}, "commit: revision 999 after 1000", false},
		{"the same commit twice", []any{honest, commit(1000), commit(1000)}, "commit: revision 1000 after 1000", false},
		{"more unwanted than there is", []any{&response{RemovedDigests: []uint64{1, 2, 3}}, &response{RemovedDigests: []uint64{1, 2, 3}}}, "unwanted: 6 digests, of 5 Services", false},
	} {
		t.Run(h.name, func(t *testing.T) {
			_, before := k.count()
			met := len(f.log())
			streams := f.streams()
			again := func() int { return strings.Count(f.log()[met:], "Hears a server again") }
			heard := 1 // when there is an honest server
			if h.says[0] == honest {
				heard++ // and before, as long as it seemed to be one
			}
			f.tamperNext(func(n int, in *response) []any {
				if n != 1 {
					return []any{in}
				}
				for i, m := range h.says {
					if m == honest {
						h.says[i] = in
					}
				}
				return h.says
			})
			f.endStreams()
			eventually(t, func() bool { return f.streams() >= streams+2 && s.applied("node-1") })
			require.Contains(t, f.log()[met:], h.error)
			eventually(t, func() bool { return again() >= heard })
			require.Equal(t, heard, again(), f.log()[met:])
			require.Equal(t, h.keeps, f.lastHello().GetHello().GetHeldCount() > 0, "holds something")
			text, after := k.count()
			require.Equal(t, before, after, "the sink is not bothered")
			require.Equal(t, want(), text)
		})
	}
	store.Update(func(tx *watchers.Tx) { tx.SetService(newService(1, "new")) })
	k.wait(t, want())
}

// TestAServerThatDoesNotWelcome is left for the next one.
func TestAServerThatDoesNotWelcome(t *testing.T) {
	store := newClusterStore()
	s := newFixture(t, store, node.ServerConfig{})
	f := newTamperingProxy(t, s)
	f.tamperNext(func(_ int, in *response) []any {
		in.Welcome = nil
		return []any{in}
	})
	k := f.newClient()
	k.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
	require.Contains(t, f.log(), "the server does not begin with welcome")
}

// TestServersOfTheFuture: what a client does not know yet it leaves out, names it as a
// problem, and serves the rest.
func TestServersOfTheFuture(t *testing.T) {
	store := newClusterStore()
	s := newFixture(t, store, node.ServerConfig{})
	plain := resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1")
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
	for _, h := range []struct {
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
		t.Run(h.name, func(t *testing.T) {
			f := newTamperingProxy(t, s)
			f.tamperNext(change(h.change))
			k := f.newClient()
			if h.problem == "" {
				k.wait(t, plain)
				return
			}
			u := k.first(t)
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
				require.Contains(t, svc.Problems[0].Message, h.problem+" is not known to this client")
			}
			require.Equal(t, 1, n)
			// Differences of what is not understood are understood all the same.
			store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice(1, 4)) })
			store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice(2, 4)) })
			k.waitContains(t, "10.1.2.4")
			require.Equal(t, 1, f.streams())
			store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice(1, 3)); tx.SetEndpointSlice(slice(2, 3)) })
		})
	}
}

// TestTwoServicesOfOneDigest: a client that cannot tell what it holds holds nothing.
func TestTwoServicesOfOneDigest(t *testing.T) {
	store := newClusterStore()
	s := newFixture(t, store, node.ServerConfig{})
	f := newTamperingProxy(t, s)
	f.tamperNext(func(_ int, in *response) []any {
		for _, c := range in.GetServices() {
			c.Digest = 7
		}
		return []any{in}
	})
	k := f.newClient()
	k.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
	store.Update(func(tx *watchers.Tx) { tx.DeleteService(newService(1, "").Name); tx.SetService(newService(2, "new")) })
	k.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
	f.endStreams()
	eventually(t, func() bool { return f.streams() == 2 && s.applied("node-1") })
	require.Zero(t, f.lastHello().GetHello().GetHeldCount())
	store.Update(func(tx *watchers.Tx) { tx.DeleteService(newService(3, "").Name) })
	k.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
}

func (f *tamperingProxy) streams() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.hellos)
}

// A stalledServer accepts streams and never says anything.
type stalledServer struct {
	grpc.ClientConnInterface
	streams atomic.Int64
}

type stalledStream struct {
	grpc.ClientStream
	ctx context.Context
}

func (m *stalledServer) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	m.streams.Add(1)
	return &stalledStream{ctx: ctx}, nil
}

func (m *stalledStream) SendMsg(any) error { return nil }

func (m *stalledStream) RecvMsg(any) error {
	<-m.ctx.Done()
	return m.ctx.Err()
}

// TestMuteServers: a client does not wait for ever for a server that does not answer.
func TestMuteServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mutes := []*stalledServer{{}, {}}
		c, err := node.NewClient(node.ClientConfig{NodeName: "n"}, mutes[0], mutes[1])
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx, newRecordingSink()) }()
		time.Sleep(10 * time.Minute)
		for _, m := range mutes {
			require.GreaterOrEqual(t, m.streams.Load(), int64(15))
			require.LessOrEqual(t, m.streams.Load(), int64(30))
		}
		cancel()
		require.NoError(t, <-done)
	})
}
