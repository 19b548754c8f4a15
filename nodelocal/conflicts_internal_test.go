// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
)

// TestIN51DeletedServicesLeaveNoRequests checks that the address table does not grow with
// the number of Services that ever existed.
func TestIN51DeletedServicesLeaveNoRequests(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(9, 9))}
	store := watchers.NewStore()
	resolver := newResolver(t, store)
	conflicts := 0
	for range 500 {
		store.Update(g.step())
		resolver.Refresh()
		conflicts += len(resolver.services.addresses.shared)
	}
	require.NotZero(t, conflicts, "no two Services requested one address")
	store.Update(func(tx *watchers.Tx) { tx.RetainAll(func(watchers.Key) bool { return false }) })
	resolver.Refresh()
	require.Empty(t, resolver.services.addresses.owners)
	require.Empty(t, resolver.services.addresses.shared)
	require.Zero(t, resolver.services.addresses.services.Len())
}
