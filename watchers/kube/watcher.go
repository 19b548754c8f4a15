// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// Nodes says which nodes a [Watcher] watches.
type Nodes uint8

const (
	// NodesOwn watches the node that is named in [Config.NodeName], and no other.
	NodesOwn Nodes = iota
	// NodesAll watches every node: for those who serve many.
	NodesAll
	// NodesNone watches none.
	NodesNone
)

// Config is how to watch.
type Config struct {
	// Filter says which Services and EndpointSlices are wanted.
	Filter kubeapi.Filter
	// Namespace is the only namespace to watch; "" is all of them.
	Namespace string
	// Nodes says which nodes to watch, and NodeName names the node for OwnNode.
	Nodes    Nodes
	NodeName string
	// Logger tells when the API server goes out of reach and comes back, and, at
	// level debug, what client-go says. nil is silent.
	Logger *slog.Logger
}

// A Watcher brings facts from an API server.
type Watcher struct {
	client  kubernetes.Interface
	config  Config
	logger  *slog.Logger
	backoff *wait.Backoff // between attempts; nil is that of client-go
}

var _ watchers.Watcher = (*Watcher)(nil)

// New returns a watcher that reads through client, which the caller keeps; see
// [Tuned] for how to make one that is easy on the server.
func New(client kubernetes.Interface, config Config) *Watcher {
	logger := config.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Watcher{client: client, config: config, logger: logger}
}

// Run keeps store in line with the API server until ctx is done, and then returns
// nil, when all that it has started has ended. The store is synced when the first
// list of every kind is in it, but for ServiceCIDRs, which not every server has. Each later list replaces what the store has of its
// kind, in one transaction.
//
// While the server is out of reach or refuses to answer, Run keeps what the store
// has, tries again with growing pauses of up to a minute, and logs once per kind
// when that begins and ends. The only errors are those of the Config.
func (w *Watcher) Run(ctx context.Context, store *watchers.Store) error {
	if err := w.config.validate(); err != nil {
		return fmt.Errorf("watchers/kube: %w", err)
	}
	sources := w.sources()
	pending := map[watchers.Kind]bool{}
	for _, s := range sources {
		if !s.optional {
			pending[s.kind] = true
		}
	}
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(debugOnly{w.logger.Handler()}))
	var calls sync.RWMutex // held for reading by calls that reflectors do not wait for
	var reflectors sync.WaitGroup
	for _, s := range sources {
		m := &mirror{source: s, store: store, pending: pending, filter: w.config.Filter, logger: w.logger}
		r := w.reflector(ctx, m, &calls)
		reflectors.Go(func() { r.RunWithContext(ctx) })
	}
	reflectors.Wait()
	calls.Lock()
	defer calls.Unlock()
	return nil
}

func (c *Config) validate() error {
	if c.Nodes == NodesOwn && c.NodeName == "" {
		return errors.New("Config.NodeName is empty, so there is no own node to watch; give the name, or set Config.Nodes")
	}
	if c.Nodes > NodesNone {
		return fmt.Errorf("Config.Nodes is %d, which is none of OwnNode, AllNodes and NoNodes", c.Nodes)
	}
	if err := c.Filter.Validate(); err != nil {
		return fmt.Errorf("Config.Filter: %w", err)
	}
	return nil
}

// reflector returns the reflector of one kind. It never resyncs: the store would
// find nothing new.
func (w *Watcher) reflector(ctx context.Context, m *mirror, calls *sync.RWMutex) *cache.Reflector {
	o := &outage{what: m.source.resource, optional: m.source.optional, logger: w.logger}
	logger := klog.FromContext(ctx)
	return cache.NewReflectorWithOptions(
		// The client is asked whether it can stream lists: fakes cannot.
		cache.ToListWatcherWithWatchListSemantics(m.source.listWatch(o, calls), w.client),
		m.source.example, m, cache.ReflectorOptions{
			Name:            "watchers/kube",
			TypeDescription: m.source.resource,
			Logger:          &logger,
			Backoff:         w.backoff,
			Clock:           interruptible{ctx: ctx},
		})
}

// A debugOnly handler passes everything on at level debug. What client-go calls an
// error is mostly one more failed attempt, and [outage] tells of those.
type debugOnly struct{ slog.Handler }

func (h debugOnly) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

func (h debugOnly) Handle(ctx context.Context, r slog.Record) error {
	if r.Level = slog.LevelDebug; !h.Handler.Enabled(ctx, r.Level) {
		return nil // logr passes errors on without asking
	}
	return h.Handler.Handle(ctx, r)
}

func (h debugOnly) WithAttrs(attrs []slog.Attr) slog.Handler {
	return debugOnly{h.Handler.WithAttrs(attrs)}
}

func (h debugOnly) WithGroup(name string) slog.Handler { return debugOnly{h.Handler.WithGroup(name)} }
