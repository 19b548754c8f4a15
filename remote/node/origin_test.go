// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"fmt"
	"net/netip"
	"strings"
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

// route adds a TCPRoute with the name of a Service, a cluster IP of its own and a local endpoint
// of node-1.
func route(tx *watchers.Tx, i int) {
	svc, endpoints := newService(i, ""), slice(i, 1)
	svc.Name.Origin, endpoints.Service.Origin = "TCPRoute", "TCPRoute"
	svc.ClusterIP = netip.AddrFrom4([4]byte{10, 97, 0, byte(i)})
	svc.ClusterIPs, svc.InternalPolicy = []netip.Addr{svc.ClusterIP}, watchers.PolicyLocal
	endpoints.Endpoints[0].Node = "node-1"
	tx.SetService(svc)
	tx.SetEndpointSlice(endpoints)
}

// earlier receives updates as a client of the version before origins does: it decodes names
// without the origin, and fails when it would mistake one object for another.
type earlier struct {
	*rawClient
	held map[string]uint64 // digests by name
}

func (c *earlier) connect(t *testing.T, f *fixture) (welcome *kpng.Welcome) {
	c.rawClient = newRawClient(t, f.dial())
	in := hello("node-1", kpng.Capability_CAPABILITY_RESUME, kpng.Capability_CAPABILITY_DELTAS)
	for _, d := range c.held {
		in.GetHello().Hello.HeldDigestsXor ^= d
		in.GetHello().Hello.HeldCount++
	}
	require.NoError(t, c.stream.Send(in))
	first, err := c.stream.Recv()
	require.NoError(t, err)
	return first.GetWelcome()
}

// receive applies one update and returns the number of changes.
func (c *earlier) receive(t *testing.T) (changes int) {
	for {
		in, err := c.stream.Recv()
		require.NoError(t, err)
		for _, s := range in.GetServices() {
			require.Empty(t, s.GetOrigin())
			changes++
			name := s.GetNamespace() + "/" + s.GetName()
			if s.GetDigest() == 0 {
				require.Contains(t, c.held, name)
				delete(c.held, name)
				continue
			}
			c.held[name] = s.GetDigest()
		}
		for _, o := range in.GetOverlays() {
			require.Empty(t, o.GetOrigin())
			changes++
		}
		if in.GetCommit() != nil {
			return changes
		}
	}
}

// A client that does not distinguish origins receives neither the shared bases nor the node
// overlays of other objects, and resumes.
func TestEarlierClientsReceiveOnlyServices(t *testing.T) {
	store := newClusterStore()
	store.Update(func(tx *watchers.Tx) { route(tx, 1) })
	f := newFixture(t, store, node.ServerConfig{})
	sink := newRecordingSink() // of a client of this version
	current, err := node.NewClient(node.ClientConfig{NodeName: "node-1"}, f.dial())
	require.NoError(t, err)
	run(t, current, sink)
	sink.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
	sink.waitContains(t, "TCPRoute:"+newService(1, "").Name.String()+"\n")

	c := &earlier{held: map[string]uint64{}}
	require.True(t, c.connect(t, f).GetFullSync())
	services := c.receive(t)
	require.Contains(t, c.held, newService(1, "").Name.String())

	for i := range 12 { // more than enough for the index of overlays
		store.Update(func(tx *watchers.Tx) { route(tx, 1+i%3) })
		store.Update(func(tx *watchers.Tx) {
			tx.Delete(watchers.ServiceKey(watchers.ServiceName{Namespace: newService(2, "").Name.Namespace, Name: newService(2, "").Name.Name, Origin: "TCPRoute"}))
		})
	}
	sink.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
	store.Update(func(tx *watchers.Tx) { tx.SetService(newService(77, "")) })
	sink.waitContains(t, newService(77, "").Name.String()+"\n")
	for c.held[newService(77, "").Name.String()] == 0 {
		require.LessOrEqual(t, c.receive(t), 1)
	}
	c.cancel()

	f.restart()
	welcome := c.connect(t, f)
	require.False(t, welcome.GetSendDigests() || welcome.GetFullSync(), "the sum of digests is that of the objects that the client receives")
	require.Less(t, c.receive(t), services, "only the overlays")
	for range 12 {
		initial := &earlier{held: map[string]uint64{}}
		initial.connect(t, f)
		initial.receive(t)
		require.Len(t, initial.held, len(c.held))
		initial.cancel()
	}
}

// InspectService distinguishes origins in requests and answers.
func TestInspectSelectsByOrigin(t *testing.T) {
	store, name := newClusterStore(), newService(1, "").Name
	store.Update(func(tx *watchers.Tx) {
		route(tx, 1)
		svc := newService(1, "")
		svc.Extensions = localsink.NewExtensions(localsink.Extension{Key: "k", Value: "\xff"})
		tx.SetService(svc)
	})
	f := newFixture(t, store, node.ServerConfig{})
	<-f.server.Ready()
	inspect := kpng.NewInspectServiceClient(f.inspector())
	texts := func(in *kpng.GetNodeStateRequest) (out []string) {
		in.NodeName = "node-1"
		answer, err := inspect.GetNodeState(t.Context(), in)
		require.NoError(t, err)
		for _, s := range answer.GetServices() {
			first, _, _ := strings.Cut(s.GetText(), "\n")
			require.Equal(t, first, localsink.ServiceName{Namespace: s.GetNamespace(), Name: s.GetName(), Origin: s.GetOrigin()}.String())
			out = append(out, first)
		}
		return out
	}
	route := "TCPRoute:" + name.String()
	require.Equal(t, []string{name.String()}, texts(&kpng.GetNodeStateRequest{Namespace: name.Namespace, Name: name.Name}))
	require.Equal(t, []string{route}, texts(&kpng.GetNodeStateRequest{Namespace: name.Namespace, Name: name.Name, Origin: "TCPRoute"}))
	require.Equal(t, []string{route}, texts(&kpng.GetNodeStateRequest{Origin: "TCPRoute"}))
	all := texts(&kpng.GetNodeStateRequest{})
	require.Contains(t, all, route)
	require.Contains(t, all, name.String())
	require.Empty(t, texts(&kpng.GetNodeStateRequest{Namespace: name.Namespace, Name: name.Name, Origin: "UDPRoute"}))

	explain := func(origin string) (string, error) {
		answer, err := inspect.ExplainService(t.Context(), &kpng.ExplainServiceRequest{NodeName: "node-1", Namespace: name.Namespace, Name: name.Name, Origin: origin})
		return answer.GetText(), err
	}
	for _, origin := range []string{"", "TCPRoute"} {
		text, err := explain(origin)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(text, localsink.ServiceName{Namespace: name.Namespace, Name: name.Name, Origin: origin}.String()+"\n"), text)
		_, err = inspect.GetServiceProgress(t.Context(), &kpng.GetServiceProgressRequest{Namespace: name.Namespace, Name: name.Name, Origin: origin})
		require.NoError(t, err)
	}
	_, err := explain("UDPRoute")
	require.Equal(t, codes.NotFound, status.Code(err))
	require.ErrorContains(t, err, fmt.Sprintf("UDPRoute %s: not found", name))
	_, err = inspect.GetServiceProgress(t.Context(), &kpng.GetServiceProgressRequest{Namespace: name.Namespace, Name: name.Name, Origin: "UDPRoute"})
	require.ErrorContains(t, err, fmt.Sprintf("UDPRoute %s: not found", name))
}
