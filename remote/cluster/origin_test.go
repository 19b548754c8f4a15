// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/watchers"
)

// withOrigin adds objects with the names of service(i) and slice(i, 1) and an origin.
func withOrigin(tx *watchers.Tx, i int, origin string) {
	svc, endpoints := service(i), slice(i, 1)
	svc.Name.Origin, endpoints.Service.Origin = origin, origin
	tx.SetService(svc)
	tx.SetEndpointSlice(endpoints)
}

// onlyServices returns the text of the objects that clients without origins receive.
func onlyServices(s watchers.Snapshot) string {
	return dump(s, func(o watchers.Object) bool {
		switch o := o.(type) {
		case *watchers.Service:
			return o.Name.Origin == ""
		case *watchers.EndpointSlice:
			return o.Service.Origin == ""
		}
		return true
	})
}

// An earlierClient is a client of the version before origins: it decodes keys without origin.
type earlierClient struct {
	t      *testing.T
	state  *objectState
	stream kpng.ClusterService_WatchClusterClient
}

// connect starts a stream that resumes.
func (c *earlierClient) connect(f *fixture) (welcome *kpng.Welcome) {
	var err error
	c.stream, err = kpng.NewClusterServiceClient(f.dial()).WatchCluster(c.t.Context())
	require.NoError(c.t, err)
	xor, count := c.state.HeldXor()
	require.NoError(c.t, c.stream.Send(hello(&kpng.ClusterHello{Hello: &kpng.Hello{
		Capabilities: []kpng.Capability{kpng.Capability_CAPABILITY_RESUME}, HeldDigestsXor: xor, HeldCount: count,
	}})))
	in, err := c.stream.Recv()
	require.NoError(c.t, err)
	require.NotContains(c.t, in.GetWelcome().GetCapabilities(), kpng.Capability_CAPABILITY_ORIGINS)
	c.state.StartStream(in.GetWelcome().GetFullSync())
	if in.GetWelcome().GetSendDigests() {
		require.NoError(c.t, c.stream.Send(&kpng.WatchClusterRequest{Message: &kpng.WatchClusterRequest_HeldDigests{
			HeldDigests: &kpng.HeldDigests{Digests: c.state.HeldDigests(), Last: true},
		}}))
	}
	return in.GetWelcome()
}

// receive applies updates until the store has the given text.
func (c *earlierClient) receive(want string) {
	for dump(c.state.store.Snapshot(), nil) != want {
		in, err := c.stream.Recv()
		require.NoError(c.t, err, "want\n%s\ngot\n%s", want, dump(c.state.store.Snapshot(), nil))
		for _, o := range in.GetObjects() {
			require.Empty(c.t, o.GetKey().GetOrigin())
		}
		require.NoError(c.t, c.state.Apply(in))
	}
}

// A client that does not distinguish origins receives only Services, and resumes.
func TestEarlierClientsReceiveOnlyServices(t *testing.T) {
	source := newClusterStore(20, 2)
	source.Update(func(tx *watchers.Tx) { withOrigin(tx, 3, "ServiceImport") })
	f := newFixture(t, source, ServerConfig{})
	c := &earlierClient{t: t, state: newObjectState(watchers.NewStore())}
	c.connect(f)
	c.receive(onlyServices(source.Snapshot()))

	source.Update(func(tx *watchers.Tx) {
		withOrigin(tx, 3, "TCPRoute")
		withOrigin(tx, 50, "TCPRoute")
		tx.Delete(watchers.ServiceKey(watchers.ServiceName{Namespace: "default", Name: name(3).Name, Origin: "ServiceImport"}))
	})
	source.Update(func(tx *watchers.Tx) { tx.SetService(service(51)) })
	c.receive(onlyServices(source.Snapshot()))

	f.restart()
	require.False(t, c.connect(f).GetSendDigests(), "the sum of digests is that of the objects that the client receives")
	in, err := c.stream.Recv()
	require.NoError(t, err)
	require.NotNil(t, in.GetCommit())
	require.Empty(t, in.GetObjects())

	// The same store continues with a client of this version, and receives the rest.
	current := newClient(t, ClientConfig{}, f.dial())
	current.state = c.state
	stop := start(t, current, c.state.store)
	awaitText(t, c.state.store, dump(source.Snapshot(), nil))
	stop()
	// A client of the earlier version continues: the objects with origin go.
	c.connect(f)
	c.receive(onlyServices(source.Snapshot()))
}

// Objects with equal names and different origins are different objects, through relays too.
func TestObjectsOfDifferentOriginsCoexist(t *testing.T) {
	source := newClusterStore(3, 2)
	f := newFixture(t, source, ServerConfig{})
	relay := newFixture(t, runClient(t, ClientConfig{AllProxies: true}, f.dial()), ServerConfig{})
	store := runClient(t, ClientConfig{}, relay.dial())
	for _, step := range []func(tx *watchers.Tx){
		func(tx *watchers.Tx) { withOrigin(tx, 1, "ServiceImport"); withOrigin(tx, 1, "TCPRoute") },
		func(tx *watchers.Tx) { tx.DeleteService(name(1)); tx.DeleteEndpointSlice("default", slice(1, 1).Name) },
		func(tx *watchers.Tx) { tx.SetEndpointSlice(slice(1, 7)); tx.SetService(service(1)) },
		func(tx *watchers.Tx) {
			for _, k := range slices.Collect(keysOf(source.Snapshot())) {
				if k.Origin == "TCPRoute" {
					tx.Delete(k)
				}
			}
		},
	} {
		source.Update(step)
		awaitText(t, store, dump(source.Snapshot(), nil))
	}
	require.Contains(t, dump(store.Snapshot(), nil), "ServiceImport")
	require.NotContains(t, dump(store.Snapshot(), nil), "TCPRoute")
}

func keysOf(s watchers.Snapshot) func(yield func(watchers.Key) bool) {
	return func(yield func(watchers.Key) bool) {
		for k := range s.All() {
			if !yield(k) {
				return
			}
		}
	}
}

// A slice follows the owner of the Service of its own origin.
func TestOwnerOfSliceIsThatOfItsOrigin(t *testing.T) {
	other := "other"
	source := newClusterStore(1, 1)
	source.Update(func(tx *watchers.Tx) {
		withOrigin(tx, 0, "TCPRoute")
		svc := service(0)
		svc.Name.Origin, svc.ProxyName = "TCPRoute", &other
		tx.SetService(svc)
	})
	f := newFixture(t, source, ServerConfig{})
	mine, others := runClient(t, ClientConfig{}, f.dial()), runClient(t, ClientConfig{ProxyName: other}, f.dial())
	awaitText(t, mine, onlyServices(source.Snapshot()))
	await(t, others, "the objects of the other proxy", func(s watchers.Snapshot) bool { return s.Synced() && s.Len() == 3 })
	source.Update(func(tx *watchers.Tx) { withOrigin(tx, 0, "TCPRoute") })
	awaitText(t, mine, dump(source.Snapshot(), nil))
	await(t, others, "nothing", func(s watchers.Snapshot) bool { return s.Len() == 1 })
}
