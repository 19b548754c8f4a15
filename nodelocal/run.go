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

// Run watches a cluster and keeps sink in line with what it means for the node of
// cfg, until ctx is done; then it returns nil. It returns an error when cfg is bad
// or the watcher cannot go on; a sink that fails is tried again for ever.
//
// The sink hears nothing before the facts are complete: what an earlier process
// left in place keeps working until then. All goroutines have ended when Run
// returns. Whoever wants to see the facts as well uses [Follow] with a store.
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
			err = errors.New("ended before the facts were complete")
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

// Follow is [Run] for facts that somebody else brings into store: several nodes, or
// several sinks, may follow one store.
func Follow(ctx context.Context, store *watchers.Store, sink localsink.Sink, cfg Config) error {
	if sink == nil {
		return errors.New("nodelocal: no sink")
	}
	cfg.Unsupported |= reconciler.Unsupported(sink)
	t, err := NewResolver(store, cfg)
	if err != nil {
		return err
	}
	defer t.Close()
	for facts := store.Snapshot(); !facts.Synced(); facts = store.Snapshot() {
		select {
		case <-ctx.Done():
			return nil
		case <-facts.Newer():
		}
	}
	return reconciler.Run(ctx, t.feed, &source{table: t}, sink, t.cfg.pace())
}

// A source is a table as feed.Run sees it.
type source struct {
	table *Resolver
	facts watchers.Snapshot // of the last refresh
}

// Refresh implements feed.Source.
func (s *source) Refresh(f *reconciler.Tracker) <-chan struct{} {
	if s.facts.Snapshot != nil { // else it is the first, which has no cause
		if at, ok := s.facts.ReplacedAt(); ok {
			f.Observe(at)
		}
	}
	s.facts = s.table.Refresh()
	return s.facts.Newer()
}
