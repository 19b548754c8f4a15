// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reflectors

import (
	"context"
	"log/slog"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"sigs.k8s.io/kpng/watchers"
)

// Config configures [Run].
type Config struct {
	// Name identifies the watcher in messages of client-go.
	Name string
	// Client is that of the resources; client-go asks it whether it supports streamed lists.
	Client any
	// Logger receives a warning when requests begin to fail, an information when they succeed
	// again, and the messages of client-go at level debug. Required.
	Logger *slog.Logger
	// Backoff is between attempts; nil selects that of client-go.
	Backoff *wait.Backoff
}

// Run lists and watches the resources until ctx is done. The store is synced when all of
// them that are not optional have been listed.
func Run(ctx context.Context, store *watchers.Store, cfg Config, resources ...*Resource) {
	unlisted := map[watchers.Kind]bool{}
	for _, r := range resources {
		if !r.Optional && r.Handler == nil {
			unlisted[r.Kind] = true
		}
	}
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(debugHandler{cfg.Logger.Handler()}))
	// Reflectors return without waiting for a list request in flight. Each such request
	// holds inFlight for reading, so locking it waits for all of them.
	var inFlight sync.RWMutex
	var running sync.WaitGroup
	for _, r := range resources {
		writer := &storeWriter{resource: r, store: store, unlisted: unlisted, logger: cfg.Logger}
		var target cache.ReflectorStore = writer
		if r.MayBeAbsent {
			r.Failed = writer.failed
		}
		if r.Handler != nil {
			target = &handlerStore{resource: r, logger: cfg.Logger}
		}
		reflector := cfg.reflector(ctx, r, target, &inFlight)
		running.Go(func() { reflector.RunWithContext(ctx) })
	}
	running.Wait()
	inFlight.Lock()
	defer inFlight.Unlock()
}

// reflector returns the reflector of one resource. It has no resync period, because a
// resync would not change the store.
func (c *Config) reflector(ctx context.Context, r *Resource, target cache.ReflectorStore, inFlight *sync.RWMutex) *cache.Reflector {
	requests := &requestLog{resource: r.Name, optional: r.Optional, logger: c.Logger}
	logger := klog.FromContext(ctx)
	return cache.NewReflectorWithOptions(
		cache.ToListWatcherWithWatchListSemantics(r.listWatch(requests, inFlight), c.Client),
		r.Example, target, cache.ReflectorOptions{
			Name:            c.Name,
			TypeDescription: r.Name,
			Logger:          &logger,
			Backoff:         c.Backoff,
			Clock:           contextClock{ctx: ctx},
		})
}
