package nodelocal_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// A slow is a sink that takes its time, fails when told to, and keeps a diary.
type slow struct {
	takes    time.Duration
	failures int // to come
	begun    []time.Time
	ended    []time.Time
	seen     []int // Services in all
	changed  []int // Services that were listed as changed
	running  bool
	overlaps int
}

func (s *slow) Sync(_ context.Context, u *localsink.Update) error {
	if s.running {
		s.overlaps++
	}
	s.running = true
	s.begun, s.seen, s.changed = append(s.begun, time.Now()), append(s.seen, u.All.Len()), append(s.changed, len(u.Changed))
	time.Sleep(s.takes)
	s.ended, s.running = append(s.ended, time.Now()), false
	if s.failures > 0 {
		s.failures--
		return errors.New("injected")
	}
	return nil
}

// gaps returns the pauses between the end of each call and the next beginning.
func (s *slow) gaps() (out []time.Duration) {
	for i := 1; i < len(s.begun); i++ {
		out = append(out, s.begun[i].Sub(s.ended[i-1]))
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
		require.Zero(t, sink.overlaps, "calls never overlap")
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
			require.Empty(t, l.sink.begun)
			asked := time.Now()
			l.store.Update((*watchers.Tx).SetSynced)
			synctest.Wait()
			require.Equal(t, []int{3}, l.sink.seen)
			require.Equal(t, asked, l.sink.begun[0], "the first is not paced")
		})
	})
	t.Run("OP-01 a cluster without Services is synced too", func(t *testing.T) {
		follow(t, nodelocal.Config{}, &slow{}, func(l *loop) {
			l.synced()
			require.Equal(t, []int{0}, l.sink.seen)
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 nothing happens without a change", func(t *testing.T) {
		follow(t, nodelocal.Config{}, &slow{}, func(l *loop) {
			l.synced()
			l.pass(1000 * time.Hour)
			require.Len(t, l.sink.begun, 1)
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
			require.Equal(t, []int{0, 1, 20}, l.sink.changed)
			require.Equal(t, 21, l.sink.seen[2])
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
			gaps := l.sink.gaps()[1:]
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
			require.Equal(t, asked, l.sink.begun[1])
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 OP-14 a failure is tried again until it succeeds", func(t *testing.T) {
		follow(t, nodelocal.Config{MaxBackoff: 30 * time.Second}, &slow{failures: 12}, func(l *loop) {
			l.synced()
			require.Len(t, l.sink.begun, 13)
			for i, gap := range l.sink.gaps() {
				require.LessOrEqual(t, gap, 30*time.Second, "attempt %d", i)
				require.GreaterOrEqual(t, gap, 50*time.Millisecond, "attempt %d", i)
			}
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 MinInterval wins over a shorter retry", func(t *testing.T) {
		follow(t, nodelocal.Config{MinInterval: 10 * time.Second, MaxBackoff: time.Second}, &slow{failures: 3}, func(l *loop) {
			l.synced()
			require.Equal(t, slices.Repeat([]time.Duration{10 * time.Second}, 3), l.sink.gaps())
		})
	})
	t.Run("6.8 BoundedFrequencyRunner OP-10 a change is not kept waiting for a retry", func(t *testing.T) {
		follow(t, nodelocal.Config{MaxBackoff: time.Hour}, &slow{failures: 16}, func(l *loop) {
			l.store.Update((*watchers.Tx).SetSynced)
			for len(l.sink.begun) < 15 {
				l.pass(time.Minute)
			}
			attempts := len(l.sink.begun)
			l.change()
			l.pass(2 * time.Second)
			require.Equal(t, attempts+1, len(l.sink.begun))
			l.pass(3 * time.Hour)
			require.Zero(t, l.sink.failures)
			require.Equal(t, 1, l.sink.seen[len(l.sink.seen)-1])
		})
	})
}
