// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestRecorderDetectsInvalidUpdates(t *testing.T) {
	g := newGenerator(2, Harness{})
	node, a, b := g.node(), g.state(), g.state()
	for name, updates := range map[string][]*localsink.Update{
		"change is not listed":      {NewUpdate(node, nil, a), {Node: node, All: b}},
		"removal is not listed":     {NewUpdate(node, nil, a), {Node: node, All: NewState()}},
		"node change is not listed": {{Node: node, All: NewState()}},
		"removed twice":             {NewUpdate(node, nil, a), NewUpdate(node, a, NewState()), NewUpdate(node, a, NewState())},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Recorder{}
			for _, u := range updates {
				require.NoError(t, r.Sync(t.Context(), u))
			}
			require.Error(t, r.Err())
		})
	}
}

func TestRecorderDetectsOverlappingCalls(t *testing.T) {
	g := newGenerator(2, Harness{})
	u := NewUpdate(g.node(), nil, g.state())
	var r *Recorder
	r = &Recorder{Fail: func(*localsink.Update) error {
		require.Error(t, r.Sync(t.Context(), u), "a call during Fail")
		require.Empty(t, r.Updates(), "Fail may call the recorder")
		return nil
	}}
	require.NoError(t, r.Sync(t.Context(), u))
	require.ErrorContains(t, r.Err(), "overlap")
}

func TestRecorderAcceptsValidUpdates(t *testing.T) {
	g := newGenerator(2, Harness{})
	node, a, b := g.node(), g.state(), g.state()
	r := &Recorder{}
	require.NoError(t, r.Sync(t.Context(), NewUpdate(node, nil, a)))
	require.NoError(t, r.Sync(t.Context(), NewUpdate(node, a, b)))
	require.NoError(t, r.Wait(t.Context(), 2))
	require.NoError(t, r.Err())
	for svc := range b.All() {
		require.Same(t, svc, r.Service(svc.Name))
	}
}
