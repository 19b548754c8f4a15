// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A Harness creates the sinks that [TestSink] tests.
type Harness struct {
	// New returns a sink with an empty dataplane of its own, and a function that describes
	// the current content of the dataplane. Dataplanes that treat all packets alike must
	// have the same description, whatever their history. Both are used until t ends.
	New func(t *testing.T) (sink localsink.Sink, describe func() string)
	// Unsupported excludes features from the states that the sink receives.
	Unsupported localsink.Features
	// Extensions lists extensions that the sink reads: each changes the dataplane if the
	// Service, its endpoints and the Node have it. The states have these extensions and
	// others.
	Extensions []localsink.Extension
}

// TestSink checks that the sinks of a harness obey the laws of the contract. Each law is a
// subtest of t:
//
//   - Idempotent: repeating an update does not change the dataplane.
//   - HistoryIndependent: after any sequence of states and Nodes, the dataplane is the same as
//     if the last ones had been the first.
//   - FollowsNode: the same holds after a change of the Node alone.
//   - CutOff: the same holds each time that Sync returns nil, even if its context was done
//     before or during the call.
//   - RetrySafe: the same holds if calls of Sync were cancelled or failed in between.
//   - RemovesEverything: after all Services are removed, the dataplane is the same as after
//     an empty first state.
//   - Weights, Selection, RefusedShare, Pass, NoMasquerade, Origin, Extensions: a change of
//     this concept alone, and back, has the same result as a first state. If the sink, or one
//     inside it, is a localsink.FeatureReporter and does not list the concept as unsupported,
//     the dataplane changes.
func TestSink(t *testing.T, h Harness) {
	for _, law := range laws() {
		t.Run(law.name, func(t *testing.T) { law.check(t, h) })
	}
}

type law struct {
	name  string
	check func(t *testing.T, h Harness)
}

func laws() []law {
	all := []law{
		{"Idempotent", idempotent},
		{"HistoryIndependent", historyIndependent},
		{"FollowsNode", followsNode},
		{"CutOff", cutOff},
		{"RetrySafe", retrySafe},
		{"RemovesEverything", removesEverything},
	}
	for _, c := range concepts() {
		all = append(all, law{c.name, c.check})
	}
	return all
}

func idempotent(t *testing.T, h Harness) {
	sink, describe := h.New(t)
	g := newGenerator(1, h)
	u := NewUpdate(g.node(), nil, g.state())
	mustSync(t, sink, u)
	once := describe()
	mustSync(t, sink, u)
	mustSync(t, sink, &localsink.Update{Node: u.Node, All: u.All})
	requireSame(t, once, describe())
}

func historyIndependent(t *testing.T, h Harness) {
	for seed := range uint64(3) {
		sink, describe := h.New(t)
		g := newGenerator(seed, h)
		d := &Driver{Sink: sink, Node: g.node()}
		for range 40 {
			if g.IntN(4) == 0 {
				d.Node = g.nextNode()
			}
			if err := d.Sync(t.Context(), g.state()); err != nil {
				t.Fatalf("Sync: %v", err)
			}
		}
		requireLikeFirst(t, h, d, describe)
	}
}

// followsNode changes the Node to each of its variants and back, without other changes.
func followsNode(t *testing.T, h Harness) {
	sink, describe := h.New(t)
	g := newGenerator(7, h)
	d := &Driver{Sink: sink, Node: g.node()}
	state := g.state()
	for _, node := range g.nodes() {
		for _, d.Node = range []*localsink.Node{g.node(), node} {
			if err := d.Sync(t.Context(), state); err != nil {
				t.Fatalf("Sync: %v", err)
			}
		}
		requireLikeFirst(t, h, d, describe)
	}
}

// cutOff ends the context of most calls of Sync before or during the call. After each call
// that returns nil, it compares the dataplane with a new one of the same state.
func cutOff(t *testing.T, h Harness) {
	sink, describe := h.New(t)
	g := newGenerator(11, h)
	d := &Driver{Sink: sink}
	type step struct {
		node  *localsink.Node
		state localsink.State
	}
	steps := []step{{g.node(), g.state()}, {g.nodes()[4], g.state()}, {g.node(), g.state()}, {g.node(), NewState()}}
	want := make([]string, len(steps)) // descriptions
	for i, s := range steps {
		fresh, describeFresh := h.New(t)
		mustSync(t, fresh, NewUpdate(s.node, nil, s.state))
		want[i] = describeFresh()
	}
	for i := range 80 {
		next := g.IntN(len(steps))
		d.Node = steps[next].node
		ctx, cancel := g.cutContext(t.Context(), i)
		err := d.Sync(ctx, steps[next].state)
		cancel()
		if err != nil && i%3 == 0 {
			err = d.Sync(t.Context(), steps[next].state)
			if err != nil {
				t.Fatalf("Sync after one that was cut off: %v", err)
			}
		}
		if got := describe(); err == nil && got != want[next] {
			t.Fatalf("call %d of Sync returned nil, but the dataplane does not have its state; want:\n%s\ngot:\n%s", i, want[next], got)
		}
	}
}

// cutContext returns a context that ends before the call, after a time, or when the sink
// has looked at it a number of times; sometimes it does not end.
func (g generator) cutContext(parent context.Context, i int) (context.Context, context.CancelFunc) {
	switch i % 4 {
	case 0:
		return context.WithCancel(parent)
	case 1:
		return context.WithTimeout(parent, time.Duration(g.IntN(8))*50*time.Microsecond)
	}
	ctx, cancel := context.WithCancel(parent)
	c := &countingContext{Context: ctx, cancel: cancel}
	c.left.Store(int32(g.IntN(20)))
	return c, cancel
}

// A countingContext ends when Err or Done has been called a number of times.
type countingContext struct {
	context.Context
	cancel context.CancelFunc
	left   atomic.Int32
}

func (c *countingContext) Err() error {
	c.count()
	return c.Context.Err()
}

func (c *countingContext) Done() <-chan struct{} {
	c.count()
	return c.Context.Done()
}

func (c *countingContext) count() {
	if c.left.Add(-1) < 0 {
		c.cancel()
	}
}

func retrySafe(t *testing.T, h Harness) {
	sink, describe := h.New(t)
	g := newGenerator(9, h)
	// This sink fails after the tested one has succeeded, so that the tested sink must
	// revert an update that was not acknowledged.
	fail := false
	failing := localsink.Func(func(context.Context, *localsink.Update) error {
		if fail = !fail; fail {
			return errors.New("injected")
		}
		return nil
	})
	d := &Driver{Sink: localsink.Chain(sink, failing), Node: g.node()}
	states := []localsink.State{g.state(), g.state(), g.state()}
	for i := range 60 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7)*50*time.Microsecond)
		_ = d.Sync(ctx, states[g.IntN(len(states))])
		cancel()
	}
	for d.Sync(t.Context(), states[0]) != nil {
		if t.Context().Err() != nil {
			t.Fatal("Sync keeps failing")
		}
	}
	requireLikeFirst(t, h, d, describe)
}

func removesEverything(t *testing.T, h Harness) {
	sink, describe := h.New(t)
	g := newGenerator(5, h)
	full := g.state()
	mustSync(t, sink, NewUpdate(g.node(), nil, full))
	mustSync(t, sink, NewUpdate(g.node(), full, NewState()))
	fresh, describeFresh := h.New(t)
	mustSync(t, fresh, NewUpdate(g.node(), nil, NewState()))
	requireSame(t, describeFresh(), describe())
}

// requireLikeFirst checks that the dataplane of d is the same as a new one that received
// the acknowledged state of d as its first update.
func requireLikeFirst(t *testing.T, h Harness, d *Driver, describe func() string) {
	t.Helper()
	fresh, describeFresh := h.New(t)
	mustSync(t, fresh, NewUpdate(d.Node, nil, d.acknowledged))
	requireSame(t, describeFresh(), describe())
}

func mustSync(t *testing.T, sink localsink.Sink, u *localsink.Update) {
	t.Helper()
	if err := sink.Sync(t.Context(), u); err != nil {
		t.Fatalf("Sync: %v", err)
	}
}

func requireSame(t *testing.T, want, got string) {
	t.Helper()
	if want != got {
		t.Fatalf("dataplanes differ; want:\n%s\ngot:\n%s", want, got)
	}
}
