// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/internal/codec"
	"sigs.k8s.io/kpng/remote/internal/fanout"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
)

// A ServerConfig says how a server works. The zero value is ready for use behind a
// listener that only friends reach.
type ServerConfig struct {
	// Resolver configures how Services are resolved for all nodes.
	Resolver nodelocal.MultiNodeConfig
	// MinInterval is the minimum time between two updates; changes in between are
	// combined, and a change after a longer pause is sent at once. 0 means 10 ms.
	MinInterval time.Duration
	// Authorize says whether the peer of ctx may watch a node; nil lets everybody. Its
	// error goes to the peer, and should be one of gRPC's. The time, if it is not zero, is
	// when the permission ends, and the stream with it.
	Authorize func(ctx context.Context, node string) (until time.Time, err error)
	// AuthorizeInspect says whether the peer of ctx may ask the inspection service; nil
	// lets everybody. node is the node that it asks about, or empty for all.
	AuthorizeInspect func(ctx context.Context, node string) error
	// Limits are what a node may cost.
	Limits transport.StreamLimits
	// MaxAckDelay is for how long nodes may keep to themselves that they have applied
	// something, to say it of several updates together: hearing each is a third of what an
	// update costs. Failures are said at once. Zero means 500 ms, negative not at all; Limits
	// that let nodes owe less than 64 updates, or for less than four times as long, have less.
	MaxAckDelay time.Duration
	// ServerName is what the server calls itself to its clients; it is for people.
	ServerName string
	// OnAcknowledge, when not nil, is told of each acknowledgement. It must not block.
	OnAcknowledge func(Acknowledgement)
	// Logger hears what is of interest to operators; nil is silent.
	Logger *slog.Logger
}

// Acknowledgement is what a node has said of an update.
type Acknowledgement struct {
	// Node is the node's name, Peer its address.
	Node string
	// Error is why it could not apply the update; empty when it could.
	Error string
	// TriggerTimes are when changes were written to the Kubernetes API, as far as that is
	// known; Stored is when this server had computed the first of them, Sent when the update
	// was sent, Acknowledged when the node had applied it, by the age that its answer gives. Took is how long the node says
	// that applying took.
	TriggerTimes           []time.Time
	ObservedTime, SentTime time.Time
	AppliedTime            time.Time
	Duration               time.Duration
}

// A Server tells nodes what they must do for Services. Any number may live in a
// process, also on one store.
type Server struct {
	cfg      ServerConfig
	store    *watchers.Store
	resolver *nodelocal.MultiNodeResolver
	hub      *hub
	ready    chan struct{} // closed with the first state
	ended    chan struct{} // closed when Run has ended

	traffic traffic

	// Only Run touches these.
	sequence         uint64
	nodesGeneration  uint64
	sharedGeneration uint64

	mu          sync.Mutex
	streams     map[string]map[*nodeStream]struct{} // by node
	recentTimes []revisionTimes                     // the newest last
}

type (
	hub   = fanout.Hub[localsink.ServiceName, stateExtra]
	state = fanout.State[localsink.ServiceName, stateExtra]
	batch = fanout.Batch[localsink.ServiceName]
)

// stateExtra is what belongs to a state beside Services.
type stateExtra struct {
	cluster watchers.Snapshot
	// nodes and sharedGeneration count the changes of Nodes and of what all nodes have in common.
	nodesGeneration, sharedGeneration uint64
}

// A revisionTimes is when a state was made, and when its causes were asked for.
type revisionTimes struct {
	revision uint64
	observed time.Time
	triggers []time.Time
}

const (
	// maxRecentTimes is how many publications a server remembers, for latencies.
	maxRecentTimes = 4096
	// maxTriggersPerRevision bounds the times that go with one state.
	maxTriggersPerRevision = 64
	// defaultMaxAckDelay is for acknowledgements.
	defaultMaxAckDelay = 500 * time.Millisecond
	// minUnacknowledged is how many updates a client must be allowed to owe for it to acknowledge
	// several together.
	minUnacknowledged = 64
	// defaultInterval is between two states.
	defaultInterval = 10 * time.Millisecond
)

// NewServer returns a server of the nodes of store. The error names the field of cfg
// that is wrong. The server tells nothing before [Server.Run], and must be closed.
func NewServer(store *watchers.Store, cfg ServerConfig) (*Server, error) {
	fleet, err := nodelocal.NewMultiNodeResolver(store, cfg.Resolver)
	if err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.MinInterval = cmp.Or(cfg.MinInterval, defaultInterval)
	cfg.MaxAckDelay = cmp.Or(cfg.MaxAckDelay, defaultMaxAckDelay)
	s := &Server{
		cfg:      cfg,
		store:    store,
		resolver: fleet,
		ready:    make(chan struct{}),
		ended:    make(chan struct{}),
		streams:  map[string]map[*nodeStream]struct{}{},
	}
	s.hub = fanout.New(localsink.ServiceName.Compare, s.end, fanout.Limits(cfg.Limits))
	// Who may owe little, or not for long, has no time to collect.
	if limits := s.hub.Limits(); limits.Unacknowledged < minUnacknowledged {
		s.cfg.MaxAckDelay = -1
	} else {
		s.cfg.MaxAckDelay = min(s.cfg.MaxAckDelay, limits.AckTimeout/4)
	}
	return s, nil
}

// Close lets go of the store.
func (s *Server) Close() { s.resolver.Close() }

// ServerOption is what a gRPC server must be made with that a [Server] or its like is
// registered with: it lets one encoding reach many streams. Interceptors see other types
// than the protocol's in SendMsg and RecvMsg of these streams. Other services are not
// affected.
func ServerOption() grpc.ServerOption { return codec.ServerOption() }

// Register registers the service that nodes watch.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	kpng.RegisterNodeServiceServer(r, nodeService{server: s})
}

// RegisterInspect registers the service that answers people's questions.
func (s *Server) RegisterInspect(r grpc.ServiceRegistrar) {
	kpng.RegisterInspectServiceServer(r, inspectService{server: s})
}

// Ready returns a channel that is closed when the facts are complete and nodes are told.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run follows the store until ctx is done; then it ends all streams and returns nil.
// Nodes hear nothing before the facts are complete. It is called once.
func (s *Server) Run(ctx context.Context) error {
	defer close(s.ended)
	s.hub.Follow(ctx, s.cfg.MinInterval, func() <-chan struct{} {
		if facts := s.store.Snapshot(); !facts.Synced() {
			return facts.Newer()
		}
		first := s.hub.State().Revision == 0
		facts := s.refresh(time.Now())
		if first {
			close(s.ready)
		}
		return facts.Newer()
	})
	return nil
}

// refresh publishes what has changed, and returns the facts that it stands for.
func (s *Server) refresh(now time.Time) watchers.Snapshot {
	first := s.hub.State().Revision == 0
	n := s.resolver.Refresh()
	if len(n.Nodes) > 0 {
		s.nodesGeneration++
	}
	if n.AllNodes {
		s.sharedGeneration++
	}
	items := s.hub.State().Items
	for name, m := range n.Services {
		if _, was := items.Get(name); m == nil && !was {
			delete(n.Services, name) // nobody was told of it, and nobody is
		}
	}
	if !first && len(n.Services) == 0 && len(n.Nodes) == 0 && !n.AllNodes {
		return n.Snapshot
	}
	revision := s.hub.State().Revision + 1
	if !first {
		s.recordTimes(revisionTimes{revision, now, slices.Clone(n.TriggerTimes[:min(len(n.TriggerTimes), maxTriggersPerRevision)])})
	}
	s.hub.Update(stateExtra{n.Snapshot, s.nodesGeneration, s.sharedGeneration}, func(tx *diffstore.Tx[localsink.ServiceName, fanout.Item]) {
		for name, m := range n.Services {
			if m == nil {
				tx.Delete(name)
				continue
			}
			s.sequence++
			tx.Set(name, &serviceItem{service: m, sequence: s.sequence, revision: revision, observed: now})
		}
	})
	return n.Snapshot
}

func (s *Server) recordTimes(p revisionTimes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.recentTimes) >= 2*maxRecentTimes {
		s.recentTimes = append(s.recentTimes[:0], s.recentTimes[maxRecentTimes:]...)
	}
	s.recentTimes = append(s.recentTimes, p)
}

// timesBetween returns the publications after one revision and up to another.
func (s *Server) timesBetween(old, new uint64) []revisionTimes {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := len(s.recentTimes)
	for end > 0 && s.recentTimes[end-1].revision > new {
		end--
	}
	begin := end
	for begin > 0 && s.recentTimes[begin-1].revision > old {
		begin--
	}
	return append([]revisionTimes(nil), s.recentTimes[begin:end]...)
}

// An serviceItem is a Service as nodes are told of it.
type serviceItem struct {
	service  *nodelocal.ResolvedService
	sequence uint64
	revision uint64 // of the first state that has it
	observed time.Time

	mu        sync.Mutex
	encodings []*fanout.Encoding // as many as there are different common parts
}

// Sequence implements fanout.Item.
func (i *serviceItem) Sequence() uint64 { return i.sequence }

// For implements fanout.Item; a class is a zone.
func (i *serviceItem) For(zone string) *fanout.Encoding {
	common := i.service.Base(zone)
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range i.encodings {
		if e.Value == any(common) {
			return e
		}
	}
	e := encodeService(common)
	i.encodings = append(i.encodings, e)
	return e
}
