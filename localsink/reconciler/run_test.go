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

// A fakeSource is a Source whose desired state is set by tests.
type fakeSource struct {
	mu      sync.Mutex
	node    *localsink.Node
	desired map[string]int // number of local endpoints by Service
	newer   chan struct{}
}

func newFakeSource() *fakeSource {
	return &fakeSource{node: &localsink.Node{Name: "n"}, desired: map[string]int{}, newer: make(chan struct{})}
}

func (s *fakeSource) change(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
	close(s.newer)
	s.newer = make(chan struct{})
}

// set sets the value of a Service. Zero removes the Service.
func (s *fakeSource) set(name string, value int) {
	s.change(func() {
		if s.desired[name] = value; value == 0 {
			delete(s.desired, name)
		}
	})
}

// Refresh implements reconciler.Source.
func (s *fakeSource) Refresh(t *reconciler.Tracker) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.SetNode(s.node)
	t.Update(func(tx *reconciler.Tx) {
		for svc := range t.FullUpdate().All.All() {
			if s.desired[svc.Name.Name] == 0 {
				tx.Delete(svc.Name)
			}
		}
		for name, value := range s.desired {
			tx.Set(service(name, value))
		}
	})
	return s.newer
}

func service(name string, value int) *localsink.Service {
	return &localsink.Service{
		Name:        localsink.ServiceName{Namespace: "ns", Name: name},
		HealthCheck: &localsink.HealthCheck{LocalEndpoints: value},
	}
}

// requireEqual checks that u has the desired state.
func (s *fakeSource) requireEqual(t *testing.T, u *localsink.Update) {
	got := map[string]int{}
	for svc := range u.All.All() {
		got[svc.Name.Name] = svc.HealthCheck.LocalEndpoints
	}
	require.Equal(t, s.desired, got)
	require.Equal(t, s.node, u.Node)
}

// A fakeSink counts its calls and fails on demand.
type fakeSink struct {
	resync   chan struct{} // nil: no requests
	failing  atomic.Bool   // fail all calls
	failures atomic.Int64  // fail this many calls from now on
	calls    atomic.Int64
}

func (f *fakeSink) ResyncRequested() <-chan struct{} { return f.resync }

func (f *fakeSink) Sync(context.Context, *localsink.Update) error {
	f.calls.Add(1)
	if f.failing.Load() || f.failures.Add(-1) >= 0 {
		return errors.New("injected")
	}
	return nil
}

// start calls Run in a goroutine until stop is called.
func start(t *testing.T, source *fakeSource, sink localsink.Sink, cfg reconciler.Config) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done, tracker := make(chan error, 1), reconciler.NewTracker(source.node)
	go func() { done <- reconciler.Run(ctx, tracker, source, sink, cfg) }()
	return func() {
		cancel()
		require.NoError(t, <-done)
	}
}

// TestOP14SinkConvergesToDesiredState changes the state at random while a third of the calls
// fail. The recorder checks that each update is relative to the last acknowledged one.
func TestOP14SinkConvergesToDesiredState(t *testing.T) {
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
			source := newFakeSource()
			stop := start(t, source, rec, reconciler.Config{})
			nodes := []*localsink.Node{source.node, {Name: "n", IPs: []netip.Addr{netip.IPv6Loopback()}}, {Name: "n", ServiceNetworks: []netip.Prefix{{}}}}
			for range 300 {
				switch name := fmt.Sprint(r.IntN(10)); r.IntN(10) {
				case 0:
					source.change(func() { source.node = nodes[r.IntN(len(nodes))] })
				case 1, 2, 3:
					source.set(name, 0)
				default:
					source.set(name, 1+r.IntN(3))
				}
				time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
			}
			time.Sleep(10 * time.Minute)
			stop()
			require.NoError(t, rec.Err())
			updates := rec.Updates()
			source.requireEqual(t, updates[len(updates)-1])
		})
	}
}

func TestOP10RetriesBackOffAndMinIntervalHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, source := &fakeSink{}, newFakeSource()
		sink.failing.Store(true)
		stop := start(t, source, sink, reconciler.Config{MinInterval: time.Second, MaxBackoff: 10 * time.Second})
		time.Sleep(time.Minute)
		require.Greater(t, sink.calls.Load(), int64(6))
		require.Less(t, sink.calls.Load(), int64(25))
		sink.failing.Store(false)
		time.Sleep(time.Minute)
		sink.calls.Store(0)
		for i := range 50 {
			source.set("svc", 1+i)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		require.GreaterOrEqual(t, sink.calls.Load(), int64(5))
		require.LessOrEqual(t, sink.calls.Load(), int64(7))
		stop()
	})
}

// TestOP10ChangesCauseOneRetryPerSecond checks that changes neither cause unlimited retries
// nor extend the backoff of a short outage.
func TestOP10ChangesCauseOneRetryPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, source := &fakeSink{}, newFakeSource()
		sink.failing.Store(true)
		stop := start(t, source, sink, reconciler.Config{})
		value := 0
		change := func(n int, every time.Duration) {
			for range n {
				value++
				source.set("svc", value)
				time.Sleep(every)
			}
		}
		change(20, 50*time.Millisecond)
		sink.failing.Store(false)
		time.Sleep(2500 * time.Millisecond)
		before := sink.calls.Load()
		time.Sleep(time.Hour)
		require.Equal(t, before, sink.calls.Load(), "acknowledged soon after the outage")

		sink.failing.Store(true)
		change(1, time.Minute)
		before = sink.calls.Load()
		change(600, 100*time.Millisecond)
		require.InDelta(t, 60, sink.calls.Load()-before, 10, "one attempt per second")
		stop()
	})
}

// TestOP16RequestedResyncIsRetried checks that a requested resync is repeated until it
// succeeds, and that requests are rate limited.
func TestOP16RequestedResyncIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{resync: make(chan struct{}, 1)}
		stop := start(t, newFakeSource(), localsink.Tee(&sinktest.Recorder{}, sink), reconciler.Config{})
		synctest.Wait()
		require.EqualValues(t, 1, sink.calls.Load())
		sink.failures.Store(2)
		sink.resync <- struct{}{}
		time.Sleep(time.Hour)
		require.EqualValues(t, 4, sink.calls.Load())
		for range 1000 {
			sink.resync <- struct{}{}
			time.Sleep(10 * time.Millisecond)
		}
		require.LessOrEqual(t, sink.calls.Load(), int64(4+110))
		stop()
	})
}

// TestRequestOutlivesRun checks that a request which Run has not answered when it ends is answered by the
// next call: one that Sync was answering, and one that waited.
func TestRequestOutlivesRun(t *testing.T) {
	for name, block := range map[string]bool{"in Sync": true, "waiting": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				requester, source := &fakeSink{resync: make(chan struct{}, 1)}, newFakeSource()
				blocked := false
				var updates []int
				sink := localsink.Chain(requester, localsink.Func(func(ctx context.Context, u *localsink.Update) error {
					if blocked {
						<-ctx.Done()
						return ctx.Err()
					}
					updates = append(updates, len(u.Changed))
					return nil
				}))
				source.set("a", 1)
				tracker := reconciler.NewTracker(source.node)
				run := func() (stop func()) {
					ctx, cancel := context.WithCancel(t.Context())
					done := make(chan error, 1)
					go func() { done <- reconciler.Run(ctx, tracker, source, sink, reconciler.Config{}) }()
					synctest.Wait()
					return func() { cancel(); require.NoError(t, <-done) }
				}
				stop := run()
				blocked = block
				requester.resync <- struct{}{}
				synctest.Wait() // the request waits for 100 ms
				if block {
					time.Sleep(time.Second)
				}
				stop()
				blocked = false
				stop = run()
				time.Sleep(time.Second)
				stop()
				require.Equal(t, []int{1, 0}, updates)
			})
		})
	}
}

// TestRequestIsAnsweredWithoutDelta checks that a request that meets changes is answered after them, by
// an update without a delta.
func TestRequestIsAnsweredWithoutDelta(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, source := &fakeSink{resync: make(chan struct{}, 1)}, newFakeSource()
		var changed []int
		record := localsink.Func(func(_ context.Context, u *localsink.Update) error {
			changed = append(changed, len(u.Changed))
			return nil
		})
		stop := start(t, source, localsink.Chain(sink, record), reconciler.Config{})
		synctest.Wait()
		source.set("a", 1)
		synctest.Wait()
		changed = nil
		sink.resync <- struct{}{}
		synctest.Wait() // the request waits for the end of the interval
		source.set("b", 1)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []int{1, 0}, changed)
		sink.resync <- struct{}{}
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, []int{1, 0, 0}, changed)
		sink.resync <- struct{}{}
		for version := range 100 { // a busy source does not put it off
			source.set("c", version)
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		answers := 0
		for _, n := range changed[3:] {
			if n == 0 {
				answers++
			}
		}
		require.Equal(t, 1, answers)
		stop()
	})
}

func TestOnSyncReportsEachRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, source := &fakeSink{}, newFakeSource()
		type report struct {
			failed bool
			calls  int64 // of Sync so far
		}
		var mu sync.Mutex
		var received []report
		reports := func() []report {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(received)
		}
		stop := start(t, source, sink, reconciler.Config{OnSync: func(err error, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			received = append(received, report{err != nil, sink.calls.Load()})
		}})
		last := func() report { all := reports(); return all[len(all)-1] }
		require.Equal(t, report{false, 1}, last())
		source.change(func() {}) // no change of the desired state
		require.Equal(t, []report{{false, 1}, {false, 1}}, reports())
		sink.failures.Store(1)
		source.set("svc", 1)
		require.Equal(t, report{true, 2}, last())
		time.Sleep(time.Minute)
		require.Equal(t, report{false, 3}, last())
		require.Len(t, reports(), 4)
		stop()
	})
}

func TestRunRejectsInvalidConfig(t *testing.T) {
	for want, cfg := range map[string]reconciler.Config{
		"MinInterval: -1s must not be negative": {MinInterval: -time.Second},
		"MaxBackoff: -1ns must not be negative": {MaxBackoff: -1},
	} {
		require.ErrorContains(t, reconciler.Run(t.Context(), reconciler.NewTracker(&localsink.Node{}), newFakeSource(), &fakeSink{}, cfg), want)
	}
}

// TestOP14EarlySuccessResetsBackoff checks that a failure after an early, successful attempt
// is retried as soon as any first failure.
func TestOP14EarlySuccessResetsBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, sink := newFakeSource(), &fakeSink{}
		sink.failures.Store(9)
		stop := start(t, source, sink, reconciler.Config{})
		time.Sleep(20 * time.Second) // the backoff is long by now
		synctest.Wait()
		sink.failures.Store(0)
		source.set("a", 1)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		sink.failures.Store(1)
		calls := sink.calls.Load()
		source.set("a", 2)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, calls+2, sink.calls.Load(), "one failure, then one success")
		stop()
	})
}
