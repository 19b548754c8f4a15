// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/remote/internal/codec"
	"sigs.k8s.io/kpng/remote/internal/fanout"
	"sigs.k8s.io/kpng/remote/internal/nodestate"
	"sigs.k8s.io/kpng/remote/internal/session"
)

func marshal(t require.TestingT, m proto.Message) []byte {
	b, err := proto.Marshal(m)
	require.NoError(t, err)
	return b
}

// requireSound checks the guarantees that backends rely on.
func requireSound(t *testing.T, svc *localsink.Service) {
	for _, p := range svc.Ports {
		require.NotEmpty(t, p.Frontends)
		require.LessOrEqual(t, p.Selection, localsink.SelectionLeastConnections)
		require.LessOrEqual(t, p.RefusedPerMille, uint16(1000))
		for a, x := range p.EndpointExtensions {
			require.NotZero(t, x.Len(), a)
			requireValidKeys(t, x)
		}
		for _, fe := range p.Frontends {
			require.NotEmpty(t, fe.Routes)
			require.Equal(t, localsink.FromAny, fe.Routes[len(fe.Routes)-1].From)
			for _, r := range fe.Routes {
				require.Less(t, r.Pool, len(p.Pools))
			}
		}
		for _, pool := range p.Pools {
			for i := range pool.Endpoints {
				require.NotZero(t, pool.Endpoints[i].Weight)
				require.True(t, i == 0 || pool.Endpoints[i-1].Addr.Compare(pool.Endpoints[i].Addr) < 0)
				require.Equal(t, pool.Endpoints[0].Addr.Addr().Is4(), pool.Endpoints[i].Addr.Addr().Is4())
			}
		}
	}
	requireValidKeys(t, svc.Extensions)
	require.LessOrEqual(t, svc.Extensions.Size(), overlay.MaxExtensionsSize)
	_ = svc.Text()
}

func requireValidKeys(t *testing.T, x localsink.Extensions) {
	for e := range x.All() {
		require.True(t, localsink.ValidExtensionKey(e.Key), "%q", e.Key)
	}
}

// FuzzService checks that a decoded Service is sound on every node and survives another
// round trip.
func FuzzService(f *testing.F) {
	f.Add(marshal(f, toService(sampleBase())))
	weight := toService(sampleBase())
	weight.Ports[0].Endpoints[1].Weight = 1 // explicitly the default
	f.Add(marshal(f, weight))
	newer := toService(sampleBase())
	newer.Ports[0].Selection, newer.Ports[0].RouteLists[0].Routes[0].EmptyVerdict = 99, 99
	newer.Ports[0].EndpointExtensions = append(newer.GetPorts()[0].GetEndpointExtensions(), newer.GetPorts()[0].GetEndpointExtensions()[0])
	f.Add(marshal(f, newer))
	f.Add(marshal(f, &kpng.Service{Extensions: []*kpng.Extension{{Key: "b"}, {Key: "a", Value: []byte{0}}, {Key: "\x00"}}}))
	f.Add(marshal(f, &kpng.Service{Ports: []*kpng.Port{{Protocol: 99, RouteLists: []*kpng.RouteList{{}}}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var in kpng.Service
		if proto.Unmarshal(b, &in) != nil {
			return
		}
		svc, err := fromService(sampleBase().Name, &in)
		if err != nil {
			require.Nil(t, svc)
			return
		}
		for _, node := range []*localsink.Node{{Name: "n"}, sampleNode()} {
			for _, own := range []*overlay.Overlay{nil, sampleOverlay()} {
				requireSound(t, overlay.Assemble(svc, own, node))
			}
		}
		if len(svc.Problems) > len(in.GetProblems()) {
			return // unsupported parts were left out
		}
		again, err := fromService(svc.Name, toService(svc))
		require.NoError(t, err)
		require.True(t, svc.Equal(again), "%+v\n%+v", svc, again)
		require.Equal(t, encodeService(svc).Digest, encodeService(again).Digest)
	})
}

// FuzzDelta checks that a decoded delta, if it applies, leads to a sound Service.
func FuzzDelta(f *testing.F) {
	next := sampleBase()
	next.Ports[0].Endpoints = next.Ports[0].Endpoints[1:]
	delete(next.Ports[0].EndpointExtensions, sampleBase().Ports[0].Endpoints[0].Addr)
	next.Ports[0].EndpointExtensions[sampleBase().Ports[0].Endpoints[1].Addr] = ext("new", "1")
	delta, ok := overlay.Diff(sampleBase(), next)
	require.True(f, ok)
	f.Add(marshal(f, toDelta(delta)))
	f.Add(marshal(f, &kpng.ServiceDelta{Ports: []*kpng.PortDelta{{Port: 1<<32 - 1}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var in kpng.ServiceDelta
		if proto.Unmarshal(b, &in) != nil {
			return
		}
		delta, err := fromDelta(&in)
		if err != nil {
			return
		}
		if svc, err := sampleBase().Apply(delta); err == nil {
			requireSound(t, overlay.Assemble(svc, sampleOverlay(), sampleNode()))
		}
	})
}

// FuzzOverlay checks that a decoded node overlay leads to a sound Service.
func FuzzOverlay(f *testing.F) {
	own := encodeOverlay(sampleBase().Name, sampleOverlay())
	_, _, n := protowire.ConsumeTag(own)
	own, _ = protowire.ConsumeBytes(own[n:])
	f.Add(own)
	f.Fuzz(func(t *testing.T, b []byte) {
		var in kpng.OverlayChange
		if proto.Unmarshal(b, &in) != nil {
			return
		}
		if own, err := fromOverlay(&in); err == nil {
			requireSound(t, overlay.Assemble(sampleBase(), own, sampleNode()))
		}
	})
}

// FuzzNode checks that a decoded node survives another round trip.
func FuzzNode(f *testing.F) {
	f.Add(marshal(f, nodestate.Node(sampleNode())))
	f.Fuzz(func(t *testing.T, b []byte) {
		var in kpng.Node
		if proto.Unmarshal(b, &in) != nil {
			return
		}
		if node, err := fromNode(&in); err == nil {
			again, err := fromNode(nodestate.Node(node))
			require.NoError(t, err)
			require.True(t, node.Equal(again))
			requireSound(t, overlay.Assemble(sampleBase(), sampleOverlay(), node))
		}
	})
}

// FuzzServer checks that the state of a client stays consistent for any sequence of
// messages, and that an invalid message has no effect.
func FuzzServer(f *testing.F) {
	encode := func(messages ...*kpng.WatchNodeResponse) (b []byte) {
		for _, m := range messages {
			b = protowire.AppendBytes(b, marshal(f, m))
		}
		return b
	}
	change := func(digest uint64, name string) *kpng.ServiceChange {
		return &kpng.ServiceChange{Namespace: "ns", Name: name, Digest: digest, Change: &kpng.ServiceChange_Service{Service: toService(sampleBase())}}
	}
	other := change(4, "a") // of the same name as a Service
	other.Origin = "TCPRoute"
	f.Add(encode(
		&kpng.WatchNodeResponse{Services: []*kpng.ServiceChange{change(1, "a"), change(2, "b")}, Node: nodestate.Node(sampleNode())},
		&kpng.WatchNodeResponse{Services: []*kpng.ServiceChange{other}, Overlays: []*kpng.OverlayChange{{Namespace: "ns", Name: "a", Origin: "TCPRoute"}}},
		&kpng.WatchNodeResponse{Commit: &kpng.Commit{Revision: 1}},
		&kpng.WatchNodeResponse{RemovedDigests: []uint64{1}, TriggerTimesUnixNs: []int64{1}, Commit: &kpng.Commit{Revision: 2}},
		&kpng.WatchNodeResponse{Services: []*kpng.ServiceChange{{Namespace: "ns", Name: "b"}}, Commit: &kpng.Commit{Revision: 3}},
	), true)
	f.Fuzz(func(t *testing.T, b []byte, fullSync bool) {
		m := newClientState("n")
		tracker := reconciler.NewTracker(m.node())
		m.StartStream(fullSync)
		for len(b) > 0 {
			one, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return
			}
			b = b[n:]
			var in kpng.WatchNodeResponse
			if proto.Unmarshal(one, &in) != nil {
				return
			}
			_, before := m.HeldXor()
			if err := m.Apply(&in); err != nil {
				_, after := m.HeldXor()
				require.Equal(t, before, after)
				m.Invalidate()
				xor, count := m.HeldXor()
				require.Zero(t, xor)
				require.Zero(t, count)
				m.StartStream(false)
				continue
			}
			m.Refresh(tracker)
			if u := tracker.Pending(); u != nil {
				for svc := range u.All.All() {
					requireSound(t, svc)
				}
				tracker.Acknowledge(u)
			}
			m.synced(nil, 0)
			require.Equal(t, m.committed.services.Len(), tracker.FullUpdate().All.Len())
			xor := uint64(0)
			for k := range m.committed.services.All() {
				xor ^= k.digest
				require.NotNil(t, m.committed.services.Get(m.committed.byDigest[k.digest].name), k.name)
			}
			require.Equal(t, xor, m.committed.xor)
		}
	})
}

// FuzzClient checks that messages of clients are decoded as proto.Unmarshal does.
func FuzzClient(f *testing.F) {
	f.Add(marshal(f, &kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Hello{Hello: &kpng.NodeHello{
		NodeName: "n", Unsupported: []kpng.Feature{1, 99}, Hello: &kpng.Hello{HeldCount: 1<<32 - 1, Capabilities: []kpng.Capability{1, 2, 3, 99}}}}}))
	f.Add(marshal(f, &kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_HeldDigests{HeldDigests: &kpng.HeldDigests{Digests: []uint64{1, 2}, Last: true}}}))
	f.Add(marshal(f, &kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Ack{Ack: &kpng.Ack{DurationNs: 1<<64 - 1, Error: "x"}}}))
	f.Add(marshal(f, &kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Ack{Ack: &kpng.Ack{Revision: 7, DurationNs: 1<<64 - 1,
		PreviousAcks: []*kpng.Ack{{}, {Revision: 5, AgeNs: 1 << 30}, {Revision: 6, DurationNs: 3, PreviousAcks: []*kpng.Ack{{}}}}}}}))
	f.Add(marshal(f, &kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Ack{Ack: &kpng.Ack{Revision: 200, PreviousAcks: make([]*kpng.Ack, 100)}}}))
	f.Add(marshal(f, &kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Ack{Ack: &kpng.Ack{Revision: 3, Error: strings.Repeat("ü", 1000),
		PreviousAcks: []*kpng.Ack{{Revision: 1, Error: strings.Repeat("x", 1025)}, {Error: strings.Repeat("x", 1024)}}}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var in kpng.WatchNodeRequest
		invalid := proto.Unmarshal(b, &in) != nil
		common := session.CommonCapabilities(in.GetHello().GetHello().GetCapabilities(), capabilities())
		require.LessOrEqual(t, len(common), 3)
		require.GreaterOrEqual(t, session.Peer(in.GetHello().GetHello(), common).HeldCount, 0)
		require.Less(t, fromFeatures(in.GetHello().GetUnsupported()), localsink.Features(1<<11))
		stream := session.ServerStream{Stream: &repeatingStream{message: b}}
		if invalid {
			m, err := stream.Receive()
			require.True(t, err != nil || m.Ack != nil, "ignored fields may be invalid")
			return
		}
		for range 2 { // the second message contains nothing of the first
			requireReceives(t, &stream, &in)
		}
	})
}

// A repeatingStream receives the same message twice.
type repeatingStream struct {
	message  []byte
	received int
}

func (r *repeatingStream) RecvMsg(m any) error {
	if r.received++; r.received > 2 {
		return io.EOF
	}
	return m.(codec.Decoder).DecodeFrame(r.message)
}

func (r *repeatingStream) SendMsg(any) error        { return nil }
func (r *repeatingStream) Context() context.Context { return context.Background() }

// requireReceives checks that a stream receives the content of a request.
func requireReceives(t *testing.T, stream *session.ServerStream, in *kpng.WatchNodeRequest) {
	m, err := stream.Receive()
	require.Equal(t, in.GetHello() == nil && (in.GetHeldDigests() != nil || in.GetAck() != nil), err == nil)
	switch ack := in.GetAck(); {
	case err != nil:
	case ack == nil:
		require.Equal(t, fanout.Received{Held: in.GetHeldDigests().GetDigests(), HeldComplete: in.GetHeldDigests().GetLast()}, m)
	default:
		previous := ack.GetPreviousAcks()
		for i, e := range slices.Concat(previous[:min(len(previous), 64)], []*kpng.Ack{ack}) {
			if i > 0 {
				m, err = stream.Receive()
			}
			require.NoError(t, err)
			require.Equal(t, fanout.Ack{
				Revision: e.GetRevision(), Error: session.Truncate(e.GetError(), 1024),
				Duration: time.Duration(min(e.GetDurationNs(), uint64(24*time.Hour))),
				Age:      time.Duration(min(e.GetAgeNs(), uint64(24*time.Hour))),
			}, *m.Ack)
		}
	}
}

// An acknowledgement has the revision of the last Refresh. A failed update is acknowledged
// again when it succeeds.
func TestAcksHaveRefreshedRevision(t *testing.T) {
	m := newClientState("n")
	tracker := reconciler.NewTracker(m.node())
	m.StartStream(true)
	commit := func(revision uint64) {
		require.NoError(t, m.Apply(&kpng.WatchNodeResponse{Commit: &kpng.Commit{Revision: revision}}))
	}
	next := func() *kpng.Ack {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		ack, _ := m.acks.Next(ctx, 0)
		return ack
	}
	commit(1)
	m.synced(nil, 0)
	require.Nil(t, next(), "not refreshed yet")
	m.Refresh(tracker)
	m.synced(context.Canceled, time.Second)
	require.Equal(t, "context canceled", next().GetError())
	commit(2)
	commit(3)
	m.synced(nil, 0)
	require.Equal(t, uint64(1), next().GetRevision(), "revisions 2 and 3 are not refreshed yet")
	m.Refresh(tracker)
	m.synced(nil, 0)
	require.Equal(t, uint64(3), next().GetRevision())
	m.synced(nil, 0)
	require.Nil(t, next(), "already acknowledged")
	m.StartStream(true)
	m.synced(nil, 0)
	require.Nil(t, next(), "the last Refresh belongs to an earlier stream")
	commit(1)
	m.Refresh(tracker)
	m.synced(nil, 0)
	require.Equal(t, uint64(1), next().GetRevision())
}
