// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOwnersAreForgotten: slices that come and go leave nothing behind.
func TestOwnersAreForgotten(t *testing.T) {
	s := NewStore()
	for _, forget := range []func(tx *Tx){
		func(tx *Tx) { tx.Retain(KindEndpointSlice, func(Key) bool { return false }) },
		func(tx *Tx) {
			for i := range 10 {
				tx.DeleteEndpointSlice("default", fmt.Sprint(i))
			}
		},
	} {
		s.Update(func(tx *Tx) {
			for i := range 10 {
				name := ServiceName{Namespace: "default", Name: "web"}
				tx.SetEndpointSlice(&EndpointSlice{Namespace: "default", Name: fmt.Sprint(i), Service: name})
			}
		})
		require.Len(t, s.owners, 10)
		s.Update(forget)
		require.Empty(t, s.owners)
	}
}
