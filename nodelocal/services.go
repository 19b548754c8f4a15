// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"iter"
	"maps"
	"slices"
	"time"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// A serviceResolver resolves the Services of a store that a change of objects affects.
type serviceResolver struct {
	reader    *diffstore.Reader[watchers.Key, watchers.Object]
	addresses *addressTable // of the Services in the acknowledged snapshot
	proxyName string
	scope     Scope
	options   resolveOptions
}

func newServiceResolver(store *watchers.Store, cfg *Config) *serviceResolver {
	return &serviceResolver{
		reader:    store.Reader(),
		addresses: newAddressTable(),
		proxyName: cfg.ProxyName,
		scope:     cfg.Scope,
		options:   cfg.options(),
	}
}

// A changeSet summarises the changes of objects from one snapshot to another.
type changeSet struct {
	snapshot     watchers.Snapshot                  // after the changes
	services     map[localsink.ServiceName]struct{} // whose Service or EndpointSlices changed
	updated      []watchers.Object                  // added or changed
	nodes        []string                           // added, changed or deleted
	serviceCIDRs bool                               // a ServiceCIDR changed
}

// newChangeSet summarises the changes that led to snapshot.
func newChangeSet(snapshot watchers.Snapshot, changes iter.Seq[diffstore.Change[watchers.Key, watchers.Object]]) changeSet {
	c := changeSet{snapshot: snapshot, services: map[localsink.ServiceName]struct{}{}}
	for change := range changes {
		if !change.Deleted {
			c.updated = append(c.updated, change.Value)
		}
		switch change.Key.Kind {
		case watchers.KindService, watchers.KindEndpointSlice:
			c.services[change.Key.Service()] = struct{}{}
		case watchers.KindNode:
			c.nodes = append(c.nodes, change.Key.Name)
		case watchers.KindServiceCIDR:
			c.serviceCIDRs = true
		case watchers.KindSynced: // not an object
		}
	}
	return c
}

// addAllServices adds every Service of the snapshot.
func (c *changeSet) addAllServices() {
	for svc := range c.snapshot.Services() {
		c.services[svc.Name] = struct{}{}
	}
}

// pending returns the changes since the acknowledged snapshot.
func (r *serviceResolver) pending() changeSet {
	snapshot, changes := r.reader.Pending()
	return newChangeSet(watchers.Snapshot{Snapshot: snapshot}, changes)
}

// A resolution is the result for one Service. service is nil if it was deleted, belongs to another
// proxy, or has neither ports nor problems.
type resolution struct {
	name    localsink.ServiceName
	service *ResolvedService
}

// resolve resolves the Services of c and the Services that gain or lose an address because
// of them, each once, and acknowledges the snapshot of c.
//
// The owner of an address depends on all Services that request it. Conflicts are therefore
// resolved after the requests of all changed Services are recorded. The order of names is that of
// the stores, where neighbours are together in the caches of the processor.
func (r *serviceResolver) resolve(c changeSet) []resolution {
	defer r.reader.Acknowledge(c.snapshot.Snapshot)
	if len(c.services) == 0 {
		return nil
	}
	all := make([]resolution, 0, len(c.services))
	var competitors []localsink.ServiceName
	for _, name := range slices.SortedFunc(maps.Keys(c.services), localsink.ServiceName.Compare) {
		svc, created := r.resolveAlone(c.snapshot, name)
		all = append(all, resolution{name, svc})
		competitors = append(competitors, r.addresses.update(name, created, requestsOf(svc))...)
	}
	for _, name := range competitors {
		if _, done := c.services[name]; !done {
			c.services[name] = struct{}{}
			svc, _ := r.resolveAlone(c.snapshot, name)
			all = append(all, resolution{name, svc})
		}
	}
	for i := range all {
		svc := all[i].service
		if svc == nil {
			continue
		}
		svc.removeConflicts(r.addresses.owner)
		svc.limitProblems()
		if svc.empty() {
			all[i].service = nil
		}
	}
	return all
}

// unnamed reports whether a Service has no valid name. No sink receives it; its Problem is
// logged.
func unnamed(name localsink.ServiceName) bool {
	return !localsink.ValidName(name.Namespace) || !localsink.ValidName(name.Name) || !localsink.ValidOrigin(name.Origin)
}

// resolveAlone resolves one Service without regard to conflicts, and returns its creation
// time. It returns nil when the Service does not exist or belongs to another proxy.
func (r *serviceResolver) resolveAlone(snapshot watchers.Snapshot, name localsink.ServiceName) (*ResolvedService, time.Time) {
	object := snapshot.Service(name)
	if !r.scope.selects(object, r.proxyName) || unnamed(name) {
		return nil, time.Time{}
	}
	return resolve(object, slices.Collect(snapshot.EndpointSlices(name)), r.options), object.Created
}

// close releases the store.
func (r *serviceResolver) close() error {
	r.reader.Close()
	return nil
}
