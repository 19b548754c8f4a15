// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/remote/internal/codec"
	"sigs.k8s.io/kpng/remote/internal/fanout"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
)

// A ServerConfig configures a [Server]. The zero value authorizes every client; use it only
// behind a trusted listener.
type ServerConfig struct {
	// Authorize returns nil if the peer of ctx may watch the cluster state, and otherwise an
	// error, usually a gRPC status error, which is sent to the peer. If until is not zero,
	// the authorization ends then, and the stream with it. A nil func authorizes every peer.
	// It may be called concurrently.
	Authorize func(ctx context.Context) (until time.Time, err error)
	// MinInterval is the minimum time between two updates; changes in between are
	// combined, and a change after a longer pause is sent at once. 0 means 10 ms.
	MinInterval time.Duration
	// Limits bound the resources that one client may use.
	Limits transport.StreamLimits
	// ServerName is sent to clients, for display only.
	ServerName string
	// Logger receives the start of the server and, at level debug, streams; nil discards
	// them.
	Logger *slog.Logger
}

// A Server streams the objects of a store. Several servers may use one store.
type Server struct {
	cfg    ServerConfig
	reader *diffstore.Reader[watchers.Key, watchers.Object]
	hub    *hub
	ready  chan struct{} // closed with the first state
	ended  chan struct{} // closed when Run has ended

	sequence uint64 // owned by Run
}

type (
	// The extra value of a state is the revision of the store.
	hub   = fanout.Hub[objectKey, diffstore.Revision]
	state = fanout.Snapshot[objectKey, diffstore.Revision]
	batch = fanout.Batch[objectKey]
)

const defaultInterval = 10 * time.Millisecond

// NewServer returns a server for the objects of store. It serves nothing before
// [Server.Run]; the caller must close it. An error names the invalid field of cfg.
func NewServer(store *watchers.Store, cfg ServerConfig) (*Server, error) {
	if cfg.MinInterval < 0 {
		return nil, errors.New("cluster: invalid ServerConfig: MinInterval: must not be negative")
	}
	cfg.MinInterval = cmp.Or(cfg.MinInterval, defaultInterval)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		cfg:    cfg,
		reader: store.Reader(),
		hub:    fanout.New(objectKey.compare, encodeEnd, fanout.Limits(cfg.Limits)),
		ready:  make(chan struct{}),
		ended:  make(chan struct{}),
	}, nil
}

// encodeEnd encodes the Commit that ends an update.
func encodeEnd(_, new *state) []byte {
	return codec.MessageField(fieldCommit, &kpng.Commit{Revision: new.Revision})
}

// Close releases the store. It must not be called before Run has returned.
func (s *Server) Close() error {
	s.reader.Close()
	return nil
}

// ServerOption returns an option that a gRPC server needs if a [Server] is registered with
// it. The option lets many streams send the same encoded message. Interceptors of these
// streams see types in SendMsg and RecvMsg that are not those of the protocol; other
// services are not affected.
func ServerOption() grpc.ServerOption { return codec.ServerOption() }

// Register registers ClusterService.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	kpng.RegisterClusterServiceServer(r, clusterService{server: s})
}

// Ready returns a channel that is closed when the store is synced and the server starts to
// send updates.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run follows the store until ctx ends; then it ends all streams and returns nil. Streams
// receive nothing until the store is synced. Run must be called at most once.
func (s *Server) Run(ctx context.Context) error {
	defer close(s.ended)
	s.hub.Follow(ctx, s.cfg.MinInterval, func() <-chan struct{} {
		now, changes := s.reader.Pending()
		snapshot := watchers.Snapshot{Snapshot: now}
		if !snapshot.Synced() {
			return snapshot.Newer()
		}
		first := s.hub.Snapshot().Revision == 0
		if changed := s.changedObjects(snapshot, changes); first || len(changed) > 0 {
			s.publish(snapshot, changed)
		}
		s.reader.Acknowledge(now)
		if first {
			close(s.ready)
			s.cfg.Logger.InfoContext(ctx, "Cluster state complete, serving clients", "objects", s.hub.Snapshot().Items.Len())
		}
		return snapshot.Newer()
	})
	return nil
}

// changedObjects returns the objects whose items may change, nil for deleted ones.
func (s *Server) changedObjects(snapshot watchers.Snapshot, changes iter.Seq[diffstore.Change[watchers.Key, watchers.Object]]) map[objectKey]watchers.Object {
	changed := map[objectKey]watchers.Object{}
	for c := range changes {
		key, ok := objectKeyOf(c.Key)
		switch {
		case !ok || !hasNames(c.Key):
		case !c.Deleted:
			changed[key] = c.Value
		case changed[key] == nil: // otherwise a slice has moved to another Service
			changed[key] = nil
		}
	}
	// The owner of a slice is that of its Service.
	for key := range changed {
		if key.kind != kpng.ObjectKind_OBJECT_KIND_SERVICE {
			continue
		}
		name, owner := key.service(), ownerAny
		if old := s.item(key); old != nil {
			owner = old.owner
		}
		if ownerOf(snapshot.Service(name)) == owner {
			continue
		}
		for slice := range snapshot.EndpointSlices(name) {
			if !localsink.ValidName(slice.Name) {
				continue // see hasNames
			}
			changed[objectKey{kpng.ObjectKind_OBJECT_KIND_ENDPOINT_SLICE, slice.Namespace, slice.Name, name.Origin}] = slice
		}
	}
	return changed
}

// item returns the published item of an object; nil if there is none.
func (s *Server) item(key objectKey) *objectItem {
	i, _ := s.hub.Snapshot().Items.Get(key)
	item, _ := i.(*objectItem)
	return item
}

// publish makes a new state.
func (s *Server) publish(snapshot watchers.Snapshot, changed map[objectKey]watchers.Object) {
	s.hub.Update(snapshot.Revision(), func(tx *diffstore.Tx[objectKey, fanout.Item]) {
		for key, object := range changed {
			if object == nil {
				tx.Delete(key)
				continue
			}
			s.sequence++
			item := &objectItem{key: key, sequence: s.sequence, owner: ownerAny, encoded: &encodedObject{object: object}}
			switch o := object.(type) {
			case *watchers.Service:
				item.owner = ownerOf(o)
			case *watchers.EndpointSlice:
				item.owner = ownerOf(snapshot.Service(o.Service))
			}
			if old := s.item(key); old != nil && old.encoded.object == object {
				item.encoded = old.encoded
			}
			tx.Set(key, item)
		}
	})
}
