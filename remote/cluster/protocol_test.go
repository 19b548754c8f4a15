// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// A scriptedServer answers each stream with the next script of messages and records what
// clients send.
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

func welcome(fullSync bool) *kpng.WatchClusterResponse {
	return &kpng.WatchClusterResponse{Welcome: &kpng.Welcome{FullSync: fullSync, Capabilities: capabilities()}}
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

// badChanges returns invalid changes by the start of the error of a client.
func badChanges() map[string]*kpng.ObjectChange {
	ip := []byte{10, 0, 0, 1}
	network := func(address []byte, length uint32) []*kpng.Network {
		return []*kpng.Network{{Address: ip, Length: 8}, {Address: address, Length: length}}
	}
	half := []*kpng.Extension{{Key: "k", Value: make([]byte, localsink.MaxExtensionsSize/2)}}
	return map[string]*kpng.ObjectChange{
		"Node : key.name: required":                      {Digest: 1, Key: &kpng.ObjectKey{Kind: nodeKind}},
		"OBJECT_KIND_UNSPECIFIED x: key.kind: required":  {Key: &kpng.ObjectKey{Name: "x"}},
		"Service x: key.namespace: required":             {Key: &kpng.ObjectKey{Kind: serviceKind, Name: "x"}},
		"Node ns/x: key.namespace":                       {Key: &kpng.ObjectKey{Kind: nodeKind, Namespace: "ns", Name: "x"}},
		"Node x: digest: must be 0 for a removed object": {Key: &kpng.ObjectKey{Kind: nodeKind, Name: "x"}, Digest: 1},
		"Node x: digest: required":                       nodeChange("x", 0),
		"ServiceCIDR x: object: has kind OBJECT_KIND_NODE, which differs from key.kind": {
			Key: &kpng.ObjectKey{Kind: cidrKind, Name: "x"}, Digest: 1, Object: &kpng.ObjectChange_Node{Node: &kpng.NodeObject{}},
		},
		"ServiceCIDR x: networks[1]: address: has 0 bytes": {
			Key: &kpng.ObjectKey{Kind: cidrKind, Name: "x"}, Digest: 1,
			Object: &kpng.ObjectChange_ServiceCidr{ServiceCidr: &kpng.ServiceCidrObject{Networks: network(nil, 0)}},
		},
		"Node x: pod_cidrs[1]: prefix length 33 of 10.0.0.1 is out of range 0-32": {
			Key: &kpng.ObjectKey{Kind: nodeKind, Name: "x"}, Digest: 1,
			Object: &kpng.ObjectChange_Node{Node: &kpng.NodeObject{PodCidrs: network(ip, 33)}},
		},
		"Node x: ips[0]: address: has 5 bytes": {
			Key: &kpng.ObjectKey{Kind: nodeKind, Name: "x"}, Digest: 1,
			Object: &kpng.ObjectChange_Node{Node: &kpng.NodeObject{Ips: [][]byte{{1, 2, 3, 4, 5}}}},
		},
		"Service ns/web: cluster_ip: address: has 1 bytes":     serviceChange(&kpng.ServiceObject{ClusterIp: []byte{1}}),
		"Service ns/web: cluster_ips[1]: address: has 1 bytes": serviceChange(&kpng.ServiceObject{ClusterIps: [][]byte{nil, {1}}}),
		"Service ns/web: external_ips[0]: address":             serviceChange(&kpng.ServiceObject{ExternalIps: [][]byte{nil}}),
		"Service ns/web: ingress[0].ip: address":               serviceChange(&kpng.ServiceObject{Ingress: []*kpng.Ingress{{}}}),
		"Service ns/web: source_ranges[1]: address":            serviceChange(&kpng.ServiceObject{SourceRanges: network(nil, 0)}),
		"Service ns/web: health_check_node_port: 65536":        serviceChange(&kpng.ServiceObject{HealthCheckNodePort: 1 << 16}),
		"Service ns/web: ports[0].port: 65536":                 serviceChange(&kpng.ServiceObject{Ports: []*kpng.ServiceObjectPort{{Port: 1 << 16}}}),
		"Node n: key.origin: must be empty":                    {Key: &kpng.ObjectKey{Kind: nodeKind, Name: "n", Origin: "TCPRoute"}},
		"TCPRoute ns/web: ports[0].refused_per_mille: 1001 is out of range 0-1000": {
			Key: &kpng.ObjectKey{Kind: serviceKind, Namespace: "ns", Name: "web", Origin: "TCPRoute"}, Digest: 1,
			Object: &kpng.ObjectChange_Service{Service: &kpng.ServiceObject{Ports: []*kpng.ServiceObjectPort{{RefusedPerMille: 1001}}}},
		},
		"Service ns/web: details.app_protocols: has 2 entries for 1 ports": serviceChange(&kpng.ServiceObject{
			Ports: []*kpng.ServiceObjectPort{{}}, Details: &kpng.ServiceObjectDetails{AppProtocols: []string{"a", "b"}},
		}),
		"Service ns/web: extensions[1].key: ": serviceChange(&kpng.ServiceObject{
			Extensions: []*kpng.Extension{{Key: "a"}, {Key: "a\n"}},
		}),
		"EndpointSlice ns/web-1: extensions: a key is repeated in a list of 2": sliceChange(&kpng.EndpointSliceObject{
			Service: "web", Family: 4, Extensions: []*kpng.Extension{{Key: "a"}, {Key: "a"}},
		}),
		"EndpointSlice ns/web-1: endpoints[1].details.extensions[0]: the extensions of the object are larger than 262144 bytes": sliceChange(
			&kpng.EndpointSliceObject{Service: "web", Family: 4, Extensions: half, Endpoints: []*kpng.EndpointObject{
				{Address: ip}, {Address: ip, Details: &kpng.EndpointObjectDetails{Extensions: half}},
			}}),
		"Node n: extensions[0].key: ": {
			Key: &kpng.ObjectKey{Kind: nodeKind, Name: "n"}, Digest: 1,
			Object: &kpng.ObjectChange_Node{Node: &kpng.NodeObject{Extensions: []*kpng.Extension{{}}}},
		},
		"Service ns/web: ports[0].node_port: 65536":    serviceChange(&kpng.ServiceObject{Ports: []*kpng.ServiceObjectPort{{NodePort: 1 << 16}}}),
		"EndpointSlice ns/web-1: service: required":    sliceChange(&kpng.EndpointSliceObject{Family: 4}),
		"EndpointSlice ns/web-1: ports[0].port: 65536": sliceChange(&kpng.EndpointSliceObject{Service: "web", Ports: []*kpng.EndpointObjectPort{{Port: 1 << 16}}}),
		"EndpointSlice ns/web-1: endpoints[0].address: 10.0.0.1 is not of family IPv6 of the slice": sliceChange(&kpng.EndpointSliceObject{
			Service: "web", Family: 6, Endpoints: []*kpng.EndpointObject{{Address: ip}},
		}),
		"EndpointSlice ns/web-1: endpoints[0].address: address: has 0 bytes": sliceChange(&kpng.EndpointSliceObject{
			Service: "web", Family: 4, Endpoints: []*kpng.EndpointObject{{}},
		}),
	}
}

// badResponses returns messages that are invalid after Commit 7 with two objects, by the
// error of a client.
func badResponses() map[string]*kpng.WatchClusterResponse {
	uncommitted := nodeChange("uncommitted", 9)
	out := map[string]*kpng.WatchClusterResponse{
		"commit: revision 7 is not greater than 7":      update(7, uncommitted),
		"commit: revision 6 is not greater than 7":      update(6, uncommitted),
		"removed_digests: 3 digests for 2 held objects": {Objects: []*kpng.ObjectChange{uncommitted}, RemovedDigests: []uint64{5, 6, 7}, Commit: &kpng.Commit{Revision: 8}},
	}
	for want, bad := range badChanges() {
		out[want] = update(8, uncommitted, bad)
	}
	return out
}

// After an invalid message, the client logs the error, keeps the store, and starts the next
// stream with a full sync.
func TestInvalidMessageCausesFullSync(t *testing.T) {
	for want, bad := range badResponses() {
		t.Run(want, func(t *testing.T) {
			s, conn := newScriptedServer(t)
			log := newLogBuffer()
			store := watchers.NewStore()
			store.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "from another source"}) })
			start(t, newClient(t, ClientConfig{Logger: log.logger()}, conn), store)
			require.Zero(t, (<-s.hellos).GetHello().GetHeldCount())
			s.scripts <- []*kpng.WatchClusterResponse{
				welcome(true), update(7, nodeChange("stays", 3), nodeChange("goes", 5)), bad,
			}
			await(t, store, "objects", watchers.Snapshot.Synced)
			log.await(t, "starting with a full sync: "+want)
			hello := (<-s.hellos).GetHello()
			require.Zero(t, hello.GetHeldCount(), "the held digests are invalid")
			require.Zero(t, hello.GetHeldDigestsXor())
			require.Equal(t, "Node goes\nNode stays\n", nodes(store), "committed objects stay")

			s.scripts <- []*kpng.WatchClusterResponse{welcome(true), update(0, nodeChange("stays", 3)), update(1, nodeChange("new", 6))}
			await(t, store, "a node", func(s watchers.Snapshot) bool { return s.Node("new") != nil })
			require.Equal(t, "Node new\nNode stays\n", nodes(store))
			log.await(t, "Server connection restored")
		})
	}
}

func nodes(store *watchers.Store) (text string) {
	for n := range store.Snapshot().Nodes() {
		text += "Node " + n.Name + "\n"
	}
	return text
}

// Unknown fields and kinds of a newer server are ignored; unsupported values become problems.
func TestUnsupportedValuesOfNewerServersBecomeProblems(t *testing.T) {
	newer := &kpng.NodeObject{Zone: "here"}
	newer.ProtoReflect().SetUnknown([]byte{0xa2, 0x1f, 3, 'n', 'e', 'w'}) // field 500
	s, conn := newScriptedServer(t)
	log := newLogBuffer()
	store := runClient(t, ClientConfig{Logger: log.logger()}, conn)
	<-s.hellos
	change := nodeChange("n", 2)
	change.Object = &kpng.ObjectChange_Node{Node: newer}
	svc := serviceChange(&kpng.ServiceObject{
		Type: 99, IpFamilies: []uint32{4, 10},
		Ports:   []*kpng.ServiceObjectPort{{Name: "a", Protocol: 99, Port: 1}, {Name: "b", Protocol: 6, Port: 2, Selection: 99}},
		Details: &kpng.ServiceObjectDetails{AppProtocols: []string{"lost", "kept"}},
	})
	eps := sliceChange(&kpng.EndpointSliceObject{
		Service: "web", Family: 4, Endpoints: []*kpng.EndpointObject{{Address: []byte{10, 0, 0, 1}}},
		Ports: []*kpng.EndpointObjectPort{{Protocol: 6, Port: 1}, {Protocol: 99, Port: 1}},
	})
	unknownFamily := sliceChange(&kpng.EndpointSliceObject{Service: "web", Family: 10, Endpoints: []*kpng.EndpointObject{{Address: []byte{1}}}})
	unknownFamily.Key.Name, unknownFamily.Digest, eps.Digest = "web-2", 8, 4
	unknownKind := &kpng.ObjectChange{Key: &kpng.ObjectKey{Kind: 99, Namespace: "ns", Name: "x"}, Digest: 16}
	removedKind := &kpng.ObjectChange{Key: &kpng.ObjectKey{Kind: 99, Name: "unknown"}}
	s.scripts <- []*kpng.WatchClusterResponse{welcome(true), update(1, change, svc, eps, unknownFamily, unknownKind, removedKind)}
	snap := await(t, store, "objects", watchers.Snapshot.Synced)
	require.Equal(t, uint64(1), (<-s.acks).GetRevision())

	const unsupported = ": not supported by this version of the client; "
	require.Equal(t, 5, snap.Len())
	require.Equal(t, "here", snap.Node("n").Zone)
	web := snap.Service(watchers.ServiceName{Namespace: "ns", Name: "web"})
	require.Equal(t, watchers.TypeClusterIP, web.Type)
	require.Equal(t, []watchers.IPFamily{4, 0}, web.IPFamilies)
	require.Len(t, web.Ports, 1)
	require.Equal(t, localsink.SelectionRandom, web.Ports[0].Selection)
	require.Equal(t, []string{"kept"}, web.Details.AppProtocols)
	require.Equal(t, []watchers.Problem{
		{Object: "Service ns/web", Field: "type", Message: "type 99" + unsupported + "handled as ClusterIP"},
		{Object: "Service ns/web", Field: "ports[0].protocol", Message: "protocol 99" + unsupported + "the port is ignored"},
		{Object: "Service ns/web", Field: "ports[1].selection", Message: "selection 99" + unsupported + "handled as Random"},
		{Object: "Service ns/web", Field: "spec.ipFamilies[1]", Message: "0 is not IPv4 (4) or IPv6 (6); ignored"},
	}, web.Problems)
	var list []*watchers.EndpointSlice
	for slice := range snap.EndpointSlices(web.Name) {
		list = append(list, slice)
	}
	require.Len(t, list, 2)
	require.Len(t, list[0].Ports, 1)
	require.Equal(t, []watchers.Problem{
		{Object: "EndpointSlice ns/web-1", Field: "ports[1].protocol", Message: "protocol 99" + unsupported + "the port is ignored"},
	}, list[0].Problems)
	require.Empty(t, list[1].Endpoints)
	require.Equal(t, []watchers.Problem{
		{Object: "EndpointSlice ns/web-2", Field: "addressType", Message: "family 10" + unsupported + "the slice is ignored"},
	}, list[1].Problems)
}

// The client holds the digests of objects of unknown kinds, so that they do not prevent a
// resume.
func TestDigestsOfUnknownKindsAreHeld(t *testing.T) {
	s := newObjectState(watchers.NewStore())
	s.StartStream(true)
	unknown := &kpng.ObjectChange{Key: &kpng.ObjectKey{Kind: 99, Name: "x"}, Digest: 16}
	require.NoError(t, s.Apply(update(1, nodeChange("n", 3), unknown)))
	xor, count := s.HeldXor()
	require.Equal(t, uint64(3^16), xor)
	require.Equal(t, uint32(2), count)
	require.ElementsMatch(t, []uint64{3, 16}, s.HeldDigests())

	require.NoError(t, s.Apply(&kpng.WatchClusterResponse{RemovedDigests: []uint64{16, 77}, Commit: &kpng.Commit{Revision: 2}}))
	xor, count = s.HeldXor()
	require.Equal(t, uint64(3), xor)
	require.Equal(t, uint32(1), count)
	require.NoError(t, s.Apply(update(3, &kpng.ObjectChange{Key: &kpng.ObjectKey{Kind: nodeKind, Name: "n"}})))
	xor, count = s.HeldXor()
	require.Zero(t, xor)
	require.Zero(t, count)
	require.Equal(t, 1, s.store.Snapshot().Len(), "only the mark that the store is synced")

	require.NoError(t, s.Apply(update(4, nodeChange("n", 3))))
	s.StartStream(true)
	require.NoError(t, s.Apply(update(5, nodeChange("o", 5))))
	xor, count = s.HeldXor()
	require.Equal(t, uint64(5), xor, "a full sync replaces all digests")
	require.Equal(t, uint32(1), count)
}

// A slice that moves to another Service is one change, in any order of its removal and
// addition in the store.
func TestMovedSliceIsOneChange(t *testing.T) {
	store := watchers.NewStore()
	moved := slice(1, 1)
	snap := store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(moved) })
	s, err := NewServer(store, ServerConfig{})
	require.NoError(t, err)
	defer s.Close()
	key := watchers.Key{Kind: watchers.KindEndpointSlice, Namespace: "default", Slice: moved.Name}
	before, after := key, key
	before.Name, after.Name = name(0).Name, name(1).Name
	removed := diffstore.Change[watchers.Key, watchers.Object]{Key: before, Deleted: true}
	added := diffstore.Change[watchers.Key, watchers.Object]{Key: after, Value: moved}
	for _, order := range [][]diffstore.Change[watchers.Key, watchers.Object]{{removed, added}, {added, removed}} {
		require.Equal(t, map[objectKey]watchers.Object{{sliceKind, "default", moved.Name, ""}: moved}, s.changedObjects(snap, slices.Values(order)))
	}
}

// Invalid objects in the store of a server do not affect others.
func TestInvalidObjectsAreNotSent(t *testing.T) {
	source := watchers.NewStore()
	invalid := slice(1, 2)
	invalid.Endpoints[0].Addr = invalid.Endpoints[0].Addr.Next()
	invalid.Endpoints[1] = watchers.Endpoint{}
	source.Update(func(tx *watchers.Tx) {
		tx.SetService(&watchers.Service{})
		tx.SetService(&watchers.Service{Name: watchers.ServiceName{Name: "no-namespace"}})
		for _, name := range []string{"\xff", "\xfe", "a\nb", "a/b"} { // the first two have the same text
			tx.SetService(&watchers.Service{Name: watchers.ServiceName{Namespace: "ns", Name: name}})
			tx.SetEndpointSlice(&watchers.EndpointSlice{Namespace: "ns", Name: name, Service: watchers.ServiceName{Namespace: "ns", Name: "svc"}})
			tx.SetNode(&watchers.Node{Name: name})
		}
		tx.SetService(&watchers.Service{Name: watchers.ServiceName{Namespace: "ns", Name: "svc"}}) // with the slices above
		tx.SetEndpointSlice(&watchers.EndpointSlice{Namespace: "ns", Service: watchers.ServiceName{Namespace: "ns", Name: "svc"}})
		tx.SetNode(&watchers.Node{})
		tx.SetEndpointSlice(&watchers.EndpointSlice{Namespace: "ns", Name: "without-service"})
		tx.SetEndpointSlice(invalid)
		tx.SetNode(&watchers.Node{Name: "n", Zone: "invalid \xff UTF-8"})
		tx.SetSynced()
	})
	s := newFixture(t, source, ServerConfig{})
	snap := await(t, runClient(t, ClientConfig{}, s.dial()), "objects", watchers.Snapshot.Synced)
	require.Equal(t, 3+1, snap.Len())
	require.Equal(t, "invalid \uFFFD UTF-8", snap.Node("n").Zone)
	for slice := range snap.EndpointSlices(name(1)) {
		require.Len(t, slice.Endpoints, 1)
	}
}

// watch starts a stream with a request.
func watch(t *testing.T, s *fixture, first *kpng.WatchClusterRequest) kpng.ClusterService_WatchClusterClient {
	stream, err := kpng.NewClusterServiceClient(s.dial()).WatchCluster(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(first))
	return stream
}

func hello(h *kpng.ClusterHello) *kpng.WatchClusterRequest {
	return &kpng.WatchClusterRequest{Message: &kpng.WatchClusterRequest_Hello{Hello: h}}
}

func TestInvalidHelloIsRejected(t *testing.T) {
	s := newFixture(t, newClusterStore(1, 1), ServerConfig{})
	var many []string
	for i := range maxNamespaces + 1 {
		many = append(many, fmt.Sprint("ns-", i))
	}
	for want, first := range map[string]*kpng.WatchClusterRequest{
		"the first message must be hello":                            {Message: &kpng.WatchClusterRequest_HeldDigests{HeldDigests: &kpng.HeldDigests{}}},
		"hello.service_proxy_name: must be empty with all_proxies":   hello(&kpng.ClusterHello{AllProxies: true, ServiceProxyName: "x"}),
		`hello.service_proxy_name: "a/b" is not a valid label value`: hello(&kpng.ClusterHello{ServiceProxyName: "a/b"}),
		`hello.namespaces: "" is not a valid namespace`:              hello(&kpng.ClusterHello{Namespaces: []string{""}}),
		`hello.namespaces: "a\x00b" is not a valid namespace`:        hello(&kpng.ClusterHello{Namespaces: []string{"a\x00b"}}),
		fmt.Sprintf("hello.namespaces: has %d entries", len(many)):   hello(&kpng.ClusterHello{Namespaces: many}),
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
	require.Equal(t, codes.InvalidArgument, status.Code(err), "a second hello")
}

func TestAuthorizeRejectsAndExpires(t *testing.T) {
	expiry := time.Now().Add(300 * time.Millisecond)
	answers := make(chan error, 10)
	s := newFixture(t, newClusterStore(1, 1), ServerConfig{Authorize: func(ctx context.Context) (time.Time, error) {
		return expiry, <-answers
	}})
	answers <- status.Error(codes.PermissionDenied, "not allowed")
	_, err := watch(t, s, hello(&kpng.ClusterHello{})).Recv()
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.ErrorContains(t, err, "not allowed")

	answers <- nil
	stream := watch(t, s, hello(&kpng.ClusterHello{}))
	for err = nil; err == nil; {
		_, err = stream.Recv()
	}
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	require.False(t, time.Now().Before(expiry))
}

func TestConfigErrorsNameTheField(t *testing.T) {
	_, conn := newScriptedServer(t)
	for want, cfg := range map[string]ClientConfig{
		"MaxReconnect: must not be negative": {MaxReconnect: -1},
		"ProxyName":                          {ProxyName: "x", AllProxies: true},
		`"no, no" is not a valid namespace`:  {Namespaces: []string{"no, no"}},
	} {
		_, err := NewClient(cfg, conn)
		require.ErrorContains(t, err, want)
	}
	_, err := NewClient(ClientConfig{})
	require.ErrorContains(t, err, "servers: at least one is required")
	_, err = NewServer(watchers.NewStore(), ServerConfig{MinInterval: -1})
	require.ErrorContains(t, err, "MinInterval")
	require.ErrorContains(t, newClient(t, ClientConfig{}, conn).Run(t.Context(), nil), "store: required")
}

// With another store, Run does not resume.
func TestRunWithAnotherStoreStartsFullSync(t *testing.T) {
	s := newFixture(t, newClusterStore(3, 1), ServerConfig{})
	c := newClient(t, ClientConfig{}, s.dial())
	for range 2 {
		store := watchers.NewStore()
		store.Update(func(tx *watchers.Tx) { tx.SetService(service(99)) })
		stop := start(t, c, store)
		snap := await(t, store, "objects", watchers.Snapshot.Synced)
		stop()
		require.Equal(t, dump(s.store.Snapshot(), nil), dump(snap, nil))
	}
}
