// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/watchers"
)

// Run watches a cluster and keeps sink up to date with the desired state of the node of cfg
// until ctx is done; then it returns nil. It returns an error when cfg is invalid or the
// watcher fails. Failed calls of sink are repeated without limit.
//
// Run does not call sink before the watcher has completed its initial sync: the rules of an
// earlier process stay in place until then. All goroutines have ended when Run returns, and
// it may be called again then. To read the cluster state as well, use [Follow] with a store.
func Run(ctx context.Context, w watchers.Watcher, sink localsink.Sink, cfg Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	store := watchers.NewStore()
	watched := make(chan error, 1)
	go func() {
		err := w.Run(ctx, store)
		switch {
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			err = nil
		case err == nil && ctx.Err() == nil && !store.Snapshot().Synced():
			err = errors.New("ended before the initial sync was complete")
		}
		if err != nil {
			cancel()
		}
		watched <- err
	}()
	err := Follow(ctx, store, sink, cfg)
	cancel()
	if watchErr := <-watched; watchErr != nil {
		err = errors.Join(err, fmt.Errorf("nodelocal: watcher: %w", watchErr))
	}
	return err
}

// Follow is [Run] for a store that the caller fills. Several calls, for several nodes or
// sinks, may follow one store at the same time.
func Follow(ctx context.Context, store *watchers.Store, sink localsink.Sink, cfg Config) (err error) {
	if sink == nil {
		return errors.New("nodelocal: sink: must not be nil")
	}
	cfg.Unsupported |= reconciler.Unsupported(sink)
	r, err := NewResolver(store, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for snapshot := store.Snapshot(); !snapshot.Synced(); snapshot = store.Snapshot() {
		select {
		case <-ctx.Done():
			return nil
		case <-snapshot.Newer():
		}
	}
	return reconciler.Run(ctx, r.tracker, &source{resolver: r}, sink, r.cfg.pace())
}

// A source is a Resolver as [reconciler.Run] uses it.
type source struct {
	resolver *Resolver
	last     watchers.Snapshot // of the last refresh
}

// Refresh implements [reconciler.Source].
func (s *source) Refresh(tracker *reconciler.Tracker) <-chan struct{} {
	if s.last.Snapshot != nil { // the first update has no observed time
		if replaced, ok := s.last.ReplacedAt(); ok {
			tracker.SetObservedTime(replaced)
		}
	}
	s.last = s.resolver.Refresh()
	return s.last.Newer()
}
