// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import "context"

// A Watcher copies the cluster state from a source into a [Store].
type Watcher interface {
	// Run updates store from the watcher's source until ctx is done, and then returns nil.
	// Only one watcher may write to a store.
	//
	// Run calls [Tx.SetSynced] once the store holds everything that the source had at the
	// start, even if that is nothing. While the source is unreachable, Run keeps the objects
	// in the store.
	//
	// An error means that the watcher cannot continue. Run may be called again after it has
	// returned. Calls must not overlap.
	Run(ctx context.Context, store *Store) error
}

// Func adapts a function to a [Watcher].
type Func func(ctx context.Context, store *Store) error

// Run calls f.
func (f Func) Run(ctx context.Context, store *Store) error { return f(ctx, store) }
