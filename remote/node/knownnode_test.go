// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

// zoned returns a store with two Nodes in different zones, and a Service with an endpoint
// for each zone.
func zoned() *watchers.Store {
	store := watchers.NewStore()
	name := watchers.ServiceName{Namespace: "ns", Name: "svc"}
	endpoint := func(addr, zone string) watchers.Endpoint {
		return watchers.Endpoint{Addr: netip.MustParseAddr(addr), Ready: true, Serving: true, Hints: &watchers.Hints{Zones: []string{zone}}}
	}
	store.Update(func(tx *watchers.Tx) {
		tx.SetNode(&watchers.Node{Name: "node-1", IPs: addrs("192.0.2.1"), Zone: "a", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}})
		tx.SetNode(&watchers.Node{Name: "node-2", IPs: addrs("192.0.2.2"), Zone: "a", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24")}})
		tx.SetService(&watchers.Service{Name: name, Type: watchers.TypeNodePort, ClusterIP: netip.MustParseAddr("10.96.0.1"),
			Ports: []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 80, NodePort: 30080}}})
		tx.SetEndpointSlice(&watchers.EndpointSlice{Namespace: "ns", Name: "a", Service: name, Family: watchers.FamilyIPv4,
			Ports:     []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 80}},
			Endpoints: []watchers.Endpoint{endpoint("10.1.0.1", "a"), endpoint("10.1.0.2", "b")}})
		tx.SetSynced()
	})
	return store
}

// watchersWithout returns the store of zoned without a Node.
func watchersWithout(node string) *watchers.Store {
	store := zoned()
	store.Update(func(tx *watchers.Tx) { tx.DeleteNode(node) })
	return store
}

// The text of the properties of node-1, and of its routes from pods.
const (
	present = "node-1 | 192.0.2.1 | 10.1.0.0/24 | 192.0.2.1/32 | \n"
	absent  = "node-1 | 192.0.2.1 | 10.1.0.0/24 | 192.0.2.1/32 |  | deleting\n"
	inZoneA = "LocalPods -> 10.1.0.1:80\n"
)

// TestIN64NodeIsDeletedWhileItsClientRuns: the state of a node remains while its Node is
// absent, also on a server that has never had the Node.
func TestIN64NodeIsDeletedWhileItsClientRuns(t *testing.T) {
	store := zoned()
	cfg := node.ServerConfig{Resolver: nodelocal.MultiNodeConfig{LocalPods: nodelocal.PodDetection{NodeCIDR: true}}}
	f := newFixture(t, store, cfg)
	c, err := node.NewClient(node.ClientConfig{NodeName: "node-1"}, f.dial())
	require.NoError(t, err)
	sink := newRecordingSink()
	run(t, c, sink)
	sink.waitContains(t, present)
	sink.waitContains(t, inZoneA)

	store.Update(func(tx *watchers.Tx) { tx.DeleteNode("node-1") })
	sink.waitContains(t, absent)
	sink.waitContains(t, inZoneA)

	zone := func() string {
		out, err := kpng.NewInspectServiceClient(f.inspector()).GetNodeState(t.Context(), &kpng.GetNodeStateRequest{NodeName: "node-1"})
		require.NoError(t, err)
		return out.GetNode().GetZone()
	}
	require.Equal(t, "a", zone(), "InspectService shows the zone that applies")

	f.restart() // the new server has never had the Node
	store.Update(func(tx *watchers.Tx) {
		tx.SetService(&watchers.Service{Name: watchers.ServiceName{Namespace: "ns", Name: "later"}, ClusterIP: netip.MustParseAddr("10.96.0.2"),
			Ports: []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 80}}})
	})
	sink.waitContains(t, "ns/later")
	sink.waitContains(t, absent)
	sink.waitContains(t, inZoneA)

	store.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "node-1", IPs: addrs("192.0.2.7"), Zone: "b"}) })
	sink.waitContains(t, "node-1 | 192.0.2.7 | 10.1.0.0/24 | 192.0.2.7/32 | \n")
	sink.waitContains(t, "LocalPods -> 10.1.0.2:80\n")
	require.Equal(t, "b", zone())
}

// TestIN60ClientStartsWithoutNode: the assumed addresses are used until the Node appears.
func TestIN60ClientStartsWithoutNode(t *testing.T) {
	store := watchersWithout("node-1")
	f := newFixture(t, store, node.ServerConfig{})
	c, err := node.NewClient(node.ClientConfig{NodeName: "node-1", AssumedIPs: addrs("192.0.2.8", "2001:db8::8")}, f.dial())
	require.NoError(t, err)
	sink := newRecordingSink()
	run(t, c, sink)
	sink.waitContains(t, "node-1 | 192.0.2.8 2001:db8::8 |  | 192.0.2.8/32 2001:db8::8/128 |  | deleting\n")
	store.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "node-1", IPs: addrs("192.0.2.1")}) })
	sink.waitContains(t, "node-1 | 192.0.2.1 |  | 192.0.2.1/32 | \n")

	_, err = node.NewClient(node.ClientConfig{NodeName: "node-1", AssumedIPs: make([]netip.Addr, 1)}, f.dial())
	require.ErrorContains(t, err, "AssumedIPs[0]: not an address")
	_, err = node.NewClient(node.ClientConfig{NodeName: "node-1", AssumedIPs: addrs("192.0.2.8", "fe80::1%eth0")}, f.dial())
	require.ErrorContains(t, err, "AssumedIPs[1]: fe80::1%eth0 is")

	c, err = node.NewClient(node.ClientConfig{NodeName: "node-1", AssumedIPs: addrs("::ffff:192.0.2.8")}, newFixture(t, watchersWithout("node-1"), node.ServerConfig{}).dial())
	require.NoError(t, err)
	sink = newRecordingSink()
	run(t, c, sink)
	sink.waitContains(t, "node-1 | 192.0.2.8 |  | 192.0.2.8/32 |  | deleting\n")
}

// TestKnownNodeOfHostileClients: the server validates known_node.
func TestKnownNodeOfHostileClients(t *testing.T) {
	f := newFixture(t, zoned(), node.ServerConfig{})
	hello := func(known *kpng.Node) *kpng.WatchNodeRequest {
		return &kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Hello{Hello: &kpng.NodeHello{
			Hello: &kpng.Hello{}, NodeName: "elsewhere", KnownNode: known,
		}}}
	}
	receive := func(known *kpng.Node) (*kpng.WatchNodeResponse, error) {
		stream, err := kpng.NewNodeServiceClient(f.dial()).WatchNode(t.Context())
		require.NoError(t, err)
		require.NoError(t, stream.Send(hello(known)))
		for {
			in, err := stream.Recv()
			if err != nil || in.GetNode() != nil {
				return in, err
			}
		}
	}
	_, err := receive(&kpng.Node{Ips: [][]byte{{1, 2, 3}}})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.ErrorContains(t, err, "hello.known_node.ips[0]: ")
	for zone, want := range map[string]string{"a": "a", "mine": ""} {
		in, err := receive(&kpng.Node{Zone: zone})
		require.NoError(t, err)
		require.Equal(t, want, in.GetNode().GetZone(), "no client can make a zone")
	}
}
