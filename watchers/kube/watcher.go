// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1 "k8s.io/client-go/kubernetes/typed/discovery/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/internal/apidecode"
	"sigs.k8s.io/kpng/watchers/internal/reflectors"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// Nodes selects the nodes that a [Watcher] watches.
type Nodes uint8

const (
	// NodesOwn selects only the node named in [Config.NodeName].
	NodesOwn Nodes = iota
	// NodesAll selects every node, for a server of many nodes.
	NodesAll
	// NodesNone selects no node.
	NodesNone
)

// Config configures a [Watcher].
type Config struct {
	// Filter selects Services and EndpointSlices, and the properties that are kept.
	Filter kubeapi.Filter
	// Extend attaches extensions to Services, EndpointSlices and Nodes; nil attaches none.
	// It is called once for each object of a list and each event, by several goroutines, and
	// gets objects without metadata.managedFields.
	Extend kubeapi.Extend
	// Namespace is the only namespace to watch; "" selects all of them.
	Namespace string
	// Nodes selects the nodes to watch.
	Nodes Nodes
	// NodeName is the node that NodesOwn selects; required with NodesOwn.
	NodeName string
	// Logger receives a warning when requests to the API server begin to fail, an
	// information when they succeed again, and the messages of client-go at level
	// debug. nil disables logging.
	Logger *slog.Logger
}

// A Watcher writes the objects of an API server into a store.
type Watcher struct {
	client    kubernetes.Interface
	core      corev1.CoreV1Interface           // client's, with a decoder of its own
	discovery discoveryv1.DiscoveryV1Interface // likewise
	cfg       Config
	logger    *slog.Logger
	backoff   *wait.Backoff // between attempts; nil selects that of client-go
}

var _ watchers.Watcher = (*Watcher)(nil)

// New returns a watcher that sends its requests through client. [Tuned] returns a
// client configuration with a low cost for the API server.
//
// Services, EndpointSlices and Nodes are always requested as protobuf, with the connections,
// credentials and rate limits of the RESTClients of client, and decoded without
// metadata.managedFields. A client without them, such as a fake one, is used as it is.
func New(client kubernetes.Interface, cfg Config) (*Watcher, error) {
	if client == nil {
		return nil, errors.New("watchers/kube: New: client: required")
	}
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("watchers/kube: %w", err)
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	core, err := apidecode.Core(client)
	if err != nil {
		return nil, fmt.Errorf("watchers/kube: New: %w", err)
	}
	discovery, err := apidecode.Discovery(client)
	if err != nil {
		return nil, fmt.Errorf("watchers/kube: New: %w", err)
	}
	return &Watcher{client: client, core: core, discovery: discovery, cfg: cfg, logger: logger}, nil
}

func (c *Config) validate() error {
	if c.Nodes > NodesNone {
		return fmt.Errorf("Config.Nodes: %d is not NodesOwn, NodesAll or NodesNone", c.Nodes)
	}
	if c.Nodes == NodesOwn && c.NodeName == "" {
		return errors.New("Config.NodeName: required when Config.Nodes is NodesOwn")
	}
	if err := c.Filter.Validate(); err != nil {
		return fmt.Errorf("Config.Filter: %w", err)
	}
	return nil
}

// Run keeps store equal to the API server until ctx is done, and returns nil after all
// goroutines that it started have ended. It may be called again after it has returned;
// calls must not overlap.
//
// The store is synced when it holds the first list of every resource except
// ServiceCIDRs, which not every server has. Each later list replaces the objects of its
// kind in one transaction.
//
// While the server is unreachable or rejects requests, the store keeps its contents.
// Run retries with a backoff of up to a minute and logs the begin and the end once per
// resource.
func (w *Watcher) Run(ctx context.Context, store *watchers.Store) error {
	cfg := reflectors.Config{Name: "watchers/kube", Client: w.client, Logger: w.logger, Backoff: w.backoff}
	reflectors.Run(ctx, store, cfg, w.resources()...)
	return nil
}
