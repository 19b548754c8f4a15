// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// A recordingSink is a sink whose calls take a fixed time, fail a number of times, and are
// recorded.
type recordingSink struct {
	duration time.Duration // of each call

	mu sync.Mutex
	record
}

type record struct {
	failures int         // calls that are still to fail
	begun    []time.Time // of each call
	ended    []time.Time // of each call
	total    []int       // Services in each update
	changed  []int       // changed Services in each update
	running  bool
	overlaps int // calls that began before the previous one ended
}

func (s *recordingSink) Sync(_ context.Context, u *localsink.Update) error {
	s.change(func(r *record) {
		if r.running {
			r.overlaps++
		}
		r.running = true
		r.begun, r.total, r.changed = append(r.begun, time.Now()), append(r.total, u.All.Len()), append(r.changed, len(u.Changed))
	})
	time.Sleep(s.duration)
	failed := false
	s.change(func(r *record) {
		r.ended, r.running = append(r.ended, time.Now()), false
		if failed = r.failures > 0; failed {
			r.failures--
		}
	})
	if failed {
		return errors.New("injected")
	}
	return nil
}

func (s *recordingSink) change(fn func(r *record)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(&s.record)
}

// read returns a copy of the record.
func (s *recordingSink) read() (out record) {
	s.change(func(r *record) { out = *r })
	return out
}

// gaps returns the time from the end of each call to the beginning of the next.
func (r *record) gaps() (out []time.Duration) {
	for i := 1; i < len(r.begun); i++ {
		out = append(out, r.begun[i].Sub(r.ended[i-1]))
	}
	return out
}

// A loop is a running Follow in a synctest bubble, with a fake clock.
type loop struct {
	t     *testing.T
	store *watchers.Store
	sink  *recordingSink
	n     int
}

func follow(t *testing.T, cfg nodelocal.Config, sink *recordingSink, test func(l *loop)) {
	synctest.Test(t, func(t *testing.T) {
		l := &loop{t: t, store: watchers.NewStore(), sink: sink}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		cfg.NodeName = "node-1"
		go func() { done <- nodelocal.Follow(ctx, l.store, sink, cfg) }()
		synctest.Wait()
		test(l)
		cancel()
		require.NoError(t, <-done)
		require.Zero(t, sink.read().overlaps, "calls of Sync must not overlap")
	})
}

// synced marks the initial sync as complete, and waits until the sink has applied it.
func (l *loop) synced() {
	l.store.Update((*watchers.Tx).SetSynced)
	time.Sleep(time.Hour)
	synctest.Wait()
}

// change adds a Service.
func (l *loop) change() {
	l.n++
	l.store.Update(func(tx *watchers.Tx) {
		tx.SetService(service(func(s *watchers.Service) {
			s.Name.Name, s.ClusterIP = fmt.Sprint(l.n), netip.AddrFrom4([4]byte{10, 96, 1, byte(l.n)})
		}))
	})
}

func (l *loop) record() *record {
	r := l.sink.read()
	return &r
}

func (l *loop) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestFirstCallFollowsInitialSync(t *testing.T) {
	t.Run("OP-01 the first call follows the initial sync and has everything", func(t *testing.T) {
		follow(t, nodelocal.Config{MinInterval: time.Minute}, &recordingSink{}, func(l *loop) {
			for range 3 {
				l.change()
				l.pass(time.Hour)
			}
			require.Empty(t, l.record().begun)
			requested := time.Now()
			l.store.Update((*watchers.Tx).SetSynced)
			synctest.Wait()
			require.Equal(t, []int{3}, l.record().total)
			require.Equal(t, requested, l.record().begun[0], "the first call is not delayed")
		})
	})
	t.Run("OP-01 a cluster without Services is applied too", func(t *testing.T) {
		follow(t, nodelocal.Config{}, &recordingSink{}, func(l *loop) {
			l.synced()
			require.Equal(t, []int{0}, l.record().total)
		})
	})
}

// TestRunner has the rows of the tests of kube-proxy's BoundedFrequencyRunner.
func TestRunner(t *testing.T) {
	t.Run("6.8 BoundedFrequencyRunner OP-10 no call without a change", func(t *testing.T) {
		follow(t, nodelocal.Config{}, &recordingSink{}, func(l *loop) {
			l.synced()
			l.pass(1000 * time.Hour)
			require.Len(t, l.record().begun, 1)
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 changes during a call are combined in the next", func(t *testing.T) {
		follow(t, nodelocal.Config{}, &recordingSink{duration: time.Minute}, func(l *loop) {
			l.synced()
			l.change()
			for range 20 {
				l.pass(time.Second)
				l.change()
			}
			l.pass(time.Hour)
			require.Equal(t, []int{0, 1, 20}, l.record().changed)
			require.Equal(t, 21, l.record().total[2])
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 MinInterval counts from the end of a call", func(t *testing.T) {
		follow(t, nodelocal.Config{MinInterval: 10 * time.Second}, &recordingSink{duration: 30 * time.Second}, func(l *loop) {
			l.synced()
			for range 150 {
				l.change()
				l.pass(time.Second)
			}
			l.pass(time.Hour)
			gaps := l.record().gaps()[1:]
			require.NotEmpty(t, gaps)
			require.Equal(t, slices.Repeat([]time.Duration{10 * time.Second}, len(gaps)), gaps)
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 a change after a pause is not delayed", func(t *testing.T) {
		follow(t, nodelocal.Config{MinInterval: 10 * time.Second}, &recordingSink{}, func(l *loop) {
			l.synced()
			requested := time.Now()
			l.change()
			l.pass(0)
			require.Equal(t, requested, l.record().begun[1])
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 OP-14 a failed call is repeated until it succeeds", func(t *testing.T) {
		follow(t, nodelocal.Config{MaxBackoff: 5 * time.Second}, &recordingSink{record: record{failures: 12}}, func(l *loop) {
			l.synced()
			require.Len(t, l.record().begun, 13)
			for i, gap := range l.record().gaps() {
				require.LessOrEqual(t, gap, 5*time.Second, "attempt %d", i)
				require.GreaterOrEqual(t, gap, 50*time.Millisecond, "attempt %d", i)
			}
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 MinInterval also delays retries", func(t *testing.T) {
		follow(t, nodelocal.Config{MinInterval: 10 * time.Second, MaxBackoff: time.Second}, &recordingSink{record: record{failures: 3}}, func(l *loop) {
			l.synced()
			require.Equal(t, slices.Repeat([]time.Duration{10 * time.Second}, 3), l.record().gaps())
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 a change does not wait for the backoff", func(t *testing.T) {
		follow(t, nodelocal.Config{MaxBackoff: time.Hour}, &recordingSink{record: record{failures: 16}}, func(l *loop) {
			l.store.Update((*watchers.Tx).SetSynced)
			synctest.Wait()
			for len(l.record().begun) < 15 {
				l.pass(time.Minute)
			}
			attempts := len(l.record().begun)
			l.change()
			l.pass(2 * time.Second)
			require.Len(t, l.record().begun, attempts+1)
			l.pass(3 * time.Hour)
			require.Zero(t, l.record().failures)
			require.Equal(t, 1, l.record().total[len(l.record().total)-1])
		})
	})
}

// A watcherFunc adapts a function to a Watcher.
type watcherFunc func(ctx context.Context, store *watchers.Store) error

func (f watcherFunc) Run(ctx context.Context, store *watchers.Store) error { return f(ctx, store) }

// TestRunReturnsErrorsOfWatcher: the result of Run depends on how the watcher returns.
func TestRunReturnsErrorsOfWatcher(t *testing.T) {
	sync := func(store *watchers.Store) { store.Update((*watchers.Tx).SetSynced) }
	boom := errors.New("boom")
	for id, row := range map[string]struct {
		watch watcherFunc
		early bool // Run returns before the context is cancelled
		want  string
	}{
		"returns after the initial sync":       {func(_ context.Context, store *watchers.Store) error { sync(store); return nil }, false, ""},
		"returns before the initial sync":      {func(context.Context, *watchers.Store) error { return nil }, true, "nodelocal: watcher: ended before the initial sync was complete"},
		"fails before the initial sync":        {func(context.Context, *watchers.Store) error { return boom }, true, "nodelocal: watcher: boom"},
		"fails after the initial sync":         {func(_ context.Context, store *watchers.Store) error { sync(store); return boom }, true, "nodelocal: watcher: boom"},
		"is cancelled after the initial sync":  {func(ctx context.Context, store *watchers.Store) error { sync(store); <-ctx.Done(); return ctx.Err() }, false, ""},
		"is cancelled before the initial sync": {func(ctx context.Context, _ *watchers.Store) error { <-ctx.Done(); return nil }, false, ""},
		"fails when cancelled":                 {func(ctx context.Context, _ *watchers.Store) error { <-ctx.Done(); return boom }, false, "nodelocal: watcher: boom"},
	} {
		t.Run(id, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- nodelocal.Run(ctx, row.watch, &recordingSink{}, nodelocal.Config{NodeName: "node-1"}) }()
				synctest.Wait()
				require.Equal(t, row.early, len(done) == 1)
				cancel()
				if err := <-done; row.want != "" {
					require.EqualError(t, err, row.want)
				} else {
					require.NoError(t, err)
				}
			})
		})
	}
}

// A limitedSink does not support UDP.
type limitedSink struct{ localsink.Func }

func (limitedSink) Unsupported() localsink.Features { return localsink.FeatureUDP }

// TestUnsupportedFeaturesOfSinks: a feature that a sink does not support is a problem of the
// Services that need it.
func TestUnsupportedFeaturesOfSinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		store, text := watchers.NewStore(), ""
		store.Update(func(tx *watchers.Tx) {
			tx.SetService(service(func(s *watchers.Service) { s.Ports[0].Protocol = localsink.ProtocolUDP }))
			tx.SetSynced()
		})
		sink := limitedSink{func(_ context.Context, u *localsink.Update) error {
			for _, svc := range u.Changed {
				text += svc.Text()
			}
			return nil
		}}
		done := make(chan error, 1)
		go func() {
			done <- nodelocal.Follow(ctx, store, localsink.Tee(&recordingSink{}, sink), nodelocal.Config{NodeName: "node-1"})
		}()
		synctest.Wait()
		cancel()
		require.NoError(t, <-done)
		require.Contains(t, text, "UDP")
		require.Contains(t, text, "problem: ")
	})
}
