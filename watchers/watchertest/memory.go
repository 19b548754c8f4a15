// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

import (
	"context"

	"sigs.k8s.io/kpng/watchers"
)

// Memory is a [watchers.Watcher] whose source is what it is told, for tests and
// demonstrations. It may be told before Run, during Run and between two Runs, by
// any number of goroutines; every call is one transaction, also in the store that
// SetServiceCIDR adds or replaces a ServiceCIDR.
func (m *Memory) SetServiceCIDR(c *watchers.ServiceCIDR) {
	m.Update(func(tx *watchers.Tx) { tx.SetServiceCIDR(c) })
}

// DeleteServiceCIDR removes a ServiceCIDR; one that is not there is fine.
func (m *Memory) DeleteServiceCIDR(name string) {
	m.Update(func(tx *watchers.Tx) { tx.DeleteServiceCIDR(name) })
}

// Run writes, unless several have come together.
//
// Facts belong to the memory once they are given to it and must not be written to
// any more.
type Memory struct{ source *watchers.Store }

// NewMemory returns a memory that holds nothing and is not complete: call
// SetSynced once it is.
func NewMemory() *Memory { return &Memory{source: watchers.NewStore()} }

// Update changes several facts at once.
func (m *Memory) Update(fn func(tx *watchers.Tx)) { m.source.Update(fn) }

// SetSynced marks the memory as complete: so will be the stores it writes. There
// is no way back.
func (m *Memory) SetSynced() { m.Update((*watchers.Tx).SetSynced) }

// SetService adds or replaces a Service.
func (m *Memory) SetService(s *watchers.Service) {
	m.Update(func(tx *watchers.Tx) { tx.SetService(s) })
}

// DeleteService removes a Service; one that is not there is fine.
func (m *Memory) DeleteService(name watchers.ServiceName) {
	m.Update(func(tx *watchers.Tx) { tx.DeleteService(name) })
}

// SetEndpointSlice adds or replaces a slice.
func (m *Memory) SetEndpointSlice(s *watchers.EndpointSlice) {
	m.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(s) })
}

// DeleteEndpointSlice removes a slice; one that is not there is fine.
func (m *Memory) DeleteEndpointSlice(namespace, name string) {
	m.Update(func(tx *watchers.Tx) { tx.DeleteEndpointSlice(namespace, name) })
}

// SetNode adds or replaces a node.
func (m *Memory) SetNode(n *watchers.Node) {
	m.Update(func(tx *watchers.Tx) { tx.SetNode(n) })
}

// DeleteNode removes a node; one that is not there is fine.
func (m *Memory) DeleteNode(name string) {
	m.Update(func(tx *watchers.Tx) { tx.DeleteNode(name) })
}

// Run implements [watchers.Watcher].
func (m *Memory) Run(ctx context.Context, store *watchers.Store) error {
	now := m.source.Snapshot()
	store.Update(func(tx *watchers.Tx) { replace(tx, now) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-now.Newer():
		}
		old := now
		now = m.source.Snapshot()
		store.Update(func(tx *watchers.Tx) { advance(tx, old, now) })
	}
}

// replace makes the store of tx hold what s holds.
func replace(tx *watchers.Tx, s watchers.Snapshot) {
	wanted := func(k watchers.Key) bool {
		_, ok := s.Get(k)
		return ok
	}
	tx.RetainAll(wanted)
	for key, fact := range s.All() {
		set(tx, key, fact)
	}
}

// advance brings the store of tx from one snapshot to a newer one. Deletions come
// first: a slice that has moved is a deletion under its old Service, which would
// otherwise undo what was set under the new one.
func advance(tx *watchers.Tx, old, now watchers.Snapshot) {
	changes := now.Diff(old.Snapshot)
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

func set(tx *watchers.Tx, key watchers.Key, fact watchers.Object) {
	if key.Kind == watchers.KindSynced {
		tx.SetSynced()
		return
	}
	tx.Set(fact)
}

var _ watchers.Watcher = (*Memory)(nil)
