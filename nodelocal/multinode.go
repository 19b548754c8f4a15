// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// A MultiNodeResolver resolves the Services of a store for all nodes of the cluster, change
// by change. Servers use it to compute once what thousands of nodes share. Refresh must not
// be called concurrently with itself; the other methods may be called at any time.
type MultiNodeResolver struct {
	cfg      Config
	services *serviceResolver
	created  time.Time // trigger times before it are ignored
	matches  matchLog
}

// NewMultiNodeResolver returns a MultiNodeResolver that reads store. The error names each
// invalid field of cfg. The caller must close the MultiNodeResolver.
func NewMultiNodeResolver(store *watchers.Store, cfg MultiNodeConfig) (*MultiNodeResolver, error) {
	node := cfg.anyNode()
	if err := node.complete(); err != nil {
		return nil, err
	}
	return &MultiNodeResolver{
		cfg: node, services: newServiceResolver(store, &node), created: time.Now(), matches: matchLog{logger: node.Logger},
	}, nil
}

// Close releases the store, which otherwise keeps deleted objects for the
// MultiNodeResolver. The error is always nil.
func (r *MultiNodeResolver) Close() error { return r.services.close() }

// Changes is what changed between two calls of [MultiNodeResolver.Refresh].
type Changes struct {
	// Snapshot is the cluster state from which the Services are now resolved.
	Snapshot watchers.Snapshot
	// Services are the Services whose result may have changed. The value is nil when the
	// Service was deleted or has neither ports nor problems. The receiver owns the map; the
	// values are immutable.
	Services map[localsink.ServiceName]*ResolvedService
	// TriggerTimes are the trigger times of the changed EndpointSlices that have one.
	TriggerTimes []time.Time
	// Nodes are the names of the added, changed and deleted nodes.
	Nodes []string
	// AllNodes reports whether the state of every node may have changed, because a
	// ServiceCIDR changed.
	AllNodes bool
}

// Refresh applies the changes of the store since the last call and returns them.
func (r *MultiNodeResolver) Refresh() Changes {
	changes := r.services.pending()
	out := Changes{Snapshot: changes.snapshot, Nodes: changes.nodes, AllNodes: changes.serviceCIDRs}
	for _, object := range changes.updated {
		logProblems(r.cfg.Logger, changes.snapshot, object, func(string) bool { return true })
		if slice, ok := object.(*watchers.EndpointSlice); ok && slice.TriggerTime.After(r.created) {
			out.TriggerTimes = append(out.TriggerTimes, slice.TriggerTime)
		}
	}
	if changes.snapshot.Synced() {
		r.matches.services(changes, r.cfg.ProxyName)
	}
	resolved := r.services.resolve(changes)
	out.Services = make(map[localsink.ServiceName]*ResolvedService, len(resolved))
	for _, one := range resolved {
		out.Services[one.name] = one.service
	}
	return out
}

// Node returns the state and the zone of the named node. known completes the Node object of
// the snapshot, as [Config.KnownNode] does; it is not changed, and may be nil. The
// caller keeps one for each node that it serves.
func (r *MultiNodeResolver) Node(snapshot watchers.Snapshot, name string, known *KnownNode) (node *localsink.Node, zone string) {
	cfg := r.cfg
	cfg.NodeName, cfg.KnownNode = name, known
	state := cfg.nodeState(snapshot)
	return state.node, state.zone
}

// Explain is [Explain] with the configuration of r for the named node; known is as for
// [MultiNodeResolver.Node].
func (r *MultiNodeResolver) Explain(
	snapshot watchers.Snapshot, node string, known *KnownNode, name localsink.ServiceName,
) (*Explanation, error) {
	cfg := r.cfg
	cfg.NodeName, cfg.KnownNode = node, known
	return Explain(snapshot, cfg, name)
}
