// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/internal/codec"
	"sigs.k8s.io/kpng/remote/internal/fanout"
	"sigs.k8s.io/kpng/remote/internal/loglimit"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
)

// A ServerConfig configures a [Server]. The zero value authorizes every client; use it only
// behind a trusted listener.
type ServerConfig struct {
	// Resolver configures how Services are resolved for all nodes.
	Resolver nodelocal.MultiNodeConfig
	// MinInterval is the minimum time between two updates; changes in between are
	// combined, and a change after a longer pause is sent at once. 0 means 10 ms.
	MinInterval time.Duration
	// Authorize returns nil if the peer of ctx may watch a node, and otherwise an error,
	// usually a gRPC status error, which is sent to the peer. If until is not zero, the
	// authorization ends then, and the stream with it. A nil func authorizes every peer. It
	// may be called concurrently.
	Authorize func(ctx context.Context, node string) (until time.Time, err error)
	// AuthorizeInspect returns nil if the peer of ctx may call InspectService for a node, or
	// for all nodes if node is empty, and otherwise an error. A nil func authorizes every
	// peer. It may be called concurrently.
	AuthorizeInspect func(ctx context.Context, node string) error
	// Limits bound the resources that one client may use.
	Limits transport.StreamLimits
	// MaxAckDelay is the maximum delay before a node acknowledges an applied update. The
	// delay lets nodes acknowledge several updates in one message; receiving a message is
	// a third of the cost of an update. Nodes acknowledge failures at once. 0 means 500 ms,
	// a negative value no delay. The server uses no delay if Limits allows fewer than 64
	// unacknowledged updates, and at most a quarter of the acknowledgement timeout in Limits.
	MaxAckDelay time.Duration
	// ServerName is sent to clients, for display only.
	ServerName string
	// OnAcknowledge, if not nil, is called for each acknowledgement of a node. It must not
	// block, and may be called concurrently.
	OnAcknowledge func(Acknowledgement)
	// Logger receives unusual streams, such as those of unknown nodes; nil discards them.
	Logger *slog.Logger
}

// Acknowledgement describes an update that a node has applied or failed to apply. Times are
// zero and TriggerTimes empty if unknown.
type Acknowledgement struct {
	// Node is the name of the node.
	Node string
	// Error is the reason of the failure; empty if the node has applied the update.
	Error string
	// TriggerTimes are the times at which the changes were written to the Kubernetes API, at
	// most 64.
	TriggerTimes []time.Time
	// PublishedTime is when the server published the change, SentTime when it sent the
	// update, and AppliedTime when the node had applied it, by the clock of the server.
	// PublishedTime is zero, and TriggerTimes is empty, if that was before the node connected:
	// the node may have applied the change long ago.
	PublishedTime, SentTime, AppliedTime time.Time
	// Duration is how long the node took to apply the update, by its own clock.
	Duration time.Duration
}

// A Server streams the desired state of nodes. Several servers may use one store.
type Server struct {
	cfg       ServerConfig
	store     *watchers.Store
	resolver  *nodelocal.MultiNodeResolver
	hub       *hub
	ready     chan struct{} // closed with the first state
	ended     chan struct{} // closed when Run has ended
	traffic   traffic
	revisions revisionLog
	warnings  *loglimit.Limiter // of lines that clients cause

	// Owned by Run.
	sequence         uint64
	nodesGeneration  uint64
	sharedGeneration uint64

	mu      sync.Mutex
	streams map[string]map[*nodeStream]struct{} // by node name

	progress progressState
}

// A progressState is what [Server.Progress] returns.
type progressState struct {
	mu       sync.Mutex
	resolved watchers.Snapshot
	newer    chan struct{} // nil if no caller waits
	awaited  atomic.Bool   // reports whether newer is not nil, without mu
}

type (
	hub   = fanout.Hub[localsink.ServiceName, stateExtra]
	state = fanout.Snapshot[localsink.ServiceName, stateExtra]
	batch = fanout.Batch[localsink.ServiceName]
)

// stateExtra is the part of a published state that is not in its items.
type stateExtra struct {
	cluster watchers.Snapshot
	// nodesGeneration counts changes of Nodes, sharedGeneration changes of properties that
	// all nodes have, such as the networks of Services.
	nodesGeneration, sharedGeneration uint64
}

const (
	defaultMaxAckDelay = 500 * time.Millisecond
	defaultInterval    = 10 * time.Millisecond
	// minUnacknowledged is the number of unacknowledged updates that a client needs to
	// acknowledge several of them together.
	minUnacknowledged = 64
	// warningPeriod is the time in which an event of one node is logged once, and maxWarnings
	// the maximum number of these lines in it.
	warningPeriod = 10 * time.Minute
	maxWarnings   = 100
)

// NewServer returns a server for the nodes of the cluster in store. It serves nothing
// before [Server.Run]; the caller must close it. An error names the invalid field of cfg.
func NewServer(store *watchers.Store, cfg ServerConfig) (*Server, error) {
	if cfg.MinInterval < 0 {
		return nil, errors.New("node: invalid ServerConfig: MinInterval: must not be negative")
	}
	resolver, err := nodelocal.NewMultiNodeResolver(store, cfg.Resolver)
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
		resolver: resolver,
		ready:    make(chan struct{}),
		ended:    make(chan struct{}),
		streams:  map[string]map[*nodeStream]struct{}{},
		warnings: loglimit.New(warningPeriod, maxWarnings),
	}
	s.hub = fanout.New(localsink.ServiceName.Compare, s.encodeEnd, fanout.Limits(cfg.Limits))
	// A delay must not make a client exceed the limits.
	if limits := s.hub.Limits(); limits.Unacknowledged < minUnacknowledged {
		s.cfg.MaxAckDelay = -1
	} else {
		s.cfg.MaxAckDelay = min(s.cfg.MaxAckDelay, limits.AckTimeout/4)
	}
	return s, nil
}

// Close releases the store. It must not be called before Run has returned.
func (s *Server) Close() error {
	return s.resolver.Close()
}

// ServerOption returns an option that a gRPC server needs if a [Server] is registered with
// it. The option lets many streams send the same encoded message. Interceptors of these
// streams see types in SendMsg and RecvMsg that are not those of the protocol; other
// services are not affected.
func ServerOption() grpc.ServerOption { return codec.ServerOption() }

// Register registers NodeService.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	kpng.RegisterNodeServiceServer(r, nodeService{server: s})
}

// RegisterInspect registers InspectService.
func (s *Server) RegisterInspect(r grpc.ServiceRegistrar) {
	kpng.RegisterInspectServiceServer(r, inspectService{server: s})
}

// Ready returns a channel that is closed when the store is synced and the server starts to
// send updates.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run follows the store until ctx ends; then it ends all streams and returns nil. Streams
// receive nothing until the store is synced. Run must be called at most once.
func (s *Server) Run(ctx context.Context) error {
	defer close(s.ended)
	s.hub.Follow(ctx, s.cfg.MinInterval, func() <-chan struct{} {
		if snapshot := s.store.Snapshot(); !snapshot.Synced() {
			return snapshot.Newer()
		}
		first := s.hub.Snapshot().Revision == 0
		snapshot := s.publish(time.Now())
		s.setResolved(snapshot)
		if first {
			close(s.ready)
		}
		return snapshot.Newer()
	})
	return nil
}

// publish makes a new state of the changes since the last one, if there are any, and
// returns the snapshot that has been resolved.
func (s *Server) publish(now time.Time) watchers.Snapshot {
	first := s.hub.Snapshot().Revision == 0
	changes := s.resolver.Refresh()
	if len(changes.Nodes) > 0 {
		s.nodesGeneration++
	}
	if changes.AllNodes {
		s.sharedGeneration++
	}
	items := s.hub.Snapshot().Items
	for name, service := range changes.Services {
		if _, published := items.Get(name); service == nil && !published {
			delete(changes.Services, name) // empty before and after
		}
	}
	if !first && len(changes.Services) == 0 && len(changes.Nodes) == 0 && !changes.AllNodes {
		return changes.Snapshot
	}
	revision := s.hub.Snapshot().Revision + 1
	if !first {
		triggers := changes.TriggerTimes[:min(len(changes.TriggerTimes), maxTriggersPerRevision)]
		s.revisions.add(revisionTimes{revision, now, slices.Clone(triggers)})
	}
	s.hub.Update(stateExtra{changes.Snapshot, s.nodesGeneration, s.sharedGeneration}, func(tx *diffstore.Tx[localsink.ServiceName, fanout.Item]) {
		for name, service := range changes.Services {
			if service == nil {
				tx.Delete(name)
				continue
			}
			s.sequence++
			tx.Set(name, &serviceItem{service: service, sequence: s.sequence, revision: revision, published: now})
		}
	})
	return changes.Snapshot
}

// encodeEnd encodes the end of an update from old to new: its trigger times and Commit. old
// is nil at the start of a stream.
func (s *Server) encodeEnd(old, new *state) []byte {
	var triggers []uint64
	if old != nil {
		for _, times := range s.revisions.between(old.Revision, new.Revision) {
			for _, t := range times.triggers {
				if len(triggers) < maxTriggersPerRevision {
					triggers = append(triggers, uint64(t.UnixNano()))
				}
			}
		}
	}
	b := codec.MessageField(fieldCommit, &kpng.Commit{Revision: new.Revision})
	if len(triggers) > 0 {
		b = append(codec.Fixed64Field(fieldTriggerTimes, triggers), b...)
	}
	return b
}
