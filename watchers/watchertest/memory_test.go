// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
)

func fact(name string) *watchers.Service { return &watchers.Service{Name: id(name)} }

func sliceOf(service, name string) *watchers.EndpointSlice {
	return &watchers.EndpointSlice{Namespace: namespace, Name: name, Service: id(service)}
}

// follow runs m into a store until the test ends or stop is called.
func follow(t *testing.T, m *Memory, store *watchers.Store) (stop func()) {
	return start(t, Harness{Watcher: m}, store).stop
}

func keys(s watchers.Snapshot) (keys []watchers.Key) {
	for k := range s.All() {
		keys = append(keys, k)
	}
	return keys
}

func TestMemoryBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, store := NewMemory(), watchers.NewStore()
		m.SetService(fact("web"))
		m.SetService(fact("db"))
		m.DeleteService(id("db"))
		m.SetNode(&watchers.Node{Name: "n"})
		follow(t, m, store)
		synctest.Wait()
		require.Equal(t, []watchers.Key{watchers.NodeKey("n"), watchers.ServiceKey(id("web"))}, keys(store.Snapshot()))
		require.False(t, store.Snapshot().Synced(), "it was not said to be complete")
		m.SetSynced()
		synctest.Wait()
		require.True(t, store.Snapshot().Synced())
	})
}

func TestMemoryDuringRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, store := NewMemory(), watchers.NewStore()
		follow(t, m, store)
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
			{func() { m.SetService(fact("web")) }, []watchers.Key{{}, watchers.ServiceKey(id("web"))}},
			{func() { m.DeleteService(id("web")) }, []watchers.Key{{}}},
		} {
			step.do()
			synctest.Wait()
			require.Equal(t, step.want, keys(store.Snapshot()))
		}
	})
}

func TestMemoryTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, store := NewMemory(), watchers.NewStore()
		follow(t, m, store)
		synctest.Wait()
		before := store.Snapshot()
		m.Update(func(tx *watchers.Tx) {
			tx.SetService(fact("web"))
			tx.SetService(fact("db"))
		})
		<-before.Newer()
		require.Equal(t, 2, store.Snapshot().Len(), "both or none")
		again := store.Snapshot()
		m.SetService(fact("web"))
		synctest.Wait()
		require.Same(t, again.Snapshot, store.Snapshot().Snapshot, "the same again is no change")
	})
}

// TestMemoryManySlicesMove has more to follow at once than the memory remembers
// deletions, some of which are of slices that only moved.
func TestMemoryManySlicesMove(t *testing.T) {
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
		copied.Update(func(tx *watchers.Tx) { replace(tx, old) })
		m.Update(to(move.to))
		for i := range n { // the store forgets its oldest deletions
			m.SetService(fact(fmt.Sprint(i)))
			m.DeleteService(id(fmt.Sprint(i)))
		}
		now := m.source.Snapshot()
		var changed []watchers.Key
		for c := range now.Diff(old.Snapshot) {
			changed = append(changed, c.Key)
		}
		require.True(t, slices.IsSortedFunc(changed, watchers.Key.Compare), "changes are in key order only if tombstones were removed")
		copied.Update(func(tx *watchers.Tx) { advance(tx, old, now) })
		require.Equal(t, keys(now), keys(copied.Snapshot()), "from %s to %s", move.from, move.to)
	}
}

func TestMemoryBetweenRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, store := NewMemory(), watchers.NewStore()
		m.SetSynced()
		m.SetService(fact("goes"))
		m.SetEndpointSlice(sliceOf("web", "moves"))
		m.SetEndpointSlice(sliceOf("web", "goes"))
		m.SetNode(&watchers.Node{Name: "goes"})
		stop := follow(t, m, store)
		synctest.Wait()
		stop()
		m.DeleteService(id("goes"))
		m.DeleteEndpointSlice(namespace, "goes")
		m.DeleteNode("goes")
		m.SetEndpointSlice(sliceOf("db", "moves"))
		synctest.Wait()
		require.True(t, hasService("goes")(store.Snapshot()), "nothing is written after Run")
		follow(t, m, store)
		synctest.Wait()
		require.Equal(t, []watchers.Key{
			{Kind: watchers.KindSynced},
			{Kind: watchers.KindEndpointSlice, Namespace: namespace, Name: "db", Slice: "moves"},
		}, keys(store.Snapshot()))
	})
}

func ExampleMemory() {
	m, store := NewMemory(), watchers.NewStore()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- m.Run(ctx, store) }()

	m.Update(func(tx *watchers.Tx) {
		tx.SetService(&watchers.Service{Name: watchers.ServiceName{Namespace: "default", Name: "web"}})
		tx.SetSynced()
	})
	snap := store.Snapshot()
	for !snap.Synced() {
		<-snap.Newer()
		snap = store.Snapshot()
	}
	for _, s := range slices.Collect(snap.Services()) {
		fmt.Println(s.Name)
	}
	cancel()
	fmt.Println(<-done)
	// Output:
	// default/web
	// <nil>
}
