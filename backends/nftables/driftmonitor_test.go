// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

// A fakeListener delivers the notifications of a test.
type fakeListener struct{ events chan error }

func (l *fakeListener) Wait() error {
	err, ok := <-l.events
	if !ok {
		return errors.New("closed")
	}
	return err
}

func (l *fakeListener) Pause() error  { return nil }
func (l *fakeListener) Resume() error { return nil }
func (l *fakeListener) Close() error  { close(l.events); return nil }

func (l *fakeListener) deliver(err error) {
	l.events <- err
	synctest.Wait()
}

// resyncRequested reports whether m has requested a resync, and accepts the request.
func resyncRequested(m *driftMonitor) bool {
	synctest.Wait()
	select {
	case <-m.resync:
		return true
	default:
		return false
	}
}

// withDriftMonitor runs f with a monitor, in fake time, and returns the log.
func withDriftMonitor(t *testing.T, f func(m *driftMonitor, l *fakeListener)) (log string) {
	var buf bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		l := &fakeListener{events: make(chan error)}
		m := startDriftMonitor(l, slog.New(slog.NewTextHandler(&buf, nil)))
		f(m, l)
		m.stop()
	})
	return buf.String()
}

// repairBy returns how long it takes until m requests a resync, and repairs the tables then.
func repairBy(t *testing.T, m *driftMonitor) time.Duration {
	t.Helper()
	began := time.Now()
	require.False(t, m.driftedSince().IsZero(), "drift is known")
	select {
	case <-m.resync:
	case <-time.After(time.Minute):
		t.Fatal("no request")
	}
	delay := time.Since(began)
	r := m.begin()
	require.True(t, r.drift)
	m.succeeded(r)
	require.True(t, m.driftedSince().IsZero(), "drift is repaired")
	return delay
}

func TestExternalChangeRequestsOneResync(t *testing.T) {
	withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) {
		for range 5 { // one command, many messages
			l.deliver(nil)
		}
		require.False(t, resyncRequested(m))
		require.Equal(t, settleTime, repairBy(t, m))
		require.False(t, m.begin().drift)
		time.Sleep(time.Hour)
		require.False(t, resyncRequested(m))
	})
}

func TestOverrunRequestsResync(t *testing.T) {
	withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) {
		l.deliver(nfnl.ErrOverrun)
		repairBy(t, m)
	})
}

func TestRepairedDriftRequestsNoResync(t *testing.T) {
	withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) {
		l.deliver(nil)
		m.succeeded(m.begin()) // a Sync for another reason
		require.True(t, m.driftedSince().IsZero())
		time.Sleep(time.Minute)
		require.False(t, resyncRequested(m))
	})
}

// A change that does not follow a repair closely is repaired at once, however often it happens.
func TestRepeatedFlushIsRepairedAtOnce(t *testing.T) {
	log := withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) {
		for range 1000 {
			time.Sleep(time.Second)
			l.deliver(nil)
			require.Equal(t, settleTime, repairBy(t, m))
		}
	})
	require.NotContains(t, log, "keeps changing")
}

// A program that reacts to each repair delays the next one, but not for long.
func TestContestedRepairsBackOff(t *testing.T) {
	log := withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) {
		repairs, began, longest := 0, time.Now(), time.Duration(0)
		for time.Since(began) < 10*time.Minute {
			l.deliver(nil)
			delay := repairBy(t, m)
			longest = max(longest, delay)
			if repairs++; repairs <= freeRepairs+1 {
				require.Equal(t, settleTime, delay)
			}
			time.Sleep(30 * time.Millisecond)
		}
		require.Equal(t, maxContestDelay, longest)
		require.Less(t, repairs, 620, "about one in a second")
		require.Greater(t, repairs, 550)
		time.Sleep(contestTime) // the other program has ended
		l.deliver(nil)
		require.Equal(t, settleTime, repairBy(t, m))
	})
	require.Equal(t, 1, strings.Count(log, "keeps changing"), log)
	require.Less(t, strings.Count(log, "\n"), 20)
}

func TestFailedSyncDoesNotRepair(t *testing.T) {
	withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) {
		l.deliver(nil)
		since := m.driftedSince()
		time.Sleep(settleTime)
		require.True(t, resyncRequested(m))
		require.True(t, m.begin().drift) // Sync fails
		time.Sleep(time.Second)
		require.Equal(t, since, m.driftedSince())
		r := m.begin()
		require.False(t, r.drift, "the table rebuilds after a failure")
		m.succeeded(r)
		require.True(t, m.driftedSince().IsZero())
	})
}

// A change during a Sync may have happened after its transaction.
func TestChangeDuringSyncIsRepairedByTheNext(t *testing.T) {
	for _, drifted := range []bool{false, true} {
		withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) {
			if drifted {
				l.deliver(nil)
				time.Sleep(settleTime)
				require.True(t, resyncRequested(m))
			}
			r := m.begin()
			require.Equal(t, drifted, r.drift)
			l.deliver(nil)
			m.succeeded(r)
			require.False(t, m.driftedSince().IsZero())
			repairBy(t, m)
			time.Sleep(time.Minute)
			require.False(t, resyncRequested(m))
		})
	}
}

func TestListenerFailureIsLogged(t *testing.T) {
	log := withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) { l.deliver(errors.New("no more")) })
	require.Contains(t, log, "no longer detected")
	require.Contains(t, log, "no more")
	require.Empty(t, withDriftMonitor(t, func(*driftMonitor, *fakeListener) {}))
}

// A generationKernel is a transport that only counts generations of rules. Other programs commit
// before and after the commits listed.
type generationKernel struct {
	transport
	generation  uint32
	condition   func(*nfnl.Batch) uint32
	before      []bool
	after       bool
	commits     int
	commitError error
}

func (k *generationKernel) Generation() (uint32, error) { return k.generation, nil }

func (k *generationKernel) Commit(b *nfnl.Batch) error {
	if len(k.before) > 0 {
		if k.before[0] {
			k.generation++
		}
		k.before = k.before[1:]
	}
	if c := k.condition(b); c != 0 && c != k.generation {
		return &nfnl.Error{Errno: 85}
	}
	if k.commitError != nil {
		return k.commitError
	}
	k.commits++
	k.generation++
	if k.after {
		k.generation++
	}
	return nil
}

func TestLargeCommitMissesNoChange(t *testing.T) {
	failed := errors.New("failed")
	for _, c := range []struct {
		name             string
		k                generationKernel
		replaces, intact bool
		missed           bool
		err              error
	}{
		{name: "no other commit"},
		{name: "other commit before an update", k: generationKernel{before: []bool{true}}, err: errInterrupted},
		{name: "other commit before a replacement", k: generationKernel{before: []bool{true}}, replaces: true},
		{name: "other commits before each attempt", k: generationKernel{before: []bool{true, true, true, true}}, replaces: true, missed: true},
		{name: "other commit after it", k: generationKernel{after: true}, missed: true},
		{name: "other commit after a replacement", k: generationKernel{after: true}, replaces: true, missed: true},
		{name: "commit of another table after a replacement", k: generationKernel{after: true}, replaces: true, intact: true},
		{name: "failure", k: generationKernel{commitError: failed}, err: failed},
	} {
		log := withDriftMonitor(t, func(m *driftMonitor, _ *fakeListener) {
			c.k.generation = 7
			c.k.condition = func(b *nfnl.Batch) uint32 { return binary.BigEndian.Uint32(b.Content()[24:]) }
			var b nfnl.Batch
			b.Reset()
			intact := func() (bool, error) { return c.intact, nil }
			if !c.replaces {
				intact = nil
			}
			require.Equal(t, c.err, m.commitWithoutListener(&c.k, &c.k, &b, intact), c.name)
			require.Equal(t, c.err == nil, c.k.commits == 1, c.name)
			time.Sleep(settleTime)
			require.Equal(t, c.missed, resyncRequested(m), c.name)
			require.Equal(t, c.missed, m.begin().drift, c.name)
			require.True(t, m.driftedSince().IsZero(), "a change that may have been missed is no known drift")
			m.reportMissed()
			m.reportMissed()
			require.Equal(t, c.missed, !resyncRequestedWithin(m, settleTime), c.name)
		})
		require.Empty(t, log, c.name)
	}
}

// resyncRequestedWithin reports whether m requests a resync within d.
func resyncRequestedWithin(m *driftMonitor, d time.Duration) bool {
	time.Sleep(d)
	return resyncRequested(m)
}
