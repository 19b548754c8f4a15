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
	s *Server
}

// WatchNode serves one node's stream.
func (n nodeService) WatchNode(grpcStream kpng.NodeService_WatchNodeServer) error {
	ctx := grpcStream.Context()
	first, err := session.First(grpcStream.Recv, n.s.hub.Limits().HelloTimeout, n.s.ended)
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
	if n.s.cfg.Authorize != nil {
		if until, err = n.s.cfg.Authorize(ctx, hello.GetNodeName()); err != nil {
			return err
		}
	}
	return session.Serve(ctx, until, n.s.ready, n.s.ended, func(ctx context.Context) error {
		common := session.Common(hello.GetHello().GetCapabilities(), capabilities())
		s := &nodeStream{
			Words: session.Words{
				Stream: grpcStream, Server: n.s.cfg.ServerName, Capabilities: common,
				UnwantedField: fieldUnwanted, AckWithin: max(n.s.cfg.MaxAckDelay, 0),
			},
			server: n.s, name: hello.GetNodeName(), mark: markOf(hello.GetNodeName()), lacks: fromFeatures(hello.GetUnsupported()),
			client: session.Cut(hello.GetHello().GetClient(), maxClient), since: time.Now(),
		}
		if p, ok := peer.FromContext(ctx); ok {
			s.peer = p.Addr.String()
		}
		ctx, s.end = context.WithCancelCause(ctx)
		defer s.end(nil)
		defer n.s.forget(s)
		err := n.s.hub.Serve(ctx, session.Peer(hello.GetHello(), common), s, func(status func() fanout.Status) {
			s.status = status
			n.s.meet(s)
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

// maxStreams is how many streams a node may have: an old one, of which the server does not
// know yet that it is dead, and the present one. One more ends the oldest.
const maxStreams = 2

func errReplaced() error {
	return status.Error(codes.Aborted, "later streams of this node have taken the place of this one")
}

func (s *Server) meet(n *nodeStream) {
	if s.hub.State().Extra.facts.Node(n.name) == nil {
		s.cfg.Logger.Warn("A client watches a node of which nobody has heard", "node", n.name, "peer", n.peer)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.streams[n.name]) >= maxStreams {
		var oldest *nodeStream
		for o := range s.streams[n.name] {
			if oldest == nil || o.since.Before(oldest.since) {
				oldest = o
			}
		}
		oldest.end(errReplaced())
		s.cfg.Logger.Warn("A node is watched by more than two clients; the oldest has to go", "node", n.name, "peer", n.peer, "oldest", oldest.peer)
		delete(s.streams[n.name], oldest)
	}
	if s.streams[n.name] == nil {
		s.streams[n.name] = map[*nodeStream]struct{}{}
	}
	s.streams[n.name][n] = struct{}{}
}

func (s *Server) forget(n *nodeStream) {
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
	told            *localsink.Node // what the node was told that it is
	node            *localsink.Node // what it is
	fact            *watchers.Node  // by which it is that
	zone            string
	nodes, networks uint64 // the generations that node and zone are of

	mark   uint64 // of the name
	server *Server
	session.Words

	name         string
	peer, client string
	lacks        localsink.Features
	since        time.Time
	status       func() fanout.Status
	end          context.CancelCauseFunc
}

// Class implements fanout.Wire: nodes of a zone are told the same.
func (n *nodeStream) Class(s *state) string {
	n.see(s)
	return n.zone
}

// see learns what the node is. The same node is the same pointer.
func (n *nodeStream) see(s *state) {
	if n.node != nil && n.nodes == s.Extra.nodes && n.networks == s.Extra.networks {
		return
	}
	// Of the nodes that change, nearly all are others.
	fact := s.Extra.facts.Node(n.name)
	if n.node != nil && n.fact == fact && n.networks == s.Extra.networks {
		n.nodes = s.Extra.nodes
		return
	}
	n.fact = fact
	node, zone := n.server.fleet.Node(s.Extra.facts, n.name)
	n.zone, n.nodes, n.networks = zone, s.Extra.nodes, s.Extra.networks
	if n.node == nil || !n.node.Equal(node) {
		n.node = node
	}
}

// Own implements fanout.Wire.
func (n *nodeStream) Own(old, new *state, b *batch) (pieces [][]byte) {
	n.see(new)
	if n.told != n.node {
		n.told = n.node
		pieces = append(pieces, codec.Piece(fieldNode, toNode(n.node)))
	}
	if old == nil {
		return append(pieces, b.Memo(newOwns).(*owns).of(new, n.name)...)
	}
	if memo := b.Memo(func() any { return newNews(b) }).(*news); memo.marks&n.mark != 0 {
		pieces = append(pieces, memo.of[n.name]...)
	}
	return pieces
}

// markOf returns a number with one bit set, which stands for a name and for a few others.
func markOf(name string) uint64 { return 1 << (xxhash.Sum64String(name) % 64) }

// owns are what single nodes are told as they begin with one state. For the first few,
// each is looked for; when there are more, all are found at once.
type owns struct {
	mu    sync.Mutex
	asked int
	all   map[string][]owned
}

type owned struct {
	service localsink.ServiceName
	own     *overlay.Overlay
}

// fewOwns is how many are looked for in the time that it takes to find all.
const fewOwns = 8

func newOwns() any { return &owns{} }

func (o *owns) of(s *state, node string) (pieces [][]byte) {
	o.mu.Lock()
	o.asked++
	if o.asked <= fewOwns {
		o.mu.Unlock()
		for name, i := range s.Items.All() {
			if own := nodesOf(i)[node]; own != nil {
				pieces = append(pieces, encodeOwn(name, own))
			}
		}
		return pieces
	}
	if o.all == nil {
		o.all = map[string][]owned{}
		for name, i := range s.Items.All() {
			for node, own := range nodesOf(i) {
				o.all[node] = append(o.all[node], owned{name, own})
			}
		}
	}
	all := o.all[node]
	o.mu.Unlock()
	for _, o := range all {
		pieces = append(pieces, encodeOwn(o.service, o.own))
	}
	return pieces
}

// news are what single nodes are told with a batch, by node. Nearly all are told nothing,
// and see by marks that they need not look.
type news struct {
	of    map[string][][]byte
	marks uint64
}

func newNews(b *batch) *news {
	out := map[string][][]byte{}
	for _, c := range b.Changed() {
		was, is := nodesOf(c.Old), nodesOf(c.New)
		for node, own := range is {
			if !own.Equal(was[node]) {
				out[node] = append(out[node], encodeOwn(c.Key, own))
			}
		}
		for node := range was {
			if is[node] == nil {
				out[node] = append(out[node], encodeOwn(c.Key, nil))
			}
		}
	}
	n := &news{of: out}
	for node := range out {
		n.marks |= markOf(node)
	}
	return n
}

// end encodes what ends an update: when its causes were asked for, and its revision.
func (s *Server) end(old, new *state) []byte {
	var times []uint64
	if old != nil {
		for _, p := range s.since(old.Revision, new.Revision) {
			for _, t := range p.requested {
				if len(times) < maxRequested {
					times = append(times, uint64(t.UnixNano()))
				}
			}
		}
	}
	b := codec.Piece(fieldCommit, &kpng.Commit{Revision: new.Revision})
	if len(times) > 0 {
		b = append(codec.Fixed(fieldTriggered, times), b...)
	}
	return b
}

func nodesOf(i fanout.Item) map[string]*overlay.Overlay {
	if it, ok := i.(*item); ok {
		return it.meaning.Overlays()
	}
	return nil
}

// Acknowledged implements fanout.Wire.
func (n *nodeStream) Acknowledged(a fanout.Ack, sent time.Time) {
	if n.server.cfg.OnAcknowledge == nil || sent.IsZero() {
		return
	}
	out := Acknowledgement{Node: n.name, Error: a.Error, SentTime: sent, AppliedTime: time.Now().Add(-a.Age), Duration: a.Took}
	if p := n.server.since(a.Revision-1, a.Revision); len(p) > 0 {
		out.ObservedTime, out.TriggerTimes = p[0].at, slices.Clone(p[0].requested)
	}
	n.server.cfg.OnAcknowledge(out)
}

// Send implements fanout.Wire.
func (n *nodeStream) Send(m *fanout.Message) error {
	n.server.traffic.count(m.Size)
	return n.Words.Send(m)
}
