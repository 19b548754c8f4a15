// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
)

// Invalid UTF-8, which protobuf strings must not contain, does not affect other Services: one
// with an invalid name is not sent, and an invalid port is a Problem. A very long error of a
// sink still reaches the server.
func TestInvalidTextIsReplaced(t *testing.T) {
	store := newStore(3)
	store.Update(func(tx *watchers.Tx) {
		bad := newService(0, "bad")
		bad.Name.Name = "svc-\xff"
		bad.ClusterIP = netip.MustParseAddr("10.96.0.99")
		bad.ClusterIPs = []netip.Addr{bad.ClusterIP}
		tx.SetService(bad)
		port := newService(1, "svc-1")
		port.Name.Name, port.Ports[0].Name = "svc-port", "\xfe"
		tx.SetService(port)
	})
	f := newFixture(t, store, node.ServerConfig{})
	sink := newRecordingSink()
	failing := localsink.Func(func(ctx context.Context, u *localsink.Update) error {
		_ = sink.Sync(ctx, u)
		return errors.New("failed: \xff" + strings.Repeat("x", 100_000))
	})
	c, err := node.NewClient(node.ClientConfig{NodeName: "node-1"}, f.dial())
	require.NoError(t, err)
	run(t, c, failing)
	state := text(sink.first(t))
	require.NotContains(t, state, "\uFFFD")
	require.Contains(t, state, `problem: Service ns/svc-port: spec.ports[0].name: "\xfe" is too long, or has control characters, slashes or invalid UTF-8`)
	require.Contains(t, state, "svc-2")
	lastError := func() string {
		list, err := kpng.NewInspectServiceClient(f.inspector()).ListNodes(t.Context(), &kpng.ListNodesRequest{Prefix: "node-1"})
		require.NoError(t, err)
		require.Len(t, list.GetNodes(), 1)
		return list.GetNodes()[0].GetLastError()
	}
	eventually(t, func() bool { return lastError() != "" })
	require.Contains(t, lastError(), "failed: \uFFFDxxx")
	require.LessOrEqual(t, len(lastError()), 1024)
}

// The time from a change to its acknowledgement is known of changes that are published while a node is
// connected. A node that connects later may have applied them long ago.
func TestAcknowledgementsHaveTimesOfChangesDuringTheStream(t *testing.T) {
	store, acks := newStore(3), make(chan node.Acknowledgement, 10)
	f := newFixture(t, store, node.ServerConfig{OnAcknowledge: func(a node.Acknowledgement) { acks <- a }})
	eventually(t, func() bool { return f.list("") != nil }) // the first revision is published
	c, err := node.NewClient(node.ClientConfig{NodeName: "node-1"}, f.dial())
	require.NoError(t, err)
	run(t, c, newRecordingSink())
	first := <-acks
	require.Empty(t, first.Error)
	require.False(t, first.SentTime.IsZero())
	require.True(t, first.PublishedTime.IsZero())
	require.Empty(t, first.TriggerTimes)
	before := time.Now()
	store.Update(func(tx *watchers.Tx) { tx.DeleteService(newService(1, "svc-1").Name) })
	require.False(t, (<-acks).PublishedTime.Before(before))
}

// A Service that nodes do not program, such as one of type ExternalName, does not cause a
// revision, and nor does its removal.
func TestEmptyServiceCausesNoRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(1)
		server, err := node.NewServer(store, node.ServerConfig{})
		require.NoError(t, err)
		defer server.Close()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- server.Run(ctx) }()
		after := func(change func(tx *watchers.Tx)) uint64 {
			store.Update(change)
			time.Sleep(time.Second)
			return server.Stats().Revision
		}
		empty := &watchers.Service{Name: watchers.ServiceName{Namespace: "ns", Name: "elsewhere"}, Type: watchers.TypeExternalName}
		first := after(func(*watchers.Tx) {})
		require.NotZero(t, first)
		require.Equal(t, first, after(func(tx *watchers.Tx) { tx.SetService(empty) }))
		require.Equal(t, first, after(func(tx *watchers.Tx) { tx.DeleteService(empty.Name) }))
		require.Equal(t, first+1, after(func(tx *watchers.Tx) { tx.SetService(newService(0, "programmed")) }))
		cancel()
		require.NoError(t, <-ended)
	})
}

// Limits on unacknowledged updates reduce the delay that the server allows, so that a client
// that uses the delay does not exceed them.
func TestTightLimitsReduceMaxAckDelay(t *testing.T) {
	for _, c := range []struct {
		cfg  node.ServerConfig
		want time.Duration
	}{
		{node.ServerConfig{}, 500 * time.Millisecond},
		{node.ServerConfig{MaxAckDelay: 2 * time.Second}, 2 * time.Second},
		{node.ServerConfig{MaxAckDelay: -1}, 0},
		{node.ServerConfig{Limits: transport.StreamLimits{Unacknowledged: 63}}, 0},
		{node.ServerConfig{Limits: transport.StreamLimits{Unacknowledged: 64}}, 500 * time.Millisecond},
		{node.ServerConfig{Limits: transport.StreamLimits{AckTimeout: time.Second}}, 250 * time.Millisecond},
	} {
		f := newFixture(t, newStore(1), c.cfg)
		stream := newRawClient(t, f.dial()).stream
		require.NoError(t, stream.Send(hello("n", kpng.Capability_CAPABILITY_ACKNOWLEDGE)))
		first, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, c.want, time.Duration(first.GetWelcome().GetMaxAckDelayNs()))
	}
}
