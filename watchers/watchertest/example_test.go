// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest_test

import (
	"context"
	"fmt"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

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
