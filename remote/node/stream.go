// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/internal/codec"
	"sigs.k8s.io/kpng/remote/internal/fanout"
	"sigs.k8s.io/kpng/remote/internal/nodestate"
	"sigs.k8s.io/kpng/remote/internal/protoconv"
	"sigs.k8s.io/kpng/remote/internal/session"
	"sigs.k8s.io/kpng/watchers"
)

// nodeService implements NodeService.
type nodeService struct {
	kpng.UnimplementedNodeServiceServer
	server *Server
}

// WatchNode implements NodeService.
func (n nodeService) WatchNode(grpcStream kpng.NodeService_WatchNodeServer) error {
	ctx := grpcStream.Context()
	first, err := session.ReceiveFirst(grpcStream.Recv, n.server.hub.Limits().HelloTimeout, n.server.ended)
	if err != nil {
		return err
	}
	hello := first.GetHello()
	switch {
	case hello == nil:
		return session.NoHelloError()
	case hello.GetNodeName() == "":
		return status.Error(codes.InvalidArgument, "hello.node_name: required")
	case len(hello.GetNodeName()) > maxNodeName:
		return status.Errorf(codes.InvalidArgument, "hello.node_name: longer than %d bytes", maxNodeName)
	}
	known, err := fromKnownNode(hello.GetKnownNode())
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "hello.known_node.%v", err)
	}
	var until time.Time
	if n.server.cfg.Authorize != nil {
		if until, err = n.server.cfg.Authorize(ctx, hello.GetNodeName()); err != nil {
			return err
		}
	}
	return session.Serve(ctx, until, n.server.ready, n.server.ended, func(ctx context.Context) error {
		return n.server.serveNode(ctx, grpcStream, hello, known)
	})
}

// serveNode sends updates to a node until its stream ends. known is the known_node of
// hello.
func (s *Server) serveNode(
	ctx context.Context, grpcStream kpng.NodeService_WatchNodeServer, hello *kpng.NodeHello, known *watchers.Node,
) error {
	common := session.CommonCapabilities(hello.GetHello().GetCapabilities(), capabilities())
	n := &nodeStream{
		ServerStream: session.ServerStream{
			Stream: grpcStream, ServerName: s.cfg.ServerName, Capabilities: common,
			RemovedField: fieldRemovedDigests, MaxAckDelay: max(s.cfg.MaxAckDelay, 0),
		},
		server: s, name: hello.GetNodeName(), nameBit: nameBitOf(hello.GetNodeName()), unsupported: fromFeatures(hello.GetUnsupported()),
		client: session.Truncate(hello.GetHello().GetClient(), maxClientName), connected: time.Now(),
		origins: slices.Contains(common, kpng.Capability_CAPABILITY_ORIGINS),
	}
	n.known.Remember(s.withKnownZone(known))
	if p, ok := peer.FromContext(ctx); ok {
		n.peer = p.Addr.String()
	}
	ctx, n.cancel = context.WithCancelCause(ctx)
	defer n.cancel(nil)
	defer s.removeStream(n)
	err := s.hub.Serve(ctx, session.Peer(hello.GetHello(), common), n, func(status func() fanout.Status) {
		n.status = status
		s.addStream(n)
	})
	if cause := context.Cause(ctx); status.Code(cause) == codes.Aborted {
		err = cause // see replacedError
	}
	return err
}

// withKnownZone returns known without its zone if no Node is in that zone. The nodes of a
// zone share updates, so a client must not be able to make zones.
func (s *Server) withKnownZone(known *watchers.Node) *watchers.Node {
	if known == nil || known.Zone == "" {
		return known
	}
	for object := range s.hub.Snapshot().Extra.cluster.Nodes() {
		if object.Zone == known.Zone {
			return known
		}
	}
	out := *known
	out.Zone = ""
	return &out
}

// capabilities returns those of this package's servers and clients.
func capabilities() []kpng.Capability {
	return []kpng.Capability{
		kpng.Capability_CAPABILITY_DELTAS, kpng.Capability_CAPABILITY_RESUME, kpng.Capability_CAPABILITY_ACKNOWLEDGE,
		kpng.Capability_CAPABILITY_ORIGINS,
	}
}

const (
	// maxNodeName is the maximum length of a Node's name in Kubernetes, in bytes.
	maxNodeName = 253
	// maxClientName bounds the stored part of Hello.client, in bytes.
	maxClientName = 256
)

// maxStreamsPerNode allows for the current stream of a node and an old one whose connection
// has failed without the server's noticing. One more closes the oldest.
const maxStreamsPerNode = 2

// replacedError returns the error of a stream that exceeds maxStreamsPerNode.
func replacedError() error {
	return status.Error(codes.Aborted, "replaced by later streams of the same node")
}

func (s *Server) addStream(n *nodeStream) {
	if s.hub.Snapshot().Extra.cluster.Node(n.name) == nil {
		s.warn("Client watches unknown node", n, "peer", n.peer)
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
		s.warn("Too many streams of one node, closing the oldest", n, "peer", n.peer, "oldestPeer", oldest.peer, "limit", maxStreamsPerNode)
		delete(s.streams[n.name], oldest)
	}
	if s.streams[n.name] == nil {
		s.streams[n.name] = map[*nodeStream]struct{}{}
	}
	s.streams[n.name][n] = struct{}{}
}

// warn logs a message about a node once in warningPeriod.
func (s *Server) warn(message string, n *nodeStream, attrs ...any) {
	suppressed, ok := s.warnings.Allow([2]string{message, n.name})
	if !ok {
		return
	}
	attrs = append(attrs, "node", n.name)
	if suppressed > 0 {
		attrs = append(attrs, "suppressed", suppressed)
	}
	s.cfg.Logger.Warn(message, attrs...) //nolint:sloglint // the callers pass constants
}

func (s *Server) removeStream(n *nodeStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams[n.name], n)
	if len(s.streams[n.name]) == 0 {
		delete(s.streams, n.name)
	}
}

// A nodeStream is the stream of one node, as a fanout.Conn. The fields that each update
// needs come first, so that they share cache lines.
type nodeStream struct {
	// Owned by the goroutine that sends.
	sentNode         *localsink.Node // last sent to the node
	node             *localsink.Node // current
	object           *watchers.Node  // from which node was computed; nil if it is missing
	known            nodelocal.KnownNode
	zone             string
	class            string // classOf(zone, origins)
	nodesGeneration  uint64 // of node and zone, see stateExtra
	sharedGeneration uint64

	nameBit uint64
	server  *Server
	session.ServerStream

	// Constant after the stream has started.
	name         string
	peer, client string
	unsupported  localsink.Features
	origins      bool // the client receives objects that are not Services
	connected    time.Time
	status       func() fanout.Status
	cancel       context.CancelCauseFunc
}

// Class implements fanout.Conn: nodes of the same zone whose clients have the same capabilities
// share their updates.
func (n *nodeStream) Class(s *state) string {
	n.refreshNode(s)
	return n.class
}

// refreshNode computes node and zone for a state. An unchanged node keeps its pointer.
func (n *nodeStream) refreshNode(s *state) {
	if n.node != nil && n.nodesGeneration == s.Extra.nodesGeneration && n.sharedGeneration == s.Extra.sharedGeneration {
		return
	}
	// A new generation is usually caused by another node.
	object := s.Extra.cluster.Node(n.name)
	if n.node != nil && n.object == object && n.sharedGeneration == s.Extra.sharedGeneration {
		n.nodesGeneration = s.Extra.nodesGeneration
		return
	}
	n.object = object
	n.known.Remember(object)
	node, zone := n.server.resolver.Node(s.Extra.cluster, n.name, &n.known)
	if n.node == nil || !n.node.Equal(node) || n.zone != zone {
		n.node = node
	}
	if n.class == "" || n.zone != zone {
		n.class = classOf(zone, n.origins)
	}
	n.zone, n.nodesGeneration, n.sharedGeneration = zone, s.Extra.nodesGeneration, s.Extra.sharedGeneration
}

// Overlay implements fanout.Conn: the properties of the node and its overlays.
func (n *nodeStream) Overlay(old, new *state, b *batch) (pieces [][]byte) {
	n.refreshNode(new)
	if n.sentNode != n.node {
		n.sentNode = n.node
		node := nodestate.Node(n.node)
		node.Zone = protoconv.Text(n.zone)
		pieces = append(pieces, codec.MessageField(fieldNode, node))
	}
	if old == nil {
		initial := b.Memo(newInitialOverlays).(*initialOverlays) //nolint:forcetypeassert // the result of newInitialOverlays
		return append(pieces, initial.encode(new, n.name, n.origins)...)
	}
	changes := b.Memo(func() any { return newOverlayChanges(b) }).(*overlayChanges) //nolint:forcetypeassert // the result of newOverlayChanges
	if changes.nameBits&n.nameBit != 0 {
		pieces = append(pieces, changes.services[n.name]...)
		if n.origins {
			pieces = append(pieces, changes.others[n.name]...)
		}
	}
	return pieces
}

// Acknowledged implements fanout.Conn.
func (n *nodeStream) Acknowledged(a fanout.Ack, sent time.Time) {
	n.server.wakeProgress()
	if n.server.cfg.OnAcknowledge == nil || sent.IsZero() {
		return
	}
	out := Acknowledgement{Node: n.name, Error: a.Error, SentTime: sent, AppliedTime: time.Now().Add(-a.Age), Duration: a.Duration}
	times := n.server.revisions.between(a.Revision-1, a.Revision)
	// A revision from before the stream may have been applied long ago: the client has resumed with it.
	if len(times) > 0 && !times[0].published.Before(n.connected) {
		out.PublishedTime, out.TriggerTimes = times[0].published, slices.Clone(times[0].triggers)
	}
	n.server.cfg.OnAcknowledge(out)
}

// Send implements fanout.Conn.
func (n *nodeStream) Send(m *fanout.Message) error {
	n.server.traffic.count(m.Size)
	return n.ServerStream.Send(m)
}
