// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
)

// TestIN51ClaimsAreForgotten: who has left asks for nothing, and takes up no memory.
func TestIN51ClaimsAreForgotten(t *testing.T) {
	w := world{rand.New(rand.NewPCG(9, 9))}
	store := watchers.NewStore()
	table := newTable(t, store)
	contested := 0
	for range 500 {
		store.Update(w.step())
		table.Refresh()
		contested += len(table.meanings.claims.waiting)
	}
	require.NotZero(t, contested, "the test never had a collision")
	store.Update(func(tx *watchers.Tx) { tx.RetainAll(func(watchers.Key) bool { return false }) })
	table.Refresh()
	require.Empty(t, table.meanings.claims.holders)
	require.Empty(t, table.meanings.claims.waiting)
	require.Empty(t, table.meanings.claims.made)
}
