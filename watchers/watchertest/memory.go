// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

import (
	"context"

	"sigs.k8s.io/kpng/watchers"
)

// A Memory is a [watchers.Watcher] whose source is the program itself, for tests and
// demonstrations. Its methods may be called before, during and between calls of Run, and
// concurrently. Each call is one transaction in the store that Run writes, unless Run
// combines it with later ones.
//
// Objects must not be modified after they were set. Deleting an object that does not exist
// has no effect.
type Memory struct{ source *watchers.Store }

var _ watchers.Watcher = (*Memory)(nil)

// NewMemory returns a memory without objects, which is not synced until SetSynced is called.
func NewMemory() *Memory { return &Memory{source: watchers.NewStore()} }

// Update runs fn, which may change several objects, as one transaction.
func (m *Memory) Update(fn func(tx *watchers.Tx)) { m.source.Update(fn) }

// SetSynced marks the memory, and the stores that it writes, as synced. They stay synced.
func (m *Memory) SetSynced() { m.Update((*watchers.Tx).SetSynced) }

// SetService adds or replaces a Service.
func (m *Memory) SetService(s *watchers.Service) {
	m.Update(func(tx *watchers.Tx) { tx.SetService(s) })
}

// DeleteService deletes a Service.
func (m *Memory) DeleteService(name watchers.ServiceName) {
	m.Update(func(tx *watchers.Tx) { tx.DeleteService(name) })
}

// SetEndpointSlice adds or replaces an EndpointSlice.
func (m *Memory) SetEndpointSlice(s *watchers.EndpointSlice) {
	m.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(s) })
}

// DeleteEndpointSlice deletes an EndpointSlice.
func (m *Memory) DeleteEndpointSlice(namespace, name string) {
	m.Update(func(tx *watchers.Tx) { tx.DeleteEndpointSlice(namespace, name) })
}

// SetNode adds or replaces a Node.
func (m *Memory) SetNode(n *watchers.Node) {
	m.Update(func(tx *watchers.Tx) { tx.SetNode(n) })
}

// DeleteNode deletes a Node.
func (m *Memory) DeleteNode(name string) {
	m.Update(func(tx *watchers.Tx) { tx.DeleteNode(name) })
}

// SetServiceCIDR adds or replaces a ServiceCIDR.
func (m *Memory) SetServiceCIDR(c *watchers.ServiceCIDR) {
	m.Update(func(tx *watchers.Tx) { tx.SetServiceCIDR(c) })
}

// DeleteServiceCIDR deletes a ServiceCIDR.
func (m *Memory) DeleteServiceCIDR(name string) {
	m.Update(func(tx *watchers.Tx) { tx.DeleteServiceCIDR(name) })
}

// Run implements [watchers.Watcher].
func (m *Memory) Run(ctx context.Context, store *watchers.Store) error {
	current := m.source.Snapshot()
	store.Update(func(tx *watchers.Tx) { replaceAll(tx, current) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-current.Newer():
		}
		old := current
		current = m.source.Snapshot()
		store.Update(func(tx *watchers.Tx) { applyChanges(tx, old, current) })
	}
}

// replaceAll replaces the objects in the store of tx by those of a snapshot.
func replaceAll(tx *watchers.Tx, s watchers.Snapshot) {
	tx.RetainAll(func(k watchers.Key) bool {
		_, ok := s.Get(k)
		return ok
	})
	for key, object := range s.All() {
		set(tx, key, object)
	}
}

// applyChanges applies the changes between two snapshots. It deletes before it sets: a slice
// whose Service has changed is a deletion under its old key, which would delete the slice
// under its new key.
func applyChanges(tx *watchers.Tx, old, current watchers.Snapshot) {
	changes := current.Diff(old.Snapshot)
	for c := range changes {
		if c.Deleted {
			tx.Delete(c.Key)
		}
	}
	for c := range changes {
		if !c.Deleted {
			set(tx, c.Key, c.Value)
		}
	}
}

// set sets an object or the synced marker.
func set(tx *watchers.Tx, key watchers.Key, object watchers.Object) {
	if key.Kind == watchers.KindSynced {
		tx.SetSynced()
		return
	}
	tx.Set(object)
}
