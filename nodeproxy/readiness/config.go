// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package readiness

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"

	"sigs.k8s.io/kpng/remote/node"
)

// defaultQuantile is the default of Config.Quantile.
const defaultQuantile = 0.9

// A Server serves nodes: a node.Server of package remote/node.
type Server interface {
	// Ready is closed when the cluster state is complete.
	Ready() <-chan struct{}
	// Progress returns what the nodes have applied.
	Progress() (p node.Progress, ok bool)
	// AppliedRevisions returns the newest revision of each connected node.
	AppliedRevisions() map[string]uint64
}

// Nodes selects the nodes that are considered for pods.
type Nodes uint8

const (
	// NodesExisting selects all Nodes except those that are being deleted. One that is not
	// connected to the server has applied nothing.
	NodesExisting Nodes = iota
	// NodesConnected selects those that are connected to the server, for one of several servers.
	NodesConnected
)

// A Config configures a [Controller].
type Config struct {
	// Client reads and patches Nodes and Pods. Required.
	Client kubernetes.Interface
	// Server serves the nodes. Required.
	Server Server
	// StartupTaint is the key of the taint that is removed from a Node when it has applied its
	// first state, whatever value and effect it has. Empty disables it.
	StartupTaint string
	// PodCondition is the type of the condition that is set to True for pods with a readiness gate
	// of this type. Empty disables it. The cluster state must have the pods of endpoints, see
	// kubeapi.DetailTarget.
	PodCondition string
	// Quantile is the share of nodes that must have applied the Services of a pod, above 0 and up to
	// 1; 0 means 0.9.
	Quantile float64
	// Nodes selects the nodes that are considered for pods.
	Nodes Nodes
	// Logger receives what operators need to know; nil is silent.
	Logger *slog.Logger
	// Recorder records an event for each removed taint; nil records none.
	Recorder events.EventRecorder
}

func (cfg *Config) validate() error {
	switch {
	case cfg.Client == nil:
		return errors.New("readiness: Client: required")
	case cfg.Server == nil:
		return errors.New("readiness: Server: required")
	case cfg.StartupTaint == "" && cfg.PodCondition == "":
		return errors.New("readiness: StartupTaint or PodCondition: required")
	case !(cfg.Quantile >= 0 && cfg.Quantile <= 1): // also for NaN
		return fmt.Errorf("readiness: Quantile: %v is not above 0 and up to 1", cfg.Quantile)
	case cfg.Nodes > NodesConnected:
		return fmt.Errorf("readiness: Nodes: %d is unknown", cfg.Nodes)
	}
	return errors.Join(qualified("StartupTaint", cfg.StartupTaint), qualified("PodCondition", cfg.PodCondition))
}

// qualified returns an error unless name is empty or a name with an optional prefix.
func qualified(field, name string) error {
	if name == "" {
		return nil
	}
	if problems := validation.IsQualifiedName(name); len(problems) > 0 {
		return fmt.Errorf("readiness: %s: %q: %s", field, name, strings.Join(problems, "; "))
	}
	return nil
}
