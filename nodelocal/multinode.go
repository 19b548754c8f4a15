// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// A MultiNodeResolver is what every node of a cluster must do, kept in line with a store of facts:
// for servers, which tell thousands of nodes what has changed and compute it once. One
// goroutine may use a fleet at a time; the meanings that it returns belong to everybody.
type MultiNodeResolver struct {
	cfg      Config
	meanings *meanings
	born     time.Time
}

// NewMultiNodeResolver returns a fleet of the nodes in store. Of cfg, NodeName, NodeIP and Lacks are
// single nodes' own and must not be set. The error names the field that is wrong. The
// fleet must be closed.
func NewMultiNodeResolver(store *watchers.Store, cfg MultiNodeConfig) (*MultiNodeResolver, error) {
	any := cfg.ForNode("any") // nothing that is kept depends on the name
	if err := any.complete(); err != nil {
		return nil, err
	}
	return &MultiNodeResolver{cfg: any, meanings: newMeanings(store, &any), born: time.Now()}, nil
}

// Close lets go of the store.
func (f *MultiNodeResolver) Close() { f.meanings.close() }

// Changes is what has changed in a fleet.
type Changes struct {
	// Snapshot are those that the fleet now stands for.
	Snapshot watchers.Snapshot
	// Services are those that may mean something else than before; nil stands for a
	// Service that is gone or has nothing to say.
	Services map[localsink.ServiceName]*ResolvedService
	// TriggerTimes are when changes of slices were asked for, as far as that is known.
	TriggerTimes []time.Time
	// Nodes are the names of nodes that have changed, come or gone; AllNodes says that
	// what every node is may have changed.
	Nodes    []string
	AllNodes bool
}

// Refresh takes in what has changed in the facts since the last call.
func (f *MultiNodeResolver) Refresh() Changes {
	c := f.meanings.look()
	n := Changes{Snapshot: c.facts, Nodes: c.nodes, AllNodes: c.networks}
	for _, fact := range c.set {
		report(f.cfg.Logger, c.facts, fact, func(string) bool { return true })
		if slice, ok := fact.(*watchers.EndpointSlice); ok && slice.TriggerTime.After(f.born) {
			n.TriggerTimes = append(n.TriggerTimes, slice.TriggerTime)
		}
	}
	if len(c.affected) > 0 {
		n.Services = f.meanings.mean(c.facts, c.affected)
	}
	f.meanings.accept(c.facts)
	return n
}

// Node returns what a node is, and its zone, whether or not there is such a Node.
func (f *MultiNodeResolver) Node(facts watchers.Snapshot, name string) (node *localsink.Node, zone string) {
	cfg := f.cfg
	cfg.NodeName = name
	v := cfg.view(facts)
	return v.node, v.zone
}

// Explain says what one node does for a Service, as facts have it, and why; nil when
// there is no such Service.
func (f *MultiNodeResolver) Explain(facts watchers.Snapshot, node string, name localsink.ServiceName) (*Explanation, error) {
	cfg := f.cfg
	cfg.NodeName = node
	return Explain(facts, cfg, name)
}
