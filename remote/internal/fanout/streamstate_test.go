// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const lastState = stateClosed

// modelTransitions returns the transitions that the model allows, except those to closed,
// which it allows from all other states.
func modelTransitions() map[streamState][]streamState {
	settled := []streamState{stateSending, stateWaiting, stateBlocked, stateIdle}
	return map[streamState][]streamState{
		stateHandshake:     {stateInitialSync},
		stateInitialSync:   settled,
		stateSending:       settled,
		stateWaiting:       {stateSending, stateWaiting, stateIdle},
		stateBlocked:       settled,
		stateIdle:          {stateQueued},
		stateQueued:        {stateClaimed},
		stateClaimed:       {stateQueued, stateWorkerSending},
		stateWorkerSending: {stateIdle, stateQueued, stateSending},
	}
}

// A sender is what sends to a stream in a state.
type sender string

func senderOf(s streamState) sender {
	switch s {
	case stateHandshake, stateInitialSync, stateSending, stateWaiting, stateBlocked:
		return "its goroutine"
	case stateClaimed, stateWorkerSending:
		return "a worker"
	case stateIdle, stateQueued, stateClosed:
	}
	return "none"
}

func TestAllowedTransitionsMatchModel(t *testing.T) {
	t.Parallel()
	model := modelTransitions()
	for from := range lastState + 1 {
		for to := range lastState + 1 {
			want := slices.Contains(model[from], to) || to == stateClosed && from != stateClosed
			require.Equal(t, want, from.allows(to), "%v to %v", from, to)
		}
	}
}

// Only a worker takes a stream over from the hub, and only a worker hands a stream over to
// the goroutine of the stream. So no stream ever has two senders.
func TestTransitionsKeepOneSender(t *testing.T) {
	t.Parallel()
	for from, next := range modelTransitions() {
		for _, to := range next {
			change := [2]sender{senderOf(from), senderOf(to)}
			require.NotEqual(t, [2]sender{"none", "its goroutine"}, change, "%v to %v", from, to)
			require.NotEqual(t, [2]sender{"its goroutine", "a worker"}, change, "%v to %v", from, to)
			if change == [2]sender{"a worker", "its goroutine"} {
				require.Equal(t, []streamState{stateWorkerSending, stateSending}, []streamState{from, to})
			}
		}
	}
}

// The tables in the package comment have all states with their senders, and all transitions.
func TestPackageCommentListsStatesAndTransitions(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	states, transitions := map[string]sender{}, map[[2]string]bool{}
	columns := regexp.MustCompile(` {2,}`)
	for line := range strings.Lines(string(b)) {
		c := columns.Split(strings.TrimSpace(strings.TrimPrefix(line, "//\t")), -1)
		if !strings.HasPrefix(line, "//\t") || len(c) != 3 {
			continue
		}
		switch sender(c[1]) {
		case "none", "its goroutine", "a worker":
			states[c[0]] = sender(c[1])
			continue
		}
		to, _, _ := strings.Cut(c[2], ",")
		for from := range strings.SplitSeq(c[0], ", ") {
			transitions[[2]string{from, to}] = true
		}
	}
	for s := range lastState + 1 {
		require.Equal(t, senderOf(s), states[s.String()], s.String())
	}
	require.Len(t, states, int(lastState)+1)
	for from := range lastState {
		for to := range lastState {
			require.Equal(t, from.allows(to), transitions[[2]string{from.String(), to.String()}], "%v to %v", from, to)
		}
	}
	require.True(t, transitions[[2]string{"any", "closed"}])
	require.True(t, transitions[[2]string{"(new)", "handshake"}])
}

// A transition that the table does not allow ends the stream and changes no state.
func TestInvalidTransitionEndsStream(t *testing.T) {
	t.Parallel()
	h := New(strings.Compare, encodeCommit, Limits{})
	s := &testStream{hub: h, state: stateIdle, done: make(chan struct{})}
	require.False(t, h.transition(s, stateSending))
	require.Equal(t, stateIdle, s.state)
	require.ErrorIs(t, s.cause, errTransition)
	require.ErrorContains(t, s.cause, "idle to sending")
}

func TestTransitionOfClosedStreamIsIgnored(t *testing.T) {
	t.Parallel()
	h := New(strings.Compare, encodeCommit, Limits{})
	s := &testStream{hub: h, state: stateClosed, done: make(chan struct{})}
	for to := range lastState + 1 {
		require.False(t, h.transition(s, to))
	}
	require.NoError(t, s.cause)
}
