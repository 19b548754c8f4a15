// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/watchers"
)

// A Resolver computes the desired state of one node from a store, change by change. Its
// methods must not be called concurrently.
type Resolver struct {
	cfg      Config
	services *serviceResolver
	node     *nodeState
	created  time.Time // trigger times before it are ignored
	tracker  *reconciler.Tracker
	matches  matchLog
	// endpoints is a buffer for those of one Service.
	endpoints []overlay.Endpoint
}

// NewResolver returns a Resolver that reads store. The error names each invalid field of
// cfg. The caller must close the Resolver.
func NewResolver(store *watchers.Store, cfg Config) (*Resolver, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	node := cfg.nodeState(watchers.NewStore().Snapshot())
	return &Resolver{
		cfg:      cfg,
		services: newServiceResolver(store, &cfg),
		node:     node,
		created:  time.Now(),
		tracker:  reconciler.NewTracker(node.node),
		matches:  matchLog{logger: cfg.Logger},
	}, nil
}

// Close releases the store, which otherwise keeps deleted objects for the Resolver. The
// error is always nil.
func (r *Resolver) Close() error { return r.services.close() }

// Refresh applies the changes of the store since the last call. It returns the snapshot
// from which the desired state is now computed.
func (r *Resolver) Refresh() watchers.Snapshot {
	changes := r.services.pending()
	for _, object := range changes.updated {
		logProblems(r.cfg.Logger, changes.snapshot, object, func(node string) bool { return node == r.cfg.NodeName })
		// An older trigger time measures the restart of this process, not its latency.
		if slice, ok := object.(*watchers.EndpointSlice); ok && slice.TriggerTime.After(r.created) {
			r.tracker.AddTriggerTime(slice.TriggerTime)
		}
	}
	if changes.snapshot.Synced() {
		r.matches.services(changes, r.cfg.ProxyName)
		r.matches.node(&r.cfg, changes.snapshot)
	}
	if (len(changes.nodes) > 0 || changes.serviceCIDRs) && r.updateNode(changes.snapshot) {
		changes.addAllServices()
	}
	if resolved := r.services.resolve(changes); len(resolved) > 0 {
		r.track(resolved)
	}
	return changes.snapshot
}

// updateNode replaces the node's state. It reports whether the state changed.
func (r *Resolver) updateNode(snapshot watchers.Snapshot) bool {
	next := r.cfg.nodeState(snapshot)
	r.cfg.KnownNode.Remember(snapshot.Node(r.cfg.NodeName))
	if next.equal(r.node) {
		return false
	}
	if next.node.Equal(r.node.node) {
		next.node = r.node.node // only the zone changed, which the tracker does not need
	}
	r.node = next
	r.tracker.SetNode(next.node)
	return true
}

// track passes the desired state of the resolved Services to the tracker. It removes them
// from the list, so that the first state of a large cluster is in memory only once.
func (r *Resolver) track(resolved []resolution) {
	r.tracker.Update(func(tx *reconciler.Tx) {
		for i := range resolved {
			svc := resolved[i].service
			if svc == nil {
				tx.Delete(resolved[i].name)
				continue
			}
			resolved[i].service = nil // its memory may be reused for the next ones
			tx.Set(r.node.assemble(svc, &r.endpoints).WithUnsupported(r.cfg.Unsupported, r.node.node))
		}
	})
}

// Pending returns the update that a sink must apply, or nil when everything is
// acknowledged. The first update is never nil. An update that is not acknowledged is
// contained in the next one.
func (r *Resolver) Pending() *localsink.Update { return r.tracker.Pending() }

// Acknowledge records that the sink has applied u, which must be the last update that
// Pending returned.
func (r *Resolver) Acknowledge(u *localsink.Update) { r.tracker.Acknowledge(u) }

// FullUpdate returns the whole desired state without a delta, for the resync of a sink
// that has already acknowledged it.
func (r *Resolver) FullUpdate() *localsink.Update { return r.tracker.FullUpdate() }
