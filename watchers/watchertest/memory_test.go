// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
)

// startMemory runs m until the test ends or stop is called.
func startMemory(t *testing.T, m *Memory, store *watchers.Store) (stop func()) {
	return start(t, Harness{Watcher: m}, store).stop
}

func TestMemoryBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, store := NewMemory(), watchers.NewStore()
		m.SetService(newService("web"))
		m.SetService(newService("db"))
		m.DeleteService(serviceName("db"))
		m.SetNode(&watchers.Node{Name: "n"})
		startMemory(t, m, store)
		synctest.Wait()
		require.Equal(t, []watchers.Key{watchers.NodeKey("n"), watchers.ServiceKey(serviceName("web"))}, keys(store.Snapshot()))
		require.False(t, store.Snapshot().Synced(), "the memory is not synced")
		m.SetSynced()
		synctest.Wait()
		require.True(t, store.Snapshot().Synced())
	})
}

func TestMemoryDuringRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, store := NewMemory(), watchers.NewStore()
		startMemory(t, m, store)
		for _, step := range []struct {
			do   func()
			want []watchers.Key
		}{
			{func() { m.SetSynced() }, []watchers.Key{{Kind: watchers.KindSynced}}},
			{func() { m.SetNode(&watchers.Node{Name: "n"}) }, []watchers.Key{{}, watchers.NodeKey("n")}},
			{func() { m.DeleteNode("n") }, []watchers.Key{{}}},
			{func() { m.SetEndpointSlice(sliceOf("web", "x")) }, []watchers.Key{{}, {Kind: watchers.KindEndpointSlice, Namespace: namespace, Name: "web", Slice: "x"}}},
			{func() { m.SetEndpointSlice(sliceOf("db", "x")) }, []watchers.Key{{}, {Kind: watchers.KindEndpointSlice, Namespace: namespace, Name: "db", Slice: "x"}}},
			{func() { m.DeleteEndpointSlice(namespace, "x") }, []watchers.Key{{}}},
			{func() { m.SetService(newService("web")) }, []watchers.Key{{}, watchers.ServiceKey(serviceName("web"))}},
			{func() { m.DeleteService(serviceName("web")) }, []watchers.Key{{}}},
		} {
			step.do()
			synctest.Wait()
			require.Equal(t, step.want, keys(store.Snapshot()))
		}
	})
}

func TestMemoryUpdateIsAtomic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, store := NewMemory(), watchers.NewStore()
		startMemory(t, m, store)
		synctest.Wait()
		before := store.Snapshot()
		m.Update(func(tx *watchers.Tx) {
			tx.SetService(newService("web"))
			tx.SetService(newService("db"))
		})
		<-before.Newer()
		require.Equal(t, 2, store.Snapshot().Len(), "both Services")
		again := store.Snapshot()
		m.SetService(newService("web"))
		synctest.Wait()
		require.Same(t, again.Snapshot, store.Snapshot().Snapshot, "an equal Service is not a change")
	})
}

// TestMemoryManySlicesChangeService applies more deletions at once than the memory's store
// has tombstones, some of slices whose Service changed.
func TestMemoryManySlicesChangeService(t *testing.T) {
	const n = 3000
	to := func(service string) func(tx *watchers.Tx) {
		return func(tx *watchers.Tx) {
			for i := range n {
				tx.SetEndpointSlice(sliceOf(service, fmt.Sprint("slice-", i)))
			}
		}
	}
	for _, move := range []struct{ from, to string }{{"a", "b"}, {"b", "a"}} {
		m, copied := NewMemory(), watchers.NewStore()
		m.Update(to(move.from))
		old := m.source.Snapshot()
		copied.Update(func(tx *watchers.Tx) { replaceAll(tx, old) })
		m.Update(to(move.to))
		for i := range n { // makes the store remove its oldest tombstones
			m.SetService(newService(fmt.Sprint(i)))
			m.DeleteService(serviceName(fmt.Sprint(i)))
		}
		current := m.source.Snapshot()
		var changed []watchers.Key
		for c := range current.Diff(old.Snapshot) {
			changed = append(changed, c.Key)
		}
		require.True(t, slices.IsSortedFunc(changed, watchers.Key.Compare), "changes are in key order only if tombstones were removed")
		copied.Update(func(tx *watchers.Tx) { applyChanges(tx, old, current) })
		require.Equal(t, keys(current), keys(copied.Snapshot()), "from %s to %s", move.from, move.to)
	}
}

func TestMemoryBetweenRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, store := NewMemory(), watchers.NewStore()
		m.SetSynced()
		m.SetService(newService("deleted"))
		m.SetEndpointSlice(sliceOf("web", "moved"))
		m.SetEndpointSlice(sliceOf("web", "deleted"))
		m.SetNode(&watchers.Node{Name: "deleted"})
		stop := startMemory(t, m, store)
		synctest.Wait()
		stop()
		m.DeleteService(serviceName("deleted"))
		m.DeleteEndpointSlice(namespace, "deleted")
		m.DeleteNode("deleted")
		m.SetEndpointSlice(sliceOf("db", "moved"))
		synctest.Wait()
		require.True(t, hasService("deleted")(store.Snapshot()), "Run has returned")
		startMemory(t, m, store)
		synctest.Wait()
		require.Equal(t, []watchers.Key{
			{Kind: watchers.KindSynced},
			{Kind: watchers.KindEndpointSlice, Namespace: namespace, Name: "db", Slice: "moved"},
		}, keys(store.Snapshot()))
	})
}
