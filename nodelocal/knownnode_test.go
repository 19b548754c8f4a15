// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// known returns a Node with all properties.
func known(change ...func(*watchers.Node)) *watchers.Node {
	n := &watchers.Node{Name: "node-1", Zone: "A", IPs: addrs("192.0.2.1 2001:db8::1"), PodCIDRs: networks("10.1.0.0/24")}
	for _, c := range change {
		c(n)
	}
	return n
}

// TestIN64AbsentNodeRemainsAsItIsKnown: whatever happens to the Node object, its addresses,
// pod networks and zone are the last ones; only load balancers are sent away.
func TestIN64AbsentNodeRemainsAsItIsKnown(t *testing.T) {
	cfg := nodelocal.Config{LocalPods: nodelocal.PodDetection{NodeCIDR: true}, KnownNode: &nodelocal.KnownNode{}}
	n := newNode(t, cfg, service(func(s *watchers.Service) { s.Type, s.Ports[0].NodePort = watchers.TypeNodePort, 30080 }),
		slice(t, "a", "10.0.0.1 R zA", "10.0.0.2 R zB"), known())
	before := n.get(name())
	requireKnown := func(t *testing.T, want *watchers.Node, deleting bool) {
		t.Helper()
		u := n.node()
		require.Equal(t, want.IPs, u.IPs)
		require.Equal(t, want.PodCIDRs, u.LocalPods.Networks)
		require.Equal(t, deleting, u.Deleting)
		require.Len(t, u.NodePortAddresses, len(want.IPs))
	}
	remove := func() { n.store.Update(func(tx *watchers.Tx) { tx.DeleteNode("node-1") }) }

	t.Run("IN-64 it is deleted", func(t *testing.T) {
		remove()
		u := n.update()
		require.NotNil(t, u)
		require.True(t, u.NodeChanged)
		require.Empty(t, u.Changed, "no Service changes, because the zone remains")
		requireKnown(t, known(), true)
		require.Equal(t, before, n.get(name()))
	})
	t.Run("IN-64 a new list does not have it", func(t *testing.T) {
		n.store.Update(func(tx *watchers.Tx) { tx.Retain(watchers.KindNode, func(watchers.Key) bool { return false }) })
		require.Nil(t, n.update())
	})
	t.Run("IN-64 a Node of another name is added", func(t *testing.T) {
		n.set(&watchers.Node{Name: "Node-1", Zone: "B", IPs: addrs("192.0.2.9")})
		require.Nil(t, n.update())
	})
	t.Run("IN-64 an explanation agrees", func(t *testing.T) {
		explained := cfg
		explained.NodeName = "node-1"
		x, err := nodelocal.Explain(n.store.Snapshot(), explained, name())
		require.NoError(t, err)
		require.Equal(t, before.Text(), x.Service)
	})
	t.Run("IN-64 it is created again, without addresses at first", func(t *testing.T) {
		n.set(known(func(o *watchers.Node) { o.IPs, o.PodCIDRs = nil, nil }))
		require.NotNil(t, n.update())
		requireKnown(t, known(), false)
	})
	t.Run("IN-63 it gets other properties", func(t *testing.T) {
		other := known(func(o *watchers.Node) { o.IPs, o.PodCIDRs, o.Zone = addrs("192.0.2.7"), networks("10.7.0.0/24"), "B" })
		n.set(other)
		require.Len(t, n.update().Changed, 1)
		requireKnown(t, other, false)
		require.Equal(t, ".2", last(n.get(name()).Ports[0].Pools[0].Endpoints))
		remove()
		n.update()
		requireKnown(t, other, true)
	})
	t.Run("IN-63 it is being deleted, then deleted", func(t *testing.T) {
		n.set(known(func(o *watchers.Node) { o.Deleting = true }))
		n.update()
		requireKnown(t, known(), true)
		remove()
		require.Nil(t, n.update())
	})
}

// TestIN60AssumedNode: what the caller assumes is used until there is a Node object with
// addresses.
func TestIN60AssumedNode(t *testing.T) {
	assumed := &nodelocal.KnownNode{}
	assumed.Remember(&watchers.Node{IPs: addrs("192.0.2.8")})
	cfg := nodelocal.Config{KnownNode: assumed}
	n := newNode(t, cfg)
	require.Equal(t, addrs("192.0.2.8"), n.node().IPs)
	require.Equal(t, networks("192.0.2.8/32"), n.node().NodePortAddresses)
	n.set(known(func(o *watchers.Node) { o.IPs = nil }))
	require.Equal(t, addrs("192.0.2.8"), n.node().IPs, "a Node without addresses")
	n.set(known())
	require.Equal(t, known().IPs, n.node().IPs)
	require.Equal(t, known(), assumed.Last())
	t.Run("IN-62 the bind address replaces an assumed one of its family", func(t *testing.T) {
		k := &nodelocal.KnownNode{}
		k.Remember(&watchers.Node{IPs: addrs("192.0.2.8 2001:db8::8")})
		n := newNode(t, nodelocal.Config{KnownNode: k, NodeIP: addrs("2001:db8::2")[0]})
		require.Equal(t, addrs("2001:db8::2 192.0.2.8"), n.node().IPs)
	})
	t.Run("a later resolver continues with what the first one knew", func(t *testing.T) {
		require.Equal(t, known().IPs, newNode(t, cfg).node().IPs)
	})
	t.Run("the zero value has no Node", func(t *testing.T) {
		k := &nodelocal.KnownNode{}
		k.Remember(nil)
		require.Nil(t, k.Last())
		require.Empty(t, newNode(t, nodelocal.Config{KnownNode: k}).node().IPs)
	})
}

// TestIN64AbsentNodeOfServers: a server keeps the last Node of each client apart.
func TestIN64AbsentNodeOfServers(t *testing.T) {
	store := watchers.NewStore()
	r, err := nodelocal.NewMultiNodeResolver(store, nodelocal.MultiNodeConfig{})
	require.NoError(t, err)
	defer r.Close()
	k := &nodelocal.KnownNode{}
	k.Remember(known())
	node, zone := r.Node(store.Snapshot(), "node-1", k)
	require.Equal(t, known().IPs, node.IPs)
	require.Equal(t, "A", zone)
	require.True(t, node.Deleting)
	node, zone = r.Node(store.Snapshot(), "node-2", nil)
	require.Empty(t, node.IPs)
	require.Empty(t, zone)
}
