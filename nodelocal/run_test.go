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

// A slow is a sink that takes its time, fails when told to, and keeps a diary.
type slow struct {
	takes time.Duration

	mu sync.Mutex
	diary
}

type diary struct {
	failures int // to come
	begun    []time.Time
	ended    []time.Time
	seen     []int // Services in all
	changed  []int // Services that were listed as changed
	running  bool
	overlaps int
}

func (s *slow) Sync(_ context.Context, u *localsink.Update) error {
	s.note(func(d *diary) {
		if d.running {
			d.overlaps++
		}
		d.running = true
		d.begun, d.seen, d.changed = append(d.begun, time.Now()), append(d.seen, u.All.Len()), append(d.changed, len(u.Changed))
	})
	time.Sleep(s.takes)
	failed := false
	s.note(func(d *diary) {
		d.ended, d.running = append(d.ended, time.Now()), false
		if failed = d.failures > 0; failed {
			d.failures--
		}
	})
	if failed {
		return errors.New("injected")
	}
	return nil
}

func (s *slow) note(change func(d *diary)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.diary)
}

// read returns the diary so far; what is written later is not in it.
func (s *slow) read() (d diary) {
	s.note(func(now *diary) { d = *now })
	return d
}

// gaps returns the pauses between the end of each call and the next beginning.
func (d *diary) gaps() (out []time.Duration) {
	for i := 1; i < len(d.begun); i++ {
		out = append(out, d.begun[i].Sub(d.ended[i-1]))
	}
	return out
}

// A loop is Follow at work in a bubble of synctest, whose clock is its own.
type loop struct {
	t     *testing.T
	store *watchers.Store
	sink  *slow
	n     int
}

func follow(t *testing.T, cfg nodelocal.Config, sink *slow, test func(l *loop)) {
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
		require.Zero(t, sink.read().overlaps, "calls never overlap")
	})
}

// synced marks the facts as complete, and waits until that is in place.
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

func (l *loop) diary() *diary {
	d := l.sink.read()
	return &d
}

func (l *loop) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestRunner follows the rows of kube-proxy's runner.
func TestRunner(t *testing.T) {
	t.Run("OP-01 nothing is programmed before the facts are complete, then all at once", func(t *testing.T) {
		follow(t, nodelocal.Config{MinInterval: time.Minute}, &slow{}, func(l *loop) {
			for range 3 {
				l.change()
				l.pass(time.Hour)
			}
			require.Empty(t, l.diary().begun)
			asked := time.Now()
			l.store.Update((*watchers.Tx).SetSynced)
			synctest.Wait()
			require.Equal(t, []int{3}, l.diary().seen)
			require.Equal(t, asked, l.diary().begun[0], "the first is not paced")
		})
	})
	t.Run("OP-01 a cluster without Services is synced too", func(t *testing.T) {
		follow(t, nodelocal.Config{}, &slow{}, func(l *loop) {
			l.synced()
			require.Equal(t, []int{0}, l.diary().seen)
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 nothing happens without a change", func(t *testing.T) {
		follow(t, nodelocal.Config{}, &slow{}, func(l *loop) {
			l.synced()
			l.pass(1000 * time.Hour)
			require.Len(t, l.diary().begun, 1)
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 what comes during a call takes one more", func(t *testing.T) {
		follow(t, nodelocal.Config{}, &slow{takes: time.Minute}, func(l *loop) {
			l.synced()
			l.change()
			for range 20 {
				l.pass(time.Second)
				l.change()
			}
			l.pass(time.Hour)
			require.Equal(t, []int{0, 1, 20}, l.diary().changed)
			require.Equal(t, 21, l.diary().seen[2])
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 MinInterval counts from the end of a call", func(t *testing.T) {
		follow(t, nodelocal.Config{MinInterval: 10 * time.Second}, &slow{takes: 30 * time.Second}, func(l *loop) {
			l.synced()
			for range 150 {
				l.change()
				l.pass(time.Second)
			}
			l.pass(time.Hour)
			gaps := l.diary().gaps()[1:]
			require.NotEmpty(t, gaps)
			require.Equal(t, slices.Repeat([]time.Duration{10 * time.Second}, len(gaps)), gaps)
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 a change after a pause is not paced", func(t *testing.T) {
		follow(t, nodelocal.Config{MinInterval: 10 * time.Second}, &slow{}, func(l *loop) {
			l.synced()
			asked := time.Now()
			l.change()
			l.pass(0)
			require.Equal(t, asked, l.diary().begun[1])
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 OP-14 a failure is tried again until it succeeds", func(t *testing.T) {
		follow(t, nodelocal.Config{MaxBackoff: 5 * time.Second}, &slow{diary: diary{failures: 12}}, func(l *loop) {
			l.synced()
			require.Len(t, l.diary().begun, 13)
			for i, gap := range l.diary().gaps() {
				require.LessOrEqual(t, gap, 5*time.Second, "attempt %d", i)
				require.GreaterOrEqual(t, gap, 50*time.Millisecond, "attempt %d", i)
			}
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 MinInterval wins over a shorter retry", func(t *testing.T) {
		follow(t, nodelocal.Config{MinInterval: 10 * time.Second, MaxBackoff: time.Second}, &slow{diary: diary{failures: 3}}, func(l *loop) {
			l.synced()
			require.Equal(t, slices.Repeat([]time.Duration{10 * time.Second}, 3), l.diary().gaps())
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 a change is not kept waiting for a retry", func(t *testing.T) {
		follow(t, nodelocal.Config{MaxBackoff: time.Hour}, &slow{diary: diary{failures: 16}}, func(l *loop) {
			l.store.Update((*watchers.Tx).SetSynced)
			synctest.Wait()
			for len(l.diary().begun) < 15 {
				l.pass(time.Minute)
			}
			attempts := len(l.diary().begun)
			l.change()
			l.pass(2 * time.Second)
			require.Equal(t, attempts+1, len(l.diary().begun))
			l.pass(3 * time.Hour)
			require.Zero(t, l.diary().failures)
			require.Equal(t, 1, l.diary().seen[len(l.diary().seen)-1])
		})
	})
}

// A watcherFunc is a function that is a watcher.
type watcherFunc func(ctx context.Context, store *watchers.Store) error

func (f watcherFunc) Run(ctx context.Context, store *watchers.Store) error { return f(ctx, store) }

// TestRunEnds: how a watcher ends decides how Run does.
func TestRunEnds(t *testing.T) {
	sync := func(store *watchers.Store) { store.Update((*watchers.Tx).SetSynced) }
	boom := errors.New("boom")
	for id, row := range map[string]struct {
		watch watcherFunc
		alone bool // it ends before anybody cancels
		want  string
	}{
		"it has said all there is": {func(_ context.Context, store *watchers.Store) error { sync(store); return nil }, false, ""},
		"it ends without all":      {func(context.Context, *watchers.Store) error { return nil }, true, "nodelocal: watcher: ended before the facts were complete"},
		"it fails":                 {func(context.Context, *watchers.Store) error { return boom }, true, "nodelocal: watcher: boom"},
		"it fails later":           {func(_ context.Context, store *watchers.Store) error { sync(store); return boom }, true, "nodelocal: watcher: boom"},
		"it is told to stop":       {func(ctx context.Context, store *watchers.Store) error { sync(store); <-ctx.Done(); return ctx.Err() }, false, ""},
		"it stops before all":      {func(ctx context.Context, _ *watchers.Store) error { <-ctx.Done(); return nil }, false, ""},
		"it fails to stop":         {func(ctx context.Context, _ *watchers.Store) error { <-ctx.Done(); return boom }, false, "nodelocal: watcher: boom"},
	} {
		t.Run(id, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- nodelocal.Run(ctx, row.watch, &slow{}, nodelocal.Config{NodeName: "node-1"}) }()
				synctest.Wait()
				require.Equal(t, row.alone, len(done) == 1)
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

// A limited sink can do less than others.
type limited struct{ localsink.Func }

func (limited) Unsupported() localsink.Features { return localsink.FeatureUDP }

// TestSinksThatLack: what a sink cannot do is a problem of the Services that need it.
func TestSinksThatLack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		store, text := watchers.NewStore(), ""
		store.Update(func(tx *watchers.Tx) {
			tx.SetService(service(func(s *watchers.Service) { s.Ports[0].Protocol = localsink.ProtocolUDP }))
			tx.SetSynced()
		})
		sink := limited{func(_ context.Context, u *localsink.Update) error {
			for _, svc := range u.Changed {
				text += svc.Text()
			}
			return nil
		}}
		done := make(chan error, 1)
		go func() {
			done <- nodelocal.Follow(ctx, store, localsink.Tee(&slow{}, sink), nodelocal.Config{NodeName: "node-1"})
		}()
		synctest.Wait()
		cancel()
		require.NoError(t, <-done)
		require.Contains(t, text, "UDP")
		require.Contains(t, text, "problem: ")
	})
}
