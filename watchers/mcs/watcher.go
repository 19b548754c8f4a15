// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package mcs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	discoveryv1client "k8s.io/client-go/kubernetes/typed/discovery/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/internal/apidecode"
	"sigs.k8s.io/kpng/watchers/internal/reflectors"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// Config configures a [Watcher]. The zero value is valid.
type Config struct {
	// Cluster is the name of this cluster in the ClusterSet, as in [LabelSourceCluster]. Only
	// endpoints of its slices have nodes; if it is empty, no endpoint has one.
	Cluster string
	// Namespace is the only namespace to watch; "" selects all of them.
	Namespace string
	// Details selects properties for consumers other than proxies; 0 is nothing.
	Details kubeapi.Details
	// Extend attaches extensions to ServiceImports and EndpointSlices; nil attaches none. It
	// receives a ServiceImport as a *corev1.Service with the same metadata.
	Extend kubeapi.Extend
	// Logger receives a warning when requests to the API server begin to fail, an
	// information when they succeed again, and the messages of client-go at level
	// debug. nil disables logging.
	Logger *slog.Logger
}

// A Watcher watches the ServiceImports of a cluster.
type Watcher struct {
	imports   dynamic.Interface
	slices    kubernetes.Interface
	discovery discoveryv1client.DiscoveryV1Interface // that of slices, with a decoder of its own
	cfg       Config
	backoff   *wait.Backoff // between attempts; nil selects that of client-go
}

var _ watchers.Watcher = (*Watcher)(nil)

// New returns a watcher. imports reads ServiceImports, and slices EndpointSlices.
func New(imports dynamic.Interface, slices kubernetes.Interface, cfg Config) (*Watcher, error) {
	if imports == nil {
		return nil, errors.New("watchers/mcs: New: imports: required")
	}
	if slices == nil {
		return nil, errors.New("watchers/mcs: New: slices: required")
	}
	if err := (kubeapi.Filter{Details: cfg.Details}).Validate(); err != nil {
		return nil, fmt.Errorf("watchers/mcs: Config.%w", err)
	}
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	discovery, err := apidecode.Discovery(slices)
	if err != nil {
		return nil, fmt.Errorf("watchers/mcs: New: slices: %w", err)
	}
	return &Watcher{imports: imports, slices: slices, discovery: discovery, cfg: cfg}, nil
}

// Run implements [watchers.Watcher]. It never returns an error: while the API server is
// unreachable or does not have the API, the store keeps its contents and Run tries again. The
// store is synced when both resources have been listed, or ServiceImports do not exist.
func (w *Watcher) Run(ctx context.Context, store *watchers.Store) error {
	c := converter{cluster: w.cfg.Cluster, extend: w.cfg.Extend, details: w.cfg.Details}
	imports := reflectors.NewResource(watchers.KindService, resource, example(),
		w.imports.Resource(groupVersionResource()).Namespace(w.cfg.Namespace))
	imports.MayBeAbsent = true // a cluster without the API has no ServiceImports
	imports.Convert = c.serviceImport
	imports.Delete = func(tx *watchers.Tx, namespace, name string) {
		tx.DeleteService(watchers.ServiceName{Namespace: namespace, Name: name, Origin: Origin})
	}
	endpoints := reflectors.NewResource(watchers.KindEndpointSlice, "endpointslices", &discoveryv1.EndpointSlice{},
		w.discovery.EndpointSlices(w.cfg.Namespace))
	endpoints.LabelSelector = LabelServiceName
	endpoints.Convert = c.endpointSlice
	endpoints.Delete = func(tx *watchers.Tx, namespace, name string) {
		tx.Delete(watchers.Key{Kind: watchers.KindEndpointSlice, Namespace: namespace, Slice: name, Origin: Origin})
	}
	cfg := reflectors.Config{Name: "watchers/mcs", Client: w.slices, Logger: w.cfg.Logger, Backoff: w.backoff}
	reflectors.Run(ctx, store, cfg, imports, endpoints)
	return nil
}

// example returns an object of the resource.
func example() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(group + "/" + version)
	u.SetKind(kind)
	return u
}
