// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/remote/internal/codec"
	"sigs.k8s.io/kpng/remote/internal/fanout"
	"sigs.k8s.io/kpng/remote/internal/session"
	"sigs.k8s.io/kpng/watchers"
)

// nodeService implements the service that nodes watch.
type nodeService struct {
	kpng.UnimplementedNodeServiceServer
	server *Server
}

// WatchNode serves one node's stream.
func (n nodeService) WatchNode(grpcStream kpng.NodeService_WatchNodeServer) error {
	ctx := grpcStream.Context()
	first, err := session.ReceiveFirst(grpcStream.Recv, n.server.hub.Limits().HelloTimeout, n.server.ended)
	if err != nil {
		return err
	}
	hello := first.GetHello()
	switch {
	case hello == nil:
		return session.ErrNoHello()
	case hello.GetNodeName() == "":
		return status.Error(codes.InvalidArgument, "hello.node_name: required")
	case len(hello.GetNodeName()) > maxName:
		return status.Errorf(codes.InvalidArgument, "hello.node_name: longer than %d bytes", maxName)
	}
	var until time.Time
	if n.server.cfg.Authorize != nil {
		if until, err = n.server.cfg.Authorize(ctx, hello.GetNodeName()); err != nil {
			return err
		}
	}
	return session.Serve(ctx, until, n.server.ready, n.server.ended, func(ctx context.Context) error {
		common := session.CommonCapabilities(hello.GetHello().GetCapabilities(), capabilities())
		s := &nodeStream{
			ServerStream: session.ServerStream{
				Stream: grpcStream, ServerName: n.server.cfg.ServerName, Capabilities: common,
				RemovedField: fieldRemovedDigests, MaxAckDelay: max(n.server.cfg.MaxAckDelay, 0),
			},
			server: n.server, name: hello.GetNodeName(), nameBit: nameBitOf(hello.GetNodeName()), unsupported: fromFeatures(hello.GetUnsupported()),
			client: session.Truncate(hello.GetHello().GetClient(), maxClient), connected: time.Now(),
		}
		if p, ok := peer.FromContext(ctx); ok {
			s.peer = p.Addr.String()
		}
		ctx, s.cancel = context.WithCancelCause(ctx)
		defer s.cancel(nil)
		defer n.server.removeStream(s)
		err := n.server.hub.Serve(ctx, session.Peer(hello.GetHello(), common), s, func(status func() fanout.Status) {
			s.status = status
			n.server.addStream(s)
		})
		if cause := context.Cause(ctx); status.Code(cause) == codes.Aborted {
			err = cause // replaced by a later stream
		}
		return err
	})
}

// capabilities are those of this package's servers and clients.
func capabilities() []kpng.Capability {
	return []kpng.Capability{
		kpng.Capability_CAPABILITY_DELTAS, kpng.Capability_CAPABILITY_RESUME, kpng.Capability_CAPABILITY_ACKNOWLEDGE,
	}
}

const (
	// maxName is how long the name of a node is at most, in Kubernetes.
	maxName = 253
	// maxClient is how much is kept of what a client calls itself.
	maxClient = 256
)

// maxStreamsPerNode is how many streams a node may have: an old one, of which the server does not
// know yet that it is dead, and the present one. One more ends the oldest.
const maxStreamsPerNode = 2

func replacedError() error {
	return status.Error(codes.Aborted, "later streams of this node have taken the place of this one")
}

func (s *Server) addStream(n *nodeStream) {
	if s.hub.State().Extra.cluster.Node(n.name) == nil {
		s.cfg.Logger.Warn("A client watches a node of which nobody has heard", "node", n.name, "peer", n.peer)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.streams[n.name]) >= maxStreamsPerNode {
		var oldest *nodeStream
		for o := range s.streams[n.name] {
			if oldest == nil || o.connected.Before(oldest.connected) {
				oldest = o
			}
		}
		oldest.cancel(replacedError())
		s.cfg.Logger.Warn("A node is watched by more than two clients; the oldest has to go", "node", n.name, "peer", n.peer, "oldest", oldest.peer)
		delete(s.streams[n.name], oldest)
	}
	if s.streams[n.name] == nil {
		s.streams[n.name] = map[*nodeStream]struct{}{}
	}
	s.streams[n.name][n] = struct{}{}
}

func (s *Server) removeStream(n *nodeStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams[n.name], n)
	if len(s.streams[n.name]) == 0 {
		delete(s.streams, n.name)
	}
}

// A nodeStream is one node's stream, in the words of node.proto. What each update needs
// comes first.
type nodeStream struct {
	// Only who tells the node touches these.
	sentNode                          *localsink.Node // what the node was told that it is
	node                              *localsink.Node // what it is
	object                            *watchers.Node  // by which it is that
	zone                              string
	nodesGeneration, sharedGeneration uint64 // the generations that node and zone are of

	nameBit uint64 // of the name
	server  *Server
	session.ServerStream

	name         string
	peer, client string
	unsupported  localsink.Features
	connected    time.Time
	status       func() fanout.Status
	cancel       context.CancelCauseFunc
}

// Class implements fanout.Wire: nodes of a zone are told the same.
func (n *nodeStream) Class(s *state) string {
	n.refreshNode(s)
	return n.zone
}

// refreshNode learns what the node is. The same node is the same pointer.
func (n *nodeStream) refreshNode(s *state) {
	if n.node != nil && n.nodesGeneration == s.Extra.nodesGeneration && n.sharedGeneration == s.Extra.sharedGeneration {
		return
	}
	// Of the nodes that change, nearly all are others.
	fact := s.Extra.cluster.Node(n.name)
	if n.node != nil && n.object == fact && n.sharedGeneration == s.Extra.sharedGeneration {
		n.nodesGeneration = s.Extra.nodesGeneration
		return
	}
	n.object = fact
	node, zone := n.server.resolver.Node(s.Extra.cluster, n.name)
	n.zone, n.nodesGeneration, n.sharedGeneration = zone, s.Extra.nodesGeneration, s.Extra.sharedGeneration
	if n.node == nil || !n.node.Equal(node) {
		n.node = node
	}
}

// Own implements fanout.Wire.
func (n *nodeStream) Own(old, new *state, b *batch) (pieces [][]byte) {
	n.refreshNode(new)
	if n.sentNode != n.node {
		n.sentNode = n.node
		pieces = append(pieces, codec.Piece(fieldNode, toNode(n.node)))
	}
	if old == nil {
		return append(pieces, b.Memo(newInitialOverlays).(*initialOverlays).of(new, n.name)...)
	}
	if memo := b.Memo(func() any { return newOverlayChanges(b) }).(*overlayChanges); memo.nameBits&n.nameBit != 0 {
		pieces = append(pieces, memo.byNode[n.name]...)
	}
	return pieces
}

// nameBitOf returns a number with one bit set, which stands for a name and for a few others.
func nameBitOf(name string) uint64 { return 1 << (xxhash.Sum64String(name) % 64) }

// initialOverlays are what single nodes are told as they begin with one state. For the first few,
// each is looked for; when there are more, all are found at once.
type initialOverlays struct {
	mu      sync.Mutex
	lookups int
	byNode  map[string][]serviceOverlay
}

type serviceOverlay struct {
	service localsink.ServiceName
	overlay *overlay.Overlay
}

// maxLookups is how many are looked for in the time that it takes to find all.
const maxLookups = 8

func newInitialOverlays() any { return &initialOverlays{} }

func (o *initialOverlays) of(s *state, node string) (pieces [][]byte) {
	o.mu.Lock()
	o.lookups++
	if o.lookups <= maxLookups {
		o.mu.Unlock()
		for name, i := range s.Items.All() {
			if own := overlaysOf(i)[node]; own != nil {
				pieces = append(pieces, encodeOverlay(name, own))
			}
		}
		return pieces
	}
	if o.byNode == nil {
		o.byNode = map[string][]serviceOverlay{}
		for name, i := range s.Items.All() {
			for node, own := range overlaysOf(i) {
				o.byNode[node] = append(o.byNode[node], serviceOverlay{name, own})
			}
		}
	}
	all := o.byNode[node]
	o.mu.Unlock()
	for _, o := range all {
		pieces = append(pieces, encodeOverlay(o.service, o.overlay))
	}
	return pieces
}

// overlayChanges are what single nodes are told with a batch, by node. Nearly all are told nothing,
// and see by marks that they need not look.
type overlayChanges struct {
	byNode   map[string][][]byte
	nameBits uint64
}

func newOverlayChanges(b *batch) *overlayChanges {
	out := map[string][][]byte{}
	for _, c := range b.Changed() {
		was, is := overlaysOf(c.Old), overlaysOf(c.New)
		for node, own := range is {
			if !own.Equal(was[node]) {
				out[node] = append(out[node], encodeOverlay(c.Key, own))
			}
		}
		for node := range was {
			if is[node] == nil {
				out[node] = append(out[node], encodeOverlay(c.Key, nil))
			}
		}
	}
	n := &overlayChanges{byNode: out}
	for node := range out {
		n.nameBits |= nameBitOf(node)
	}
	return n
}

// end encodes what ends an update: when its causes were asked for, and its revision.
func (s *Server) end(old, new *state) []byte {
	var times []uint64
	if old != nil {
		for _, p := range s.timesBetween(old.Revision, new.Revision) {
			for _, t := range p.triggers {
				if len(times) < maxTriggersPerRevision {
					times = append(times, uint64(t.UnixNano()))
				}
			}
		}
	}
	b := codec.Piece(fieldCommit, &kpng.Commit{Revision: new.Revision})
	if len(times) > 0 {
		b = append(codec.Fixed(fieldTriggerTimes, times), b...)
	}
	return b
}

func overlaysOf(i fanout.Item) map[string]*overlay.Overlay {
	if it, ok := i.(*serviceItem); ok {
		return it.service.Overlays()
	}
	return nil
}

// Acknowledged implements fanout.Wire.
func (n *nodeStream) Acknowledged(a fanout.Ack, sent time.Time) {
	if n.server.cfg.OnAcknowledge == nil || sent.IsZero() {
		return
	}
	out := Acknowledgement{Node: n.name, Error: a.Error, SentTime: sent, AppliedTime: time.Now().Add(-a.Age), Duration: a.Took}
	if p := n.server.timesBetween(a.Revision-1, a.Revision); len(p) > 0 {
		out.ObservedTime, out.TriggerTimes = p[0].observed, slices.Clone(p[0].triggers)
	}
	n.server.cfg.OnAcknowledge(out)
}

// Send implements fanout.Wire.
func (n *nodeStream) Send(m *fanout.Message) error {
	n.server.traffic.count(m.Size)
	return n.ServerStream.Send(m)
}
