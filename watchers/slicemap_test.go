// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDeletedSlicesLeaveTheMap checks that the index of slices does not grow.
func TestDeletedSlicesLeaveTheMap(t *testing.T) {
	s := NewStore()
	for _, deleteAll := range []func(tx *Tx){
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
		require.Equal(t, 10, s.slices.Len())
		s.Update(deleteAll)
		require.Zero(t, s.slices.Len())
	}
}
