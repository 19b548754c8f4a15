// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// A recorder is a sink that returns a fixed error and appends its calls to a shared list.
type recorder struct {
	name  string
	err   error
	calls *[]string
}

func (r *recorder) Sync(_ context.Context, u *localsink.Update) error {
	*r.calls = append(*r.calls, r.name+" "+u.Node.Name)
	return r.err
}

// recorders returns one sink per error, named a, b, c and so on.
func recorders(errs ...error) (calls *[]string, sinks []localsink.Sink) {
	calls = &[]string{}
	for i, err := range errs {
		sinks = append(sinks, &recorder{name: string(rune('a' + i)), err: err, calls: calls})
	}
	return calls, sinks
}

func update(node string) *localsink.Update {
	return &localsink.Update{Node: &localsink.Node{Name: node}}
}

func TestTeeCallsAllAndChainStops(t *testing.T) {
	one, two := errors.New("one"), errors.New("two")
	for _, c := range []struct {
		name   string
		errs   []error
		tee    string // calls
		chain  string
		failed []error // joined by Tee; Chain returns the first
	}{
		{"no sinks", nil, "", "", nil},
		{"OP-15 all succeed", []error{nil, nil, nil}, "a n, b n, c n", "a n, b n, c n", nil},
		{"OP-15 the first fails", []error{one, nil}, "a n, b n", "a n", []error{one}},
		{"OP-15 the middle fails", []error{nil, one, nil}, "a n, b n, c n", "a n, b n", []error{one}},
		{"two fail", []error{one, nil, two}, "a n, b n, c n", "a n", []error{one, two}},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls, sinks := recorders(c.errs...)
			err := localsink.Tee(sinks...).Sync(t.Context(), update("n"))
			require.Equal(t, c.tee, strings.Join(*calls, ", "))
			require.Equal(t, len(c.failed) > 0, err != nil)
			for _, failed := range c.failed {
				require.ErrorIs(t, err, failed)
			}

			calls, sinks = recorders(c.errs...)
			err = localsink.Chain(sinks...).Sync(t.Context(), update("n"))
			require.Equal(t, c.chain, strings.Join(*calls, ", "))
			require.Equal(t, len(c.failed) > 0, err != nil)
			for i, failed := range c.failed {
				require.Equal(t, i == 0, errors.Is(err, failed))
			}
		})
	}
}

func TestAllSinksOfAFailedTeeAreCalledAgain(t *testing.T) {
	calls, sinks := recorders(nil, errors.New("failed"))
	tee := localsink.Tee(sinks...)
	require.Error(t, tee.Sync(t.Context(), update("1")))
	sinks[1].(*recorder).err = nil
	require.NoError(t, tee.Sync(t.Context(), update("2")))
	require.Equal(t, []string{"a 1", "b 1", "a 2", "b 2"}, *calls)
}

func TestTeeAndChainNest(t *testing.T) {
	failed := errors.New("failed")
	calls, s := recorders(nil, failed, nil, nil)
	err := localsink.Tee(localsink.Chain(s[0], s[1], s[2]), s[3]).Sync(t.Context(), update("n"))
	require.ErrorIs(t, err, failed)
	require.Equal(t, []string{"a n", "b n", "d n"}, *calls)
}

// A decorator exposes its inner sink to Walk.
type decorator struct{ localsink.Sink }

func (d decorator) Sinks() []localsink.Sink { return []localsink.Sink{d.Sink} }

// A requester is a sink with an optional interface.
type requester struct{ recorder }

func (*requester) ResyncRequested() <-chan struct{} { return nil }

func TestWalkFindsNestedSinks(t *testing.T) {
	_, s := recorders(nil, nil)
	optional := &requester{}
	chain := localsink.Chain(s[1], optional)
	wrapped := decorator{chain}
	tee := localsink.Tee(wrapped, s[0])

	all := []localsink.Sink{tee, wrapped, chain, s[1], optional, s[0]}
	require.Equal(t, all, slices.Collect(localsink.Walk(tee)))
	require.Equal(t, []localsink.Sink{s[0]}, slices.Collect(localsink.Walk(s[0])))
	for n := range all {
		var got []localsink.Sink
		for sink := range localsink.Walk(tee) {
			got = append(got, sink)
			if len(got) == n+1 {
				break
			}
		}
		require.Equal(t, all[:n+1], got, "the iterator can stop anywhere")
	}

	var found []localsink.ResyncRequester
	for sink := range localsink.Walk(tee) {
		if r, ok := sink.(localsink.ResyncRequester); ok {
			found = append(found, r)
		}
	}
	require.Equal(t, []localsink.ResyncRequester{optional}, found)
}
