// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"sigs.k8s.io/kpng/watchers/internal/valid"
)

// Delays before a source that has failed runs again. The delay doubles from the first to the
// second with each failure, and starts again after a Run that lasted longer than the second.
const (
	minRetryDelay = time.Second
	maxRetryDelay = time.Minute
)

// JoinConfig configures [Join]. The zero value is valid.
type JoinConfig struct {
	// Logger receives a warning when a source fails and when several sources define an
	// object, and an information when each source is synced. nil disables logging.
	Logger *slog.Logger
}

// A Source is one of the watchers that [Join] combines.
type Source struct {
	// Name identifies the source in Problems, errors and logs. The sources of a Join have
	// different names, which localsink.ValidName accepts.
	Name string
	// Watcher must not be used elsewhere while the joined watcher runs.
	Watcher Watcher
}

// A Joined is a [Watcher] of several sources. See [Join].
type Joined struct {
	sources []Source
	logger  *slog.Logger
	// merger holds the objects of the sources of the last Run. Only Run uses it. It is nil
	// before the first Run, and always with one source.
	merger *merger
}

var _ Watcher = (*Joined)(nil)

// Join returns a watcher that writes the objects of all sources into one store. Sources are
// listed in order of precedence: an object that several of them define is that of the first,
// with a [Problem] that names the others. When the first deletes it, that of the next
// appears. EndpointSlices of equal namespace and name are the same object, even if their
// Services differ, as in the Kubernetes API.
//
// Each source writes into a store of its own, and each of its transactions becomes one
// transaction of the joined store. Objects are shared. Only the watcher of a source deletes
// its objects, so a source that restarts, fails or lists its objects again does not affect
// those of the others. One source writes directly into the joined store.
func Join(cfg JoinConfig, sources ...Source) (*Joined, error) {
	if len(sources) == 0 {
		return nil, errors.New("watchers: Join: sources: at least one is required")
	}
	names := map[string]bool{}
	for i, s := range sources {
		if failure := valid.Name(s.Name); failure != "" {
			return nil, fmt.Errorf("watchers: Join: sources[%d].Name: %q %s", i, s.Name, failure)
		}
		if names[s.Name] {
			return nil, fmt.Errorf("watchers: Join: sources[%d].Name: %q is the name of an earlier source", i, s.Name)
		}
		names[s.Name] = true
		if s.Watcher == nil {
			return nil, fmt.Errorf("watchers: Join: source %s: Watcher: required", s.Name)
		}
	}
	return &Joined{sources: sources, logger: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))}, nil
}

// Run implements [Watcher]: it runs all sources until ctx is done, and returns after all of
// them have. The store is synced when all sources are.
//
// A source that fails after it was synced keeps its objects and runs again after a delay of
// one second to one minute; the others continue. A source that fails before it was synced
// ends Run with its error, because the store would not become synced without it.
//
// If Run is called again with the same store, each source keeps its objects there until its
// watcher deletes them.
func (j *Joined) Run(ctx context.Context, store *Store) error {
	if len(j.sources) == 1 {
		return j.runSource(ctx, j.sources[0], store)
	}
	if j.merger == nil || j.merger.target != store {
		j.merger.close()
		j.merger = newMerger(store, j.sources, j.logger)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(j.sources))
	var running sync.WaitGroup
	for i, s := range j.sources {
		running.Go(func() {
			if errs[i] = j.runSource(ctx, s, j.merger.sources[i].store); errs[i] != nil {
				cancel()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// runSource runs the watcher of a source, repeatedly if it fails, until ctx is done.
func (j *Joined) runSource(ctx context.Context, s Source, store *Store) error {
	for delay := minRetryDelay; ; delay = min(2*delay, maxRetryDelay) {
		started := time.Now()
		err := s.run(ctx, store)
		if err == nil {
			return nil
		}
		if !store.Snapshot().Synced() {
			return fmt.Errorf("watchers: source %s: %w", s.Name, err)
		}
		if time.Since(started) > maxRetryDelay {
			delay = minRetryDelay
		}
		wait := delay/2 + rand.N(delay/2+1)
		j.logger.Warn("Source failed, keeping its objects", "source", s.Name, "err", err, "retryIn", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// run runs the watcher once. It returns nil if ctx is done, and an error otherwise.
func (s Source) run(ctx context.Context, store *Store) error {
	err := s.Watcher.Run(ctx, store)
	select {
	case <-ctx.Done():
		return nil
	default:
	}
	return cmp.Or(err, errors.New("Run returned before its context was done"))
}
