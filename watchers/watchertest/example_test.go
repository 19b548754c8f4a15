// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest_test

import (
	"context"
	"fmt"
	"testing"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

func TestStoreWatcher(t *testing.T) {
	watchertest.TestWatcher(t, func(*testing.T) watchertest.Harness {
		source := watchertest.NewMemory() // in place of a source of your own
		source.SetSynced()
		return watchertest.Harness{
			Watcher: source,
			Set: func(objects ...watchers.Object) {
				source.Update(func(tx *watchers.Tx) {
					for _, o := range objects {
						tx.Set(o)
					}
				})
			},
			Remove: func(objects ...watchers.Object) {
				source.Update(func(tx *watchers.Tx) {
					for _, o := range objects {
						tx.Delete(tx.Set(o)) // Set returns the key
					}
				})
			},
		}
	})
}

func ExampleMemory() {
	m, store := watchertest.NewMemory(), watchers.NewStore()
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
	for s := range snap.Services() {
		fmt.Println(s.Name)
	}
	cancel()
	fmt.Println("error:", <-done)
	// Output:
	// default/web
	// error: <nil>
}
