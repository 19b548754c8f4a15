// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/remote/internal/codec"
	"sigs.k8s.io/kpng/remote/internal/fanout"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
)

// A ServerConfig says how a server works. The zero value is ready for use behind a
// listener that only friends reach.
type ServerConfig struct {
	// Authorize says whether the peer of ctx may watch the facts; nil lets everybody. Its
	// error goes to the peer, and should be one of gRPC's. The time, if it is not zero, is
	// when the permission ends, and the stream with it.
	Authorize func(ctx context.Context) (until time.Time, err error)
	// MinInterval is the least time between two states that clients are told; changes in
	// between are taken together. Zero means 10 ms, and a change that comes alone does not
	// wait.
	MinInterval time.Duration
	// Limits are what a client may cost.
	Limits transport.StreamLimits
	// ServerName is what the server calls itself to its clients; it is for people.
	ServerName string
	// Logger hears what is of interest to operators; nil is silent.
	Logger *slog.Logger
}

// A Server tells the facts of a store. Any number may live in a process, also on one
// store.
type Server struct {
	cfg    ServerConfig
	reader *diffstore.Reader[watchers.Key, watchers.Object]
	hub    *hub
	ready  chan struct{} // closed with the first state
	ended  chan struct{} // closed when Run has ended

	sequence uint64 // only Run touches it
}

type (
	// A state has the revision of the facts in the store beside the items.
	hub   = fanout.Hub[objectKey, diffstore.Revision]
	state = fanout.State[objectKey, diffstore.Revision]
	batch = fanout.Batch[objectKey]
)

// defaultInterval is between two states.
const defaultInterval = 10 * time.Millisecond

// NewServer returns a server of the facts of store. The error names the field of cfg that
// is wrong. The server tells nothing before [Server.Run], and must be closed.
func NewServer(store *watchers.Store, cfg ServerConfig) (*Server, error) {
	if cfg.MinInterval < 0 {
		return nil, errors.New("remote: bad ServerConfig: MinInterval: must not be negative")
	}
	cfg.MinInterval = cmp.Or(cfg.MinInterval, defaultInterval)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		cfg:    cfg,
		reader: store.Reader(),
		hub:    fanout.New(objectKey.compare, end, fanout.Limits(cfg.Limits)),
		ready:  make(chan struct{}),
		ended:  make(chan struct{}),
	}, nil
}

// end encodes what ends an update.
func end(_, new *state) []byte {
	return codec.Piece(fieldCommit, &kpng.Commit{Revision: new.Revision})
}

// Close lets go of the store.
func (s *Server) Close() { s.reader.Close() }

// ServerOption is what a gRPC server must be made with that a [Server] or its like is
// registered with: it lets one encoding reach many streams. Interceptors see other types
// than the protocol's in SendMsg and RecvMsg of these streams. Other services are not
// affected.
func ServerOption() grpc.ServerOption { return codec.ServerOption() }

// Register registers the service that clients watch.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	kpng.RegisterClusterServiceServer(r, clusterService{server: s})
}

// Ready returns a channel that is closed when the facts are complete and clients are told.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run follows the store until ctx is done; then it ends all streams and returns nil.
// Clients hear nothing before the facts are complete. It is called once.
func (s *Server) Run(ctx context.Context) error {
	defer close(s.ended)
	s.hub.Follow(ctx, s.cfg.MinInterval, func() <-chan struct{} {
		now, changes := s.reader.Pending()
		facts := watchers.Snapshot{Snapshot: now}
		if !facts.Synced() {
			return facts.Newer()
		}
		first := s.hub.State().Revision == 0
		if changed := s.changed(facts, changes); first || len(changed) > 0 {
			s.publish(facts, changed)
		}
		s.reader.Acknowledge(now)
		if first {
			close(s.ready)
			s.cfg.Logger.InfoContext(ctx, "The facts are complete and told to clients", "facts", s.hub.State().Items.Len())
		}
		return facts.Newer()
	})
	return nil
}

// changed returns the facts that streams may have to be told, nil for those that are
// gone.
func (s *Server) changed(facts watchers.Snapshot, changes func(func(diffstore.Change[watchers.Key, watchers.Object]) bool)) map[objectKey]watchers.Object {
	out := map[objectKey]watchers.Object{}
	for c := range changes {
		key, ok := objectKeyOf(c.Key)
		switch {
		case !ok || !hasNames(c.Key):
		case !c.Deleted:
			out[key] = c.Value
		case out[key] == nil: // or else a slice has moved
			out[key] = nil
		}
	}
	// Whose a slice is depends on its Service.
	for key := range out {
		if key.kind != kpng.ObjectKind_OBJECT_KIND_SERVICE {
			continue
		}
		name, owner := watchers.ServiceName{Namespace: key.namespace, Name: key.name}, ownerAny
		if old := s.item(key); old != nil {
			owner = old.owner
		}
		if ownerOf(facts.Service(name)) == owner {
			continue
		}
		for slice := range facts.EndpointSlices(name) {
			out[objectKey{kpng.ObjectKind_OBJECT_KIND_ENDPOINT_SLICE, slice.Namespace, slice.Name}] = slice
		}
	}
	return out
}

// item returns what streams are told of a fact at present, or nil.
func (s *Server) item(key objectKey) *objectItem {
	i, _ := s.hub.State().Items.Get(key)
	it, _ := i.(*objectItem)
	return it
}

func (s *Server) publish(facts watchers.Snapshot, changed map[objectKey]watchers.Object) {
	s.hub.Update(facts.Revision(), func(tx *diffstore.Tx[objectKey, fanout.Item]) {
		for key, fact := range changed {
			if fact == nil {
				tx.Delete(key)
				continue
			}
			s.sequence++
			it := &objectItem{key: key, sequence: s.sequence, owner: ownerAny, encoded: &encodedObject{object: fact}}
			switch f := fact.(type) {
			case *watchers.Service:
				it.owner = ownerOf(f)
			case *watchers.EndpointSlice:
				it.owner = ownerOf(facts.Service(f.Service))
			}
			if old := s.item(key); old != nil && old.encoded.object == fact {
				it.encoded = old.encoded
			}
			tx.Set(key, it)
		}
	})
}
