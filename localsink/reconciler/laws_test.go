// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A board is a source: what is wanted is written on it.
type board struct {
	mu       sync.Mutex
	node     *localsink.Node
	wanted   map[string]int
	triggers []time.Time
	newer    chan struct{}
}

func newBoard() *board {
	return &board{node: &localsink.Node{Name: "n"}, wanted: map[string]int{}, newer: make(chan struct{})}
}

func (b *board) write(fn func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn()
	close(b.newer)
	b.newer = make(chan struct{})
}

// set writes what is wanted of a Service, 0 for nothing.
func (b *board) set(name string, value int) {
	b.write(func() {
		if b.wanted[name] = value; value == 0 {
			delete(b.wanted, name)
		}
	})
}

// Refresh implements feed.Source.
func (b *board) Refresh(f *reconciler.Tracker) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	f.SetNode(b.node)
	for _, t := range b.triggers {
		f.AddTrigger(t)
	}
	b.triggers = nil
	f.Update(func(tx *reconciler.Tx) {
		for svc := range f.FullUpdate().All.All() {
			if b.wanted[svc.Name.Name] == 0 {
				tx.Delete(svc.Name)
			}
		}
		for name, value := range b.wanted {
			tx.Set(service(name, value))
		}
	})
	return b.newer
}

func service(name string, value int) *localsink.Service {
	return &localsink.Service{
		Name:        localsink.ServiceName{Namespace: "ns", Name: name},
		HealthCheck: &localsink.HealthCheck{LocalEndpoints: value},
	}
}

// shows says whether an update has what is written.
func (b *board) shows(t *testing.T, u *localsink.Update) {
	got := map[string]int{}
	for svc := range u.All.All() {
		got[svc.Name.Name] = svc.HealthCheck.LocalEndpoints
	}
	require.Equal(t, b.wanted, got)
	require.Equal(t, b.node, u.Node)
}

// A flaky sink fails when told to, and counts its calls.
type flaky struct {
	damaged         chan struct{} // nil: never
	failing         atomic.Bool
	calls, failures atomic.Int64 // failures to come
}

func (f *flaky) ResyncRequested() <-chan struct{} { return f.damaged }

func (f *flaky) Sync(context.Context, *localsink.Update) error {
	f.calls.Add(1)
	if f.failing.Load() || f.failures.Add(-1) >= 0 {
		return errors.New("injected")
	}
	return nil
}

// start runs the loop; the result ends it.
func start(t *testing.T, b *board, sink localsink.Sink, cfg reconciler.Config) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done, f := make(chan error, 1), reconciler.NewTracker(b.node)
	go func() { done <- reconciler.Run(ctx, f, b, sink, cfg) }()
	return func() {
		cancel()
		require.NoError(t, <-done)
	}
}

// TestOP14EverySinkEndsWithWhatIsWanted: however it fails, and whatever changes meanwhile;
// the recorder checks that every update is relative to the last accepted one.
func TestOP14EverySinkEndsWithWhatIsWanted(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			r, coin := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
			rec := &sinktest.Recorder{Fail: func(*localsink.Update) error {
				time.Sleep(time.Duration(coin.IntN(50)) * time.Millisecond)
				if coin.IntN(3) == 0 {
					return errors.New("injected")
				}
				return nil
			}}
			b := newBoard()
			stop := start(t, b, rec, reconciler.Config{})
			nodes := []*localsink.Node{b.node, {Name: "n", IPs: []netip.Addr{netip.IPv6Loopback()}}, {Name: "n", ServiceNetworks: []netip.Prefix{{}}}}
			for range 300 {
				switch name := fmt.Sprint(r.IntN(10)); r.IntN(10) {
				case 0:
					b.write(func() { b.node = nodes[r.IntN(len(nodes))] })
				case 1, 2, 3:
					b.set(name, 0)
				default:
					b.set(name, 1+r.IntN(3))
				}
				time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
			}
			time.Sleep(10 * time.Minute)
			stop()
			require.NoError(t, rec.Err())
			updates := rec.Updates()
			b.shows(t, updates[len(updates)-1])
		})
	}
}

// TestOP14TakenBack: what a failed Sync was told is told again, also when it is as it was
// before, or gone again: part of the sink may have done it.
func TestOP14TakenBack(t *testing.T) {
	b := newBoard()
	f, rec := reconciler.NewTracker(b.node), &sinktest.Recorder{}
	sync := func(fail error) *localsink.Update {
		rec.Fail = func(*localsink.Update) error { return fail }
		b.Refresh(f)
		u := f.Pending()
		require.NotNil(t, u)
		if rec.Sync(t.Context(), u) == nil {
			f.Acknowledge(u)
		}
		return u
	}
	node, other := b.node, &localsink.Node{Name: "other"}
	b.set("svc", 1)
	sync(nil)
	b.set("svc", 2)
	b.set("added", 1)
	b.node = other
	sync(errors.New("injected"))
	b.set("svc", 1)
	b.set("added", 0)
	b.node = node
	for _, fail := range []error{errors.New("injected"), nil} {
		u := sync(fail)
		require.Len(t, u.Changed, 1, "the Service that is as it was")
		require.Len(t, u.Removed, 1, "the Service that never was accepted")
		require.True(t, u.NodeChanged, "the node that is as it was")
	}
	require.NoError(t, rec.Err())
	b.Refresh(f)
	require.Nil(t, f.Pending())
}

// TestTriggersGoWithTheirUpdate: with each attempt until one is accepted, and not with a
// later one; their number is bounded.
func TestTriggersGoWithTheirUpdate(t *testing.T) {
	f, at := reconciler.NewTracker(&localsink.Node{Name: "n"}), time.Unix(1, 0)
	set := func(value int) {
		f.AddTrigger(at)
		f.Update(func(tx *reconciler.Tx) { tx.Set(service("svc", value)) })
	}
	set(1)
	require.Equal(t, []time.Time{at}, f.Pending().TriggerTimes)
	set(2)
	u := f.Pending()
	require.Equal(t, []time.Time{at, at}, u.TriggerTimes, "it was not accepted")
	set(3) // while the sink works
	f.Acknowledge(u)
	u = f.Pending()
	require.Equal(t, []time.Time{at}, u.TriggerTimes)
	f.Acknowledge(u)
	set(3)
	require.Nil(t, f.Pending(), "it changes nothing")
	f.Update(func(tx *reconciler.Tx) { tx.Set(service("svc", 4)) })
	require.Empty(t, f.Pending().TriggerTimes, "that was for nothing")
	for range 10000 {
		f.AddTrigger(at)
	}
	require.LessOrEqual(t, len(f.Pending().TriggerTimes), 4096)
}

// TestOP10RunTiming: retries back off, and MinInterval keeps its distance.
func TestOP10RunTiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, b := &flaky{}, newBoard()
		sink.failing.Store(true)
		stop := start(t, b, sink, reconciler.Config{MinInterval: time.Second, MaxBackoff: 10 * time.Second})
		time.Sleep(time.Minute)
		require.Greater(t, sink.calls.Load(), int64(6))
		require.Less(t, sink.calls.Load(), int64(25))
		sink.failing.Store(false)
		time.Sleep(time.Minute)
		sink.calls.Store(0)
		for i := range 50 {
			b.set("svc", 1+i)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		require.GreaterOrEqual(t, sink.calls.Load(), int64(5))
		require.LessOrEqual(t, sink.calls.Load(), int64(7))
		stop()
	})
}

// TestOP10Backoff: changes neither hurry a failing sink without limit, nor make a short
// outage long.
func TestOP10Backoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, b := &flaky{}, newBoard()
		sink.failing.Store(true)
		stop := start(t, b, sink, reconciler.Config{})
		value := 0
		change := func(n int, every time.Duration) {
			for range n {
				value++
				b.set("svc", value)
				time.Sleep(every)
			}
		}
		change(20, 50*time.Millisecond)
		sink.failing.Store(false)
		time.Sleep(2500 * time.Millisecond)
		before := sink.calls.Load()
		time.Sleep(time.Hour)
		require.Equal(t, before, sink.calls.Load(), "accepted soon after the outage")

		sink.failing.Store(true)
		change(1, time.Minute)
		before = sink.calls.Load()
		change(600, 100*time.Millisecond)
		require.InDelta(t, 60, sink.calls.Load()-before, 10, "one a second, however much changes")
		stop()
	})
}

// TestOP16Repair: a sink that says it is damaged is called again, and again if that
// fails.
func TestOP16Repair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &flaky{damaged: make(chan struct{}, 1)}
		stop := start(t, newBoard(), localsink.Tee(&sinktest.Recorder{}, sink), reconciler.Config{})
		synctest.Wait()
		require.EqualValues(t, 1, sink.calls.Load())
		sink.failures.Store(2)
		sink.damaged <- struct{}{}
		time.Sleep(time.Hour)
		require.EqualValues(t, 4, sink.calls.Load())
		for range 1000 { // it never gets enough
			sink.damaged <- struct{}{}
			time.Sleep(10 * time.Millisecond)
		}
		require.LessOrEqual(t, sink.calls.Load(), int64(4+110))
		stop()
	})
}

// TestDoneTellsHowTheSinkStands after each refresh.
func TestDoneTellsHowTheSinkStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, b := &flaky{}, newBoard()
		type standing struct {
			failed bool
			calls  int64
		}
		var mu sync.Mutex
		var told []standing
		said := func() []standing {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(told)
		}
		stop := start(t, b, sink, reconciler.Config{OnSync: func(err error, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, standing{err != nil, sink.calls.Load()})
		}})
		last := func() standing { all := said(); return all[len(all)-1] }
		require.Equal(t, standing{false, 1}, last())
		b.write(func() {}) // nothing that matters
		require.Equal(t, []standing{{false, 1}, {false, 1}}, said())
		sink.failures.Store(1)
		b.set("svc", 1)
		require.Equal(t, standing{true, 2}, last())
		time.Sleep(time.Minute)
		require.Equal(t, standing{false, 3}, last())
		require.Len(t, said(), 4)
		stop()
	})
}

// TestConfig names what is wrong.
func TestConfig(t *testing.T) {
	for _, cfg := range []reconciler.Config{{MinInterval: -1}, {MaxBackoff: -1}} {
		require.ErrorContains(t, reconciler.Run(t.Context(), reconciler.NewTracker(&localsink.Node{}), newBoard(), &flaky{}, cfg), "must not be negative")
	}
}

// TestOP14FailuresAfterAnEarlySuccess: news may end a long pause early; the failure after
// that is tried again like any other.
func TestOP14FailuresAfterAnEarlySuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, sink := newBoard(), &flaky{}
		sink.failures.Store(9)
		stop := start(t, b, sink, reconciler.Config{})
		time.Sleep(20 * time.Second) // the pauses are long by now
		synctest.Wait()
		sink.failures.Store(0)
		b.set("a", 1)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		sink.failures.Store(1)
		calls := sink.calls.Load()
		b.set("a", 2)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, calls+2, sink.calls.Load(), "one fails, the next does not")
		stop()
	})
}
