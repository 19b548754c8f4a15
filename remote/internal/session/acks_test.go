// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
)

// revisions returns the revisions in a message, oldest first.
func revisions(a *kpng.Ack) (all []uint64) {
	for _, e := range a.GetPreviousAcks() {
		all = append(all, e.GetRevision())
	}
	return append(all, a.GetRevision())
}

// Successes are delayed to send several together; failures and full batches are not. Each
// acknowledgement has its age.
func TestAckQueueSendsAcksTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		acks, start := NewAckQueue(), time.Now()
		next := func() []uint64 {
			ack, ok := acks.Next(t.Context(), time.Second)
			require.True(t, ok)
			for _, e := range ack.GetPreviousAcks() {
				require.GreaterOrEqual(t, e.GetAgeNs(), ack.GetAgeNs())
			}
			return revisions(ack)
		}
		acks.Add(&kpng.Ack{Revision: 1})
		go func() {
			time.Sleep(300 * time.Millisecond)
			acks.Add(&kpng.Ack{Revision: 2})
		}()
		ack, ok := acks.Next(t.Context(), time.Second)
		require.True(t, ok)
		require.Equal(t, []uint64{1, 2}, revisions(ack))
		require.Equal(t, time.Second, time.Since(start))
		require.Equal(t, uint64(700*time.Millisecond), ack.GetAgeNs())
		require.Equal(t, uint64(time.Second), ack.GetPreviousAcks()[0].GetAgeNs())

		acks.Add(&kpng.Ack{Revision: 3})
		acks.Add(&kpng.Ack{Revision: 4, Error: "no"})
		require.Equal(t, []uint64{3, 4}, next(), "a failure is sent at once")
		for i := range uint64(fullBatch) {
			acks.Add(&kpng.Ack{Revision: 5 + i})
		}
		require.Len(t, next(), fullBatch)
		require.Equal(t, time.Second, time.Since(start), "neither is delayed")
		for i := range uint64(1000) {
			acks.Add(&kpng.Ack{Revision: 100 + i})
		}
		require.Equal(t, uint64(1099), last(next()))
		acks.Add(&kpng.Ack{Revision: 2000})
		acks.Reset()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, ok = acks.Next(ctx, time.Second)
		require.False(t, ok)
		acks.Add(&kpng.Ack{Revision: 2001})
		ack, ok = acks.Next(t.Context(), 0)
		require.True(t, ok)
		require.Equal(t, []uint64{2001}, revisions(ack))
	})
}

func last(all []uint64) uint64 { return all[len(all)-1] }
