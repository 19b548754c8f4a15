// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/internal/reflectors"
)

// DefaultControllerName is the default of Config.ControllerName.
const DefaultControllerName = "sigs.k8s.io/kpng"

// Config configures a [Watcher]. The zero value is valid.
type Config struct {
	// ControllerName selects Gateways: those whose GatewayClass has this spec.controllerName.
	// If it is empty, it is DefaultControllerName.
	ControllerName string
	// Logger receives a warning when requests to the API server begin to fail and when an
	// object cannot be decoded, an information when requests succeed again, and the messages
	// of client-go at level debug. nil disables logging.
	Logger *slog.Logger
}

// A Watcher adds routes to the objects of another source.
type Watcher struct {
	objects  dynamic.Interface
	services watchers.Watcher
	cfg      Config
	backoff  *wait.Backoff // between attempts; nil selects that of client-go

	mu     sync.Mutex
	engine *engine // of the last Run; nil before the first

	// Only Run uses these: the store of the other source, and the reader of its changes.
	inner  *watchers.Store
	reader *diffstore.Reader[watchers.Key, watchers.Object]
}

var _ watchers.Watcher = (*Watcher)(nil)

// New returns a watcher. objects reads the objects of the Gateway API; services is the source of
// Services and EndpointSlices, such as that of package kube, and must not be used elsewhere.
func New(objects dynamic.Interface, services watchers.Watcher, cfg Config) (*Watcher, error) {
	if objects == nil {
		return nil, errors.New("watchers/gateway: New: objects: required")
	}
	if services == nil {
		return nil, errors.New("watchers/gateway: New: services: required")
	}
	cfg.ControllerName = cmp.Or(cfg.ControllerName, DefaultControllerName)
	if domain, path, _ := strings.Cut(cfg.ControllerName, "/"); !strings.Contains(domain, ".") || path == "" {
		return nil, fmt.Errorf("watchers/gateway: Config.ControllerName: %q is not DOMAIN/PATH", cfg.ControllerName)
	}
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	return &Watcher{objects: objects, services: services, cfg: cfg}, nil
}

// Run implements [watchers.Watcher]. The store is synced when the other source is, and when all
// kinds of the Gateway API have been listed or do not exist in the API server. It returns an
// error only if the other source does.
func (w *Watcher) Run(ctx context.Context, store *watchers.Store) error {
	e := w.start(store)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	var err error
	running.Go(func() {
		defer cancel()
		err = w.services.Run(ctx, w.inner)
	})
	running.Go(func() { w.follow(ctx, e) })
	running.Go(func() {
		cfg := reflectors.Config{Name: "watchers/gateway", Client: w.objects, Logger: w.cfg.Logger, Backoff: w.backoff}
		var all []*reflectors.Resource
		for kind, resource := range resources() {
			all = append(all, w.resource(e, kind, resource))
		}
		reflectors.Run(ctx, store, cfg, all...)
	})
	running.Wait()
	return err
}

// start returns the engine of a store: that of the last Run, if it had the same.
func (w *Watcher) start(store *watchers.Store) *engine {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.engine == nil || w.engine.target != store {
		if w.reader != nil {
			w.reader.Close()
		}
		w.engine, w.inner = newEngine(w.cfg.ControllerName, store), watchers.NewStore()
		w.reader = w.inner.Reader()
	}
	return w.engine
}

// follow passes changes of the other source to the engine.
func (w *Watcher) follow(ctx context.Context, e *engine) {
	for {
		snapshot, changes := w.reader.Pending()
		if snapshot != w.reader.Acknowledged() {
			e.servicesChanged(watchers.Snapshot{Snapshot: snapshot}, changes)
			w.reader.Acknowledge(snapshot)
		}
		select {
		case <-ctx.Done():
			return
		case <-snapshot.Newer():
		}
	}
}

// Status returns what a controller writes into the status of objects. It is empty before Run.
// The channel is closed by the next change.
func (w *Watcher) Status() (Status, <-chan struct{}) {
	w.mu.Lock()
	e := w.engine
	w.mu.Unlock()
	if e == nil {
		return Status{}, nil
	}
	e.mu.Lock()
	changed := e.changed
	e.mu.Unlock()
	return e.status(), changed
}

// resource returns a resource whose objects the engine receives.
func (w *Watcher) resource(e *engine, kind string, gvr schema.GroupVersionResource) *reflectors.Resource {
	example := &unstructured.Unstructured{}
	example.SetAPIVersion(gvr.GroupVersion().String())
	example.SetKind(kind)
	r := reflectors.NewResource(watchers.KindService, gvr.Resource, example, w.objects.Resource(gvr))
	r.Handler = &handler{engine: e, kind: kind, logger: w.cfg.Logger}
	r.Failed = func(err error) {
		if apierrors.IsNotFound(err) {
			e.absent(kind)
		}
	}
	return r
}

// A handler decodes the objects of one kind.
type handler struct {
	engine *engine
	kind   string
	logger *slog.Logger
}

var _ reflectors.Handler = (*handler)(nil)

// Set implements [reflectors.Handler]. An object that cannot be decoded is deleted.
func (h *handler) Set(object any) {
	o, err := decode(h.kind, object)
	if err != nil {
		h.logger.Warn("Object is invalid, ignored", "kind", h.kind, "err", err)
		if u, ok := object.(*unstructured.Unstructured); ok {
			h.Delete(u.GetNamespace(), u.GetName())
		}
		return
	}
	h.engine.set(o)
}

// Delete implements [reflectors.Handler].
func (h *handler) Delete(namespace, name string) {
	h.engine.delete(h.kind, objectName{namespace, name})
}

// Replace implements [reflectors.Handler].
func (h *handler) Replace(objects []any) {
	decoded := make([]withMetadata, 0, len(objects))
	for _, object := range objects {
		o, err := decode(h.kind, object)
		if err != nil {
			h.logger.Warn("Object is invalid, ignored", "kind", h.kind, "err", err)
			continue
		}
		decoded = append(decoded, o)
	}
	h.engine.replace(h.kind, decoded)
}
