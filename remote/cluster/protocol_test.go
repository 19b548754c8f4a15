// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/watchers"
)

// A scriptedServer server answers one stream after the other with what it was told to say, and
// keeps what clients say.
type scriptedServer struct {
	kpng.UnimplementedClusterServiceServer
	scripts chan []*kpng.WatchClusterResponse
	hellos  chan *kpng.ClusterHello
	acks    chan *kpng.Ack
}

func newScriptedServer(t *testing.T) (*scriptedServer, *grpc.ClientConn) {
	s := &scriptedServer{
		scripts: make(chan []*kpng.WatchClusterResponse, 10), hellos: make(chan *kpng.ClusterHello, 100), acks: make(chan *kpng.Ack, 100),
	}
	g := grpc.NewServer()
	kpng.RegisterClusterServiceServer(g, s)
	l := bufconn.Listen(1 << 20)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	conn := dial(t, func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) })
	t.Cleanup(func() { conn.Close(); g.Stop(); <-done })
	return s, conn
}

func (s *scriptedServer) WatchCluster(stream kpng.ClusterService_WatchClusterServer) error {
	in, err := stream.Recv()
	if err != nil {
		return err
	}
	s.hellos <- in.GetHello()
	var script []*kpng.WatchClusterResponse
	select {
	case script = <-s.scripts:
	case <-stream.Context().Done():
		return nil
	}
	for _, m := range script {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	for {
		in, err := stream.Recv()
		if err != nil {
			return err
		}
		if in.GetAck() != nil {
			s.acks <- in.GetAck()
		}
	}
}

func welcome(startOver bool) *kpng.WatchClusterResponse {
	return &kpng.WatchClusterResponse{Welcome: &kpng.Welcome{FullSync: startOver, Capabilities: capabilities()}}
}

func update(commit uint64, changes ...*kpng.ObjectChange) *kpng.WatchClusterResponse {
	out := &kpng.WatchClusterResponse{Objects: changes}
	if commit > 0 {
		out.Commit = &kpng.Commit{Revision: commit}
	}
	return out
}

const (
	nodeKind    = kpng.ObjectKind_OBJECT_KIND_NODE
	serviceKind = kpng.ObjectKind_OBJECT_KIND_SERVICE
	sliceKind   = kpng.ObjectKind_OBJECT_KIND_ENDPOINT_SLICE
	cidrKind    = kpng.ObjectKind_OBJECT_KIND_SERVICE_CIDR
)

func nodeChange(name string, digest uint64) *kpng.ObjectChange {
	return &kpng.ObjectChange{
		Key: &kpng.ObjectKey{Kind: nodeKind, Name: name}, Digest: digest, Object: &kpng.ObjectChange_Node{Node: &kpng.NodeObject{}},
	}
}

func serviceChange(in *kpng.ServiceObject) *kpng.ObjectChange {
	return &kpng.ObjectChange{
		Key: &kpng.ObjectKey{Kind: serviceKind, Namespace: "ns", Name: "web"}, Digest: 1, Object: &kpng.ObjectChange_Service{Service: in},
	}
}

func sliceChange(in *kpng.EndpointSliceObject) *kpng.ObjectChange {
	return &kpng.ObjectChange{
		Key: &kpng.ObjectKey{Kind: sliceKind, Namespace: "ns", Name: "web-1"}, Digest: 1, Object: &kpng.ObjectChange_EndpointSlice{EndpointSlice: in},
	}
}

// badChanges are what no server may say, by the error that a client has for it.
func badChanges() map[string]*kpng.ObjectChange {
	ip := []byte{10, 0, 0, 1}
	network := func(address []byte, length uint32) []*kpng.Network {
		return []*kpng.Network{{Address: ip, Length: 8}, {Address: address, Length: length}}
	}
	return map[string]*kpng.ObjectChange{
		"Node : key.name: required":                     {Digest: 1, Key: &kpng.ObjectKey{Kind: nodeKind}},
		"OBJECT_KIND_UNSPECIFIED x: key.kind: required": {Key: &kpng.ObjectKey{Name: "x"}},
		"Service x: key.namespace: required":            {Key: &kpng.ObjectKey{Kind: serviceKind, Name: "x"}},
		"Node ns/x: key.namespace":                      {Key: &kpng.ObjectKey{Kind: nodeKind, Namespace: "ns", Name: "x"}},
		"Node x: digest: there is no fact":              {Key: &kpng.ObjectKey{Kind: nodeKind, Name: "x"}, Digest: 1},
		"Node x: digest: required":                      nodeChange("x", 0),
		"ServiceCIDR x: fact: is of another kind": {
			Key: &kpng.ObjectKey{Kind: cidrKind, Name: "x"}, Digest: 1, Object: &kpng.ObjectChange_Node{Node: &kpng.NodeObject{}},
		},
		"ServiceCIDR x: networks[1]: address: 0 bytes": {
			Key: &kpng.ObjectKey{Kind: cidrKind, Name: "x"}, Digest: 1,
			Object: &kpng.ObjectChange_ServiceCidr{ServiceCidr: &kpng.ServiceCidrObject{Networks: network(nil, 0)}},
		},
		"Node x: pod_cidrs[1]: 10.0.0.1 cannot have a prefix of 33 bits": {
			Key: &kpng.ObjectKey{Kind: nodeKind, Name: "x"}, Digest: 1,
			Object: &kpng.ObjectChange_Node{Node: &kpng.NodeObject{PodCidrs: network(ip, 33)}},
		},
		"Node x: ips[0]: address: 5 bytes": {
			Key: &kpng.ObjectKey{Kind: nodeKind, Name: "x"}, Digest: 1,
			Object: &kpng.ObjectChange_Node{Node: &kpng.NodeObject{Ips: [][]byte{{1, 2, 3, 4, 5}}}},
		},
		"Service ns/web: cluster_ip: address: 1 bytes":     serviceChange(&kpng.ServiceObject{ClusterIp: []byte{1}}),
		"Service ns/web: cluster_ips[1]: address: 1 bytes": serviceChange(&kpng.ServiceObject{ClusterIps: [][]byte{nil, {1}}}),
		"Service ns/web: external_ips[0]: address":         serviceChange(&kpng.ServiceObject{ExternalIps: [][]byte{nil}}),
		"Service ns/web: ingress[0].ip: address":           serviceChange(&kpng.ServiceObject{Ingress: []*kpng.Ingress{{}}}),
		"Service ns/web: source_ranges[1]: address":        serviceChange(&kpng.ServiceObject{SourceRanges: network(nil, 0)}),
		"Service ns/web: health_check_node_port: 65536":    serviceChange(&kpng.ServiceObject{HealthCheckNodePort: 1 << 16}),
		"Service ns/web: ports[0].port: 65536":             serviceChange(&kpng.ServiceObject{Ports: []*kpng.ServiceObjectPort{{Port: 1 << 16}}}),
		"Service ns/web: ports[0].node_port: 65536":        serviceChange(&kpng.ServiceObject{Ports: []*kpng.ServiceObjectPort{{NodePort: 1 << 16}}}),
		"EndpointSlice ns/web-1: service: required":        sliceChange(&kpng.EndpointSliceObject{Family: 4}),
		"EndpointSlice ns/web-1: ports[0].port: 65536":     sliceChange(&kpng.EndpointSliceObject{Service: "web", Ports: []*kpng.EndpointObjectPort{{Port: 1 << 16}}}),
		"EndpointSlice ns/web-1: endpoints[0].address: 10.0.0.1 is not of the slice's family": sliceChange(&kpng.EndpointSliceObject{
			Service: "web", Family: 6, Endpoints: []*kpng.EndpointObject{{Address: ip}},
		}),
		"EndpointSlice ns/web-1: endpoints[0].address: address: 0 bytes": sliceChange(&kpng.EndpointSliceObject{
			Service: "web", Family: 4, Endpoints: []*kpng.EndpointObject{{}},
		}),
	}
}

// badResponses are what makes no sense after commit 7 and two facts.
func badResponses() map[string]*kpng.WatchClusterResponse {
	early := nodeChange("too early", 9)
	out := map[string]*kpng.WatchClusterResponse{
		"commit: revision 7 after 7":      update(7, early),
		"commit: revision 6 after 7":      update(6, early),
		"unwanted: 3 digests, of 2 facts": {Objects: []*kpng.ObjectChange{early}, RemovedDigests: []uint64{5, 6, 7}, Commit: &kpng.Commit{Revision: 8}},
	}
	for want, bad := range badChanges() {
		out[want] = update(8, early, bad)
	}
	return out
}

// TestBadWords: a client that does not understand its server says what is wrong, keeps
// the facts that it has, and starts over.
func TestBadWords(t *testing.T) {
	for want, bad := range badResponses() {
		t.Run(want, func(t *testing.T) {
			s, conn := newScriptedServer(t)
			log := newLogBuffer()
			store := watchers.NewStore()
			store.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "left by somebody"}) })
			start(t, newClient(t, ClientConfig{Logger: log.logger()}, conn), store)
			require.Zero(t, (<-s.hellos).GetHello().GetHeldCount())
			s.scripts <- []*kpng.WatchClusterResponse{
				welcome(true), update(7, nodeChange("stays", 3), nodeChange("goes", 5)), bad,
			}
			await(t, store, "facts", watchers.Snapshot.Synced)
			log.await(t, "will start over: "+want)
			hello := (<-s.hellos).GetHello()
			require.Zero(t, hello.GetHeldCount(), "it holds nothing that it trusts")
			require.Zero(t, hello.GetHeldDigestsXor())
			require.Equal(t, "Node goes\nNode stays\n", nodes(store), "facts stay, without what was not committed")

			s.scripts <- []*kpng.WatchClusterResponse{welcome(true), update(0, nodeChange("stays", 3)), update(1, nodeChange("new", 6))}
			await(t, store, "a node", func(s watchers.Snapshot) bool { return s.Node("new") != nil })
			require.Equal(t, "Node new\nNode stays\n", nodes(store))
			log.await(t, "Hears a server again")
		})
	}
}

func nodes(store *watchers.Store) (text string) {
	for n := range store.Snapshot().Nodes() {
		text += "Node " + n.Name + "\n"
	}
	return text
}

// TestNewerServer: what a client does not know does no harm, and it says so where
// something is missing for it.
func TestNewerServer(t *testing.T) {
	strange := &kpng.NodeObject{Zone: "here"}
	strange.ProtoReflect().SetUnknown([]byte{0xa2, 0x1f, 3, 'n', 'e', 'w'}) // field 500
	s, conn := newScriptedServer(t)
	log := newLogBuffer()
	store := newSyncedStore(t, ClientConfig{Logger: log.logger()}, conn)
	<-s.hellos
	change := nodeChange("n", 2)
	change.Object = &kpng.ObjectChange_Node{Node: strange}
	svc := serviceChange(&kpng.ServiceObject{
		Type: 99, IpFamilies: []uint32{4, 10},
		Ports: []*kpng.ServiceObjectPort{{Name: "a", Protocol: 99, Port: 1}, {Name: "b", Protocol: 6, Port: 2}},
	})
	eps := sliceChange(&kpng.EndpointSliceObject{
		Service: "web", Family: 4, Endpoints: []*kpng.EndpointObject{{Address: []byte{10, 0, 0, 1}}},
		Ports: []*kpng.EndpointObjectPort{{Protocol: 6, Port: 1}, {Protocol: 99, Port: 1}},
	})
	odd := sliceChange(&kpng.EndpointSliceObject{Service: "web", Family: 10, Endpoints: []*kpng.EndpointObject{{Address: []byte{1}}}})
	odd.Key.Name, odd.Digest, eps.Digest = "web-2", 8, 4
	unknownKind := &kpng.ObjectChange{Key: &kpng.ObjectKey{Kind: 99, Namespace: "ns", Name: "x"}, Digest: 16}
	goneKind := &kpng.ObjectChange{Key: &kpng.ObjectKey{Kind: 99, Name: "never there"}}
	s.scripts <- []*kpng.WatchClusterResponse{welcome(true), update(1, change, svc, eps, odd, unknownKind, goneKind)}
	snap := await(t, store, "facts", watchers.Snapshot.Synced)
	require.Equal(t, uint64(1), (<-s.acks).GetRevision())

	const newer = " is not known to this client, which is older than its server; "
	require.Equal(t, 5, snap.Len())
	require.Equal(t, "here", snap.Node("n").Zone)
	web := snap.Service(watchers.ServiceName{Namespace: "ns", Name: "web"})
	require.Equal(t, watchers.TypeClusterIP, web.Type)
	require.Equal(t, []watchers.IPFamily{4, 0}, web.IPFamilies)
	require.Len(t, web.Ports, 1)
	require.Equal(t, []watchers.Problem{
		{Object: "Service ns/web", Field: "type", Message: "type 99" + newer + "taken as ClusterIP"},
		{Object: "Service ns/web", Field: "ports[0].protocol", Message: "protocol 99" + newer + "the port is ignored"},
	}, web.Problems)
	var list []*watchers.EndpointSlice
	for slice := range snap.EndpointSlices(web.Name) {
		list = append(list, slice)
	}
	require.Len(t, list, 2)
	require.Len(t, list[0].Ports, 1)
	require.Equal(t, []watchers.Problem{
		{Object: "EndpointSlice ns/web-1", Field: "ports[1].protocol", Message: "protocol 99" + newer + "the port is ignored"},
	}, list[0].Problems)
	require.Empty(t, list[1].Endpoints)
	require.Equal(t, []watchers.Problem{
		{Object: "EndpointSlice ns/web-2", Field: "family", Message: "family 10" + newer + "the slice is ignored"},
	}, list[1].Problems)
}

// TestUnknownKindsAreHeld looks into the client for what it tells of kinds that it does
// not know.
func TestUnknownKindsAreHeld(t *testing.T) {
	m := newObjectState(watchers.NewStore())
	m.StartStream(true)
	strange := &kpng.ObjectChange{Key: &kpng.ObjectKey{Kind: 99, Name: "x"}, Digest: 16}
	require.NoError(t, m.Apply(update(1, nodeChange("n", 3), strange)))
	root, count := m.HeldXor()
	require.Equal(t, uint64(3^16), root)
	require.Equal(t, uint32(2), count)
	require.ElementsMatch(t, []uint64{3, 16}, m.HeldDigests())

	require.NoError(t, m.Apply(&kpng.WatchClusterResponse{RemovedDigests: []uint64{16, 77}, Commit: &kpng.Commit{Revision: 2}}))
	root, count = m.HeldXor()
	require.Equal(t, uint64(3), root)
	require.Equal(t, uint32(1), count)
	require.NoError(t, m.Apply(update(3, &kpng.ObjectChange{Key: &kpng.ObjectKey{Kind: nodeKind, Name: "n"}})))
	root, count = m.HeldXor()
	require.Zero(t, root)
	require.Zero(t, count)
	require.Equal(t, 1, m.store.Snapshot().Len(), "but for the mark that it is complete")

	require.NoError(t, m.Apply(update(4, nodeChange("n", 3))))
	m.StartStream(true)
	require.NoError(t, m.Apply(update(5, nodeChange("o", 5))))
	root, count = m.HeldXor()
	require.Equal(t, uint64(5), root, "who starts over forgets what it held")
	require.Equal(t, uint32(1), count)
}

// TestSliceMovesInAnyOrder: that a slice is gone from one Service and has come to another
// is one change, in whatever order a store lists both.
func TestSliceMovesInAnyOrder(t *testing.T) {
	store := watchers.NewStore()
	moved := slice(1, 1)
	snap := store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(moved) })
	s, err := NewServer(store, ServerConfig{})
	require.NoError(t, err)
	defer s.Close()
	key := watchers.Key{Kind: watchers.KindEndpointSlice, Namespace: "default", Slice: moved.Name}
	before, after := key, key
	before.Name, after.Name = name(0).Name, name(1).Name
	gone := diffstore.Change[watchers.Key, watchers.Object]{Key: before, Deleted: true}
	come := diffstore.Change[watchers.Key, watchers.Object]{Key: after, Value: moved}
	for _, order := range [][]diffstore.Change[watchers.Key, watchers.Object]{{gone, come}, {come, gone}} {
		require.Equal(t, map[objectKey]watchers.Object{{sliceKind, "default", moved.Name}: moved}, s.changed(snap, slices.Values(order)))
	}
}

// TestEveryFieldIsTold has facts in which no field is zero: nothing is lost on the way,
// and whatever is added to facts must be told.
func TestEveryFieldIsTold(t *testing.T) {
	for _, fact := range fullObjects() {
		v := reflect.ValueOf(fact).Elem()
		requireFull(t, v.Type().Name(), v)
		got := roundTrip(t, fact)
		require.Equal(t, text(fact), text(got))
		if slice, ok := fact.(*watchers.EndpointSlice); ok {
			require.True(t, slice.TriggerTime.Equal(got.(*watchers.EndpointSlice).TriggerTime))
		}
	}
}

func requireFull(t *testing.T, path string, v reflect.Value) {
	require.False(t, v.IsZero(), "%s is not filled in by this test", path)
	if _, ok := v.Interface().(fmt.Stringer); ok {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			requireFull(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice:
		requireFull(t, path+"[0]", v.Index(0))
	case reflect.Pointer:
		requireFull(t, path, v.Elem())
	}
}

// roundTrip returns what a client makes of what a server says of a fact.
func roundTrip(t *testing.T, fact watchers.Object) watchers.Object {
	key := keyOfObject(fact)
	e := encode(key, fact)
	require.NotNil(t, e)
	var m kpng.WatchClusterResponse
	require.NoError(t, proto.Unmarshal(e.Whole, &m))
	require.Len(t, m.GetObjects(), 1)
	require.Equal(t, e.Digest, m.GetObjects()[0].GetDigest())
	gotKey, got, err := decode(m.GetObjects()[0])
	require.NoError(t, err)
	require.Equal(t, key, gotKey)

	m.Reset()
	require.NoError(t, proto.Unmarshal(e.Gone, &m))
	goneKey, gone, err := decode(m.GetObjects()[0])
	require.NoError(t, err)
	require.Equal(t, key, goneKey)
	require.Nil(t, gone)
	return got
}

func keyOfObject(fact watchers.Object) (key objectKey) {
	watchers.NewStore().Update(func(tx *watchers.Tx) { key, _ = objectKeyOf(tx.Set(fact)) })
	return key
}

func text(fact watchers.Object) string {
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) { tx.Set(fact) })
	return dump(store.Snapshot(), nil)
}

// TestDigestDoesNotKnowWhen: a slice that was asked for at another time is the same.
func TestDigestDoesNotKnowWhen(t *testing.T) {
	a, b, c := slice(1, 2), slice(1, 2), slice(1, 1)
	a.TriggerTime = time.Unix(1, 0)
	b.TriggerTime = time.Unix(2, 0)
	key := keyOfObject(a)
	require.Equal(t, encode(key, a).Digest, encode(key, b).Digest)
	require.NotEqual(t, encode(key, a).Whole, encode(key, b).Whole)
	require.NotEqual(t, encode(key, a).Digest, encode(key, c).Digest)
	require.NotEqual(t, encode(key, a).Digest, encode(objectKey{sliceKind, "default", "other"}, a).Digest, "the key counts")
	nothing := &watchers.Node{Name: "x"}
	require.NotEqual(t, encode(objectKey{nodeKind, "", "x"}, nothing).Digest,
		encode(objectKey{cidrKind, "", "x"}, &watchers.ServiceCIDR{Name: "x"}).Digest, "the kind counts")
}

// TestFactsThatMakeNoSense: what a store should not have keeps no client from the rest.
func TestFactsThatMakeNoSense(t *testing.T) {
	source := watchers.NewStore()
	odd := slice(1, 2)
	odd.Endpoints[0].Addr = odd.Endpoints[0].Addr.Next()
	odd.Endpoints[1] = watchers.Endpoint{}
	source.Update(func(tx *watchers.Tx) {
		tx.SetService(&watchers.Service{})
		tx.SetService(&watchers.Service{Name: watchers.ServiceName{Name: "no-namespace"}})
		tx.SetNode(&watchers.Node{})
		tx.SetEndpointSlice(&watchers.EndpointSlice{Namespace: "ns", Name: "of-nobody"})
		tx.SetEndpointSlice(odd)
		tx.SetNode(&watchers.Node{Name: "n", Zone: "no \xff UTF-8"})
		tx.SetSynced()
	})
	s := newFixture(t, source, ServerConfig{})
	snap := await(t, newSyncedStore(t, ClientConfig{}, s.dial()), "facts", watchers.Snapshot.Synced)
	require.Equal(t, 2+1, snap.Len())
	require.Equal(t, "no \uFFFD UTF-8", snap.Node("n").Zone)
	for slice := range snap.EndpointSlices(name(1)) {
		require.Len(t, slice.Endpoints, 1)
	}
}

// watch begins a stream by hand.
func watch(t *testing.T, s *fixture, first *kpng.WatchClusterRequest) kpng.ClusterService_WatchClusterClient {
	stream, err := kpng.NewClusterServiceClient(s.dial()).WatchCluster(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(first))
	return stream
}

func hello(h *kpng.ClusterHello) *kpng.WatchClusterRequest {
	return &kpng.WatchClusterRequest{Message: &kpng.WatchClusterRequest_Hello{Hello: h}}
}

// TestBadHello: a server says what is wrong with a client's words.
func TestBadHello(t *testing.T) {
	s := newFixture(t, newClusterStore(1, 1), ServerConfig{})
	var many []string
	for i := range maxNamespaces + 1 {
		many = append(many, fmt.Sprint("ns-", i))
	}
	for want, first := range map[string]*kpng.WatchClusterRequest{
		"the first message must be hello":                       {Message: &kpng.WatchClusterRequest_HeldDigests{HeldDigests: &kpng.HeldDigests{}}},
		"hello.service_proxy_name: all proxies":                 hello(&kpng.ClusterHello{AllProxies: true, ServiceProxyName: "x"}),
		`hello.service_proxy_name: "a/b" cannot`:                hello(&kpng.ClusterHello{ServiceProxyName: "a/b"}),
		`hello.namespaces: "" cannot`:                           hello(&kpng.ClusterHello{Namespaces: []string{""}}),
		`hello.namespaces: "a\x00b" cannot`:                     hello(&kpng.ClusterHello{Namespaces: []string{"a\x00b"}}),
		fmt.Sprintf("hello.namespaces: %d are more", len(many)): hello(&kpng.ClusterHello{Namespaces: many}),
	} {
		_, err := watch(t, s, first).Recv()
		require.Equal(t, codes.InvalidArgument, status.Code(err), want)
		require.ErrorContains(t, err, want)
	}
	stream := watch(t, s, hello(&kpng.ClusterHello{}))
	require.NoError(t, stream.Send(hello(&kpng.ClusterHello{})))
	var err error
	for err == nil {
		_, err = stream.Recv()
	}
	require.Equal(t, codes.InvalidArgument, status.Code(err), "hello is said once")
}

// TestAuthorize: who may not watch hears why, and a permission ends.
func TestAuthorize(t *testing.T) {
	ends := time.Now().Add(300 * time.Millisecond)
	answers := make(chan error, 10)
	s := newFixture(t, newClusterStore(1, 1), ServerConfig{Authorize: func(ctx context.Context) (time.Time, error) {
		return ends, <-answers
	}})
	answers <- status.Error(codes.PermissionDenied, "not you")
	_, err := watch(t, s, hello(&kpng.ClusterHello{})).Recv()
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.ErrorContains(t, err, "not you")

	answers <- nil
	stream := watch(t, s, hello(&kpng.ClusterHello{}))
	for err = nil; err == nil; {
		_, err = stream.Recv()
	}
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	require.False(t, time.Now().Before(ends))
}

// TestConfigs: errors name the field that is wrong.
func TestConfigs(t *testing.T) {
	_, conn := newScriptedServer(t)
	for want, cfg := range map[string]ClientConfig{
		"MaxReconnect: must not be negative": {MaxReconnect: -1},
		"ProxyName":                          {ProxyName: "x", AllProxies: true},
		`"no, no" cannot be a namespace`:     {Namespaces: []string{"no, no"}},
	} {
		_, err := NewClient(cfg, conn)
		require.ErrorContains(t, err, want)
	}
	_, err := NewClient(ClientConfig{})
	require.ErrorContains(t, err, "there is no server")
	_, err = NewServer(watchers.NewStore(), ServerConfig{MinInterval: -1})
	require.ErrorContains(t, err, "MinInterval")
	require.ErrorContains(t, newClient(t, ClientConfig{}, conn).Run(t.Context(), nil), "no store")
}

// TestRunWithAnotherStore: what is in another store is not what the client knows.
func TestRunWithAnotherStore(t *testing.T) {
	s := newFixture(t, newClusterStore(3, 1), ServerConfig{})
	c := newClient(t, ClientConfig{}, s.dial())
	for range 2 {
		store := watchers.NewStore()
		store.Update(func(tx *watchers.Tx) { tx.SetService(service(99)) })
		stop := start(t, c, store)
		snap := await(t, store, "facts", watchers.Snapshot.Synced)
		stop()
		require.Equal(t, dump(s.store.Snapshot(), nil), dump(snap, nil))
	}
}
