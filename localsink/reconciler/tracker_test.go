// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestOP14RevertedChangesStayPending checks that the delta of a failed Sync is pending again
// even if its changes were reverted, because the sink may have applied a part of them.
func TestOP14RevertedChangesStayPending(t *testing.T) {
	source := newFakeSource()
	tracker, rec := reconciler.NewTracker(source.node), &sinktest.Recorder{}
	sync := func(fail error) *localsink.Update {
		rec.Fail = func(*localsink.Update) error { return fail }
		source.Refresh(tracker)
		u := tracker.Pending()
		require.NotNil(t, u)
		if rec.Sync(t.Context(), u) == nil {
			tracker.Acknowledge(u)
		}
		return u
	}
	node, other := source.node, &localsink.Node{Name: "other"}
	source.set("svc", 1)
	sync(nil)
	source.set("svc", 2)
	source.set("added", 1)
	source.node = other
	sync(errors.New("injected"))
	source.set("svc", 1)
	source.set("added", 0)
	source.node = node
	for _, fail := range []error{errors.New("injected"), nil} {
		u := sync(fail)
		require.Len(t, u.Changed, 1, "the reverted Service")
		require.Len(t, u.Removed, 1, "the added and removed Service")
		require.True(t, u.NodeChanged, "the reverted node")
	}
	require.NoError(t, rec.Err())
	source.Refresh(tracker)
	require.Nil(t, tracker.Pending())
}

// TestTriggerTimesStayWithTheirUpdate checks that trigger times are part of each update until
// one is acknowledged, not of later ones, and that their number is bounded.
func TestTriggerTimesStayWithTheirUpdate(t *testing.T) {
	tracker, at := reconciler.NewTracker(&localsink.Node{Name: "n"}), time.Unix(1, 0)
	set := func(value int) {
		tracker.AddTriggerTime(at)
		tracker.Update(func(tx *reconciler.Tx) { tx.Set(service("svc", value)) })
	}
	set(1)
	require.Equal(t, []time.Time{at}, tracker.Pending().TriggerTimes)
	set(2)
	u := tracker.Pending()
	require.Equal(t, []time.Time{at, at}, u.TriggerTimes, "not acknowledged yet")
	set(3) // during Sync
	tracker.Acknowledge(u)
	u = tracker.Pending()
	require.Equal(t, []time.Time{at}, u.TriggerTimes)
	tracker.Acknowledge(u)
	set(3)
	require.Nil(t, tracker.Pending(), "no change of the content")
	tracker.Update(func(tx *reconciler.Tx) { tx.Set(service("svc", 4)) })
	require.Empty(t, tracker.Pending().TriggerTimes, "the trigger time of a write without a change is dropped")
	for range 10000 {
		tracker.AddTriggerTime(at)
	}
	require.LessOrEqual(t, len(tracker.Pending().TriggerTimes), 4096)
}

func TestEqualNodeIsNotAChange(t *testing.T) {
	tracker := reconciler.NewTracker(&localsink.Node{Name: "n"})
	tracker.Acknowledge(tracker.Pending())
	tracker.SetNode(&localsink.Node{Name: "n"})
	require.Nil(t, tracker.Pending())
	tracker.SetNode(&localsink.Node{Name: "n", Deleting: true})
	require.True(t, tracker.Pending().NodeChanged)
}
