// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/cluster"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

// relayed returns the store of a relay that is connected to a server of another store.
func relayed(t *testing.T, source *watchers.Store) *watchers.Store {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	server, err := cluster.NewServer(source, cluster.ServerConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	g, listener := grpc.NewServer(cluster.ServerOption()), bufconn.Listen(1<<20)
	server.Register(g)
	running.Go(func() { _ = g.Serve(listener) })
	running.Go(func() { _ = server.Run(ctx) })
	conn, err := grpc.NewClient("passthrough:///server", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	require.NoError(t, err)
	client, err := cluster.NewClient(cluster.ClientConfig{AllProxies: true}, conn)
	require.NoError(t, err)
	store := watchers.NewStore()
	running.Go(func() { _ = client.Run(ctx, store) })
	t.Cleanup(func() { cancel(); g.Stop(); conn.Close() })
	return store
}

func ext(key, value string) localsink.Extensions {
	return localsink.NewExtensions(localsink.Extension{Key: key, Value: value})
}

// A property of a vendor reaches the backend through two relays and a NodeService server, none of
// which reads the key. So does each change of it.
func TestExtensionsPassRelaysAndServers(t *testing.T) {
	number := localsink.NewAccessor("acme.example/load-balancer-mode", strconv.Atoi)
	source := watchers.NewStore()
	set := func(i int) {
		x := ext(number.Key(), fmt.Sprint(i))
		svc, s := newService(0, ""), slice(0, 3)
		svc.Extensions = x
		s.Extensions = ext("acme.example/slice", fmt.Sprint(i/2))
		s.Details = []watchers.EndpointDetails{{Extensions: x, Weight: new(uint32(i))}, {}, {Extensions: x.With(ext("\u00e4 b", "\x00\xff"))}}
		source.Update(func(tx *watchers.Tx) {
			tx.SetService(svc)
			tx.SetEndpointSlice(s)
			tx.SetNode(&watchers.Node{Name: "node-1", IPs: addrs("192.0.2.1"), Extensions: x})
			tx.SetSynced()
		})
	}
	set(7)
	relay := relayed(t, relayed(t, source))
	f := newFixture(t, relay, node.ServerConfig{})
	c, err := node.NewClient(node.ClientConfig{NodeName: "node-1"}, f.dial())
	require.NoError(t, err)
	sink := newRecordingSink()
	run(t, c, sink)
	for _, i := range []int{7, 8, 9} {
		set(i)
		// The source, each store of a relay and the node have the same state.
		sink.wait(t, resolve(t, source, nodelocal.MultiNodeConfig{}, "node-1"))
		u := sink.first(t)
		read := func(x localsink.Extensions) {
			n, found, err := number.Get(x)
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, i, n)
		}
		read(u.Node.Extensions)
		for svc := range u.All.All() {
			read(svc.Extensions)
			p := svc.Ports[0]
			require.Len(t, p.EndpointExtensions, 3)
			at := func(last byte) localsink.Extensions {
				return p.EndpointExtensions[netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, last}), 8080)]
			}
			read(at(1))
			read(at(3))
			require.True(t, at(2).Equal(ext("acme.example/slice", fmt.Sprint(i/2))))
			value, _ := at(3).Get("\u00e4 b")
			require.Equal(t, "\x00\xff", value)
			require.Equal(t, uint32(i), p.Pools[0].Endpoints[0].Weight)
		}
	}
}

// The extensions of an absent Node remain, like its addresses and its zone, also on a server
// that has never had the Node.
func TestExtensionsOfAbsentNodeRemain(t *testing.T) {
	store := zoned()
	store.Update(func(tx *watchers.Tx) {
		tx.SetNode(&watchers.Node{Name: "node-1", IPs: addrs("192.0.2.1"), Extensions: ext("rack", "7")})
	})
	f := newFixture(t, store, node.ServerConfig{})
	c, err := node.NewClient(node.ClientConfig{NodeName: "node-1"}, f.dial())
	require.NoError(t, err)
	sink := newRecordingSink()
	run(t, c, sink)
	sink.waitContains(t, `rack="7"`+"\n")
	f.stop()
	store.Update(func(tx *watchers.Tx) { tx.DeleteNode("node-1") })
	f.start()
	sink.waitContains(t, `rack="7" | deleting`)
	store.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "node-1", IPs: addrs("192.0.2.1")}) })
	u := sink.waitFor(t, func(u *localsink.Update) bool { return !u.Node.Deleting })
	require.Zero(t, u.Node.Extensions.Len(), "those of the Node count as soon as it exists")
}
