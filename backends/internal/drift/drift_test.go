// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package drift

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A fakeSource delivers the notifications of a test.
type fakeSource chan error

func (s fakeSource) run(ctx context.Context, changed func()) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s:
			if err != nil {
				return err
			}
			changed()
		}
	}
}

func (s fakeSource) deliver(err error) {
	s <- err
	synctest.Wait()
}

// resyncRequested reports whether m has requested a resync, and accepts the request.
func resyncRequested(m *Monitor) bool {
	synctest.Wait()
	select {
	case <-m.Requests():
		return true
	default:
		return false
	}
}

// withMonitor runs f with a monitor, in fake time, and returns the log.
func withMonitor(t *testing.T, f func(m *Monitor, s fakeSource)) (log string) {
	var buf bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		s := make(fakeSource)
		m := NewMonitor(s.run, slog.New(slog.NewTextHandler(&buf, nil)))
		f(m, s)
		m.Close()
		m.Close()
	})
	return buf.String()
}

// repairBy returns how long it takes until m requests a resync, and repairs the tables then.
func repairBy(t *testing.T, m *Monitor) time.Duration {
	t.Helper()
	began := time.Now()
	require.False(t, m.DriftedSince().IsZero(), "drift is known")
	select {
	case <-m.Requests():
	case <-time.After(time.Minute):
		t.Fatal("no request")
	}
	delay := time.Since(began)
	r := m.Begin()
	require.True(t, r.NeedsRepair)
	m.Succeeded(r)
	require.True(t, m.DriftedSince().IsZero(), "drift is repaired")
	return delay
}

func TestExternalChangeRequestsOneResync(t *testing.T) {
	withMonitor(t, func(m *Monitor, s fakeSource) {
		for range 5 { // one command, many messages
			s.deliver(nil)
		}
		require.False(t, resyncRequested(m))
		require.Equal(t, settleTime, repairBy(t, m))
		require.False(t, m.Begin().NeedsRepair)
		time.Sleep(time.Hour)
		require.False(t, resyncRequested(m))
	})
}

func TestNotificationsAreCounted(t *testing.T) {
	withMonitor(t, func(m *Monitor, s fakeSource) {
		s.deliver(nil)
		m.Report()
		require.EqualValues(t, 2, m.Count())
		repairBy(t, m)
	})
}

// A change that may have been missed requests a resync, but is no known drift. Repeated ones request it less often.
func TestMissedChangeRequestsResyncQuietly(t *testing.T) {
	log := withMonitor(t, func(m *Monitor, _ fakeSource) {
		m.ReportMissed()
		time.Sleep(settleTime)
		require.True(t, resyncRequested(m))
		require.True(t, m.Begin().NeedsRepair)
		require.True(t, m.DriftedSince().IsZero())
		require.Zero(t, m.Count())
		m.ReportMissed()
		m.ReportMissed()
		time.Sleep(settleTime)
		require.False(t, resyncRequested(m))
		time.Sleep(maxContestDelay)
		require.True(t, resyncRequested(m))
	})
	require.Empty(t, log)
}

func TestRetryIsRequestedOnce(t *testing.T) {
	withMonitor(t, func(m *Monitor, _ fakeSource) {
		m.ScheduleRetry(time.Minute)
		m.ScheduleRetry(time.Minute)
		time.Sleep(time.Minute - time.Nanosecond)
		require.False(t, resyncRequested(m))
		time.Sleep(time.Nanosecond)
		require.True(t, resyncRequested(m))
		require.False(t, m.Begin().NeedsRepair)
		time.Sleep(time.Hour)
		require.False(t, resyncRequested(m))
		m.ScheduleRetry(time.Minute) // stopped with the monitor
	})
}

// A request because of a repair does not wait for that of a failure, which may be minutes later.
func TestEarlierRetryReplacesLaterOne(t *testing.T) {
	withMonitor(t, func(m *Monitor, _ fakeSource) {
		m.ScheduleRetry(time.Minute)
		m.ReportRepaired()
		time.Sleep(settleTime)
		require.True(t, resyncRequested(m))
		time.Sleep(time.Hour)
		require.False(t, resyncRequested(m), "the next Sync schedules what it needs")
		m.ScheduleRetry(time.Second)
		m.ScheduleRetry(time.Minute)
		time.Sleep(time.Second)
		require.True(t, resyncRequested(m))
	})
}

func TestMonitorWithoutSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMonitor(nil, slog.New(slog.DiscardHandler))
		m.Report()
		repairBy(t, m)
		m.Report()
		m.Close()
		time.Sleep(time.Minute)
		require.False(t, resyncRequested(m))
	})
}

func TestPollReportsChangesAndRepeatedErrorsOnce(t *testing.T) {
	failed := errors.New("not now")
	results := []struct {
		changed bool
		err     error
	}{{}, {err: failed}, {err: failed}, {changed: true}, {changed: true, err: failed}}
	var buf bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		log := slog.New(slog.NewTextHandler(&buf, nil))
		m := NewMonitor(Poll(time.Second, log, func(context.Context) (bool, error) {
			i := int(calls.Add(1)) - 1
			if i >= len(results) {
				return false, nil
			}
			return results[i].changed, results[i].err
		}), log)
		for i, changes := range []uint64{0, 0, 0, 1, 2, 2} {
			time.Sleep(time.Second)
			synctest.Wait()
			require.EqualValues(t, i+1, calls.Load())
			require.Equal(t, changes, m.Count())
		}
		m.Close()
		time.Sleep(time.Minute)
		require.EqualValues(t, 6, calls.Load())
	})
	require.Equal(t, 2, strings.Count(buf.String(), "not now"), buf.String())
}

// A Sync with a delta may repair drift. Other sinks compare everything only in one without.
func TestRepairByDeltaIsFollowedByOneResync(t *testing.T) {
	withMonitor(t, func(m *Monitor, s fakeSource) {
		s.deliver(nil)
		m.Succeeded(m.Begin()) // a Sync for another reason
		require.True(t, m.DriftedSince().IsZero())
		require.EqualValues(t, 1, m.Repairs())
		m.Succeeded(m.Begin())
		require.EqualValues(t, 1, m.Repairs())
		time.Sleep(settleTime)
		require.True(t, resyncRequested(m))
		require.False(t, m.Begin().NeedsRepair, "the next Sync need not write everything again")
		time.Sleep(time.Minute)
		require.False(t, resyncRequested(m))
	})
}

// A change that does not follow a repair closely is repaired at once, however often it happens.
func TestRepeatedFlushIsRepairedAtOnce(t *testing.T) {
	log := withMonitor(t, func(m *Monitor, s fakeSource) {
		for range 1000 {
			time.Sleep(time.Second)
			s.deliver(nil)
			require.Equal(t, settleTime, repairBy(t, m))
		}
	})
	require.NotContains(t, log, "keeps changing")
}

// A program that reacts to each repair delays the next one, but not for long.
func TestContestedRepairsBackOff(t *testing.T) {
	log := withMonitor(t, func(m *Monitor, s fakeSource) {
		repairs, began, longest := 0, time.Now(), time.Duration(0)
		for time.Since(began) < 10*time.Minute {
			s.deliver(nil)
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
		s.deliver(nil)
		require.Equal(t, settleTime, repairBy(t, m))
	})
	require.Equal(t, 1, strings.Count(log, "keeps changing"), log)
	require.Less(t, strings.Count(log, "\n"), 20)
}

func TestFailedSyncDoesNotRepair(t *testing.T) {
	withMonitor(t, func(m *Monitor, s fakeSource) {
		s.deliver(nil)
		since := m.DriftedSince()
		time.Sleep(settleTime)
		require.True(t, resyncRequested(m))
		require.True(t, m.Begin().NeedsRepair) // Sync fails
		time.Sleep(time.Second)
		require.Equal(t, since, m.DriftedSince())
		r := m.Begin()
		require.False(t, r.NeedsRepair, "the table rebuilds after a failure")
		m.Succeeded(r)
		require.True(t, m.DriftedSince().IsZero())
	})
}

// A change during a Sync may have happened after its transaction.
func TestChangeDuringSyncIsRepairedByTheNext(t *testing.T) {
	for _, drifted := range []bool{false, true} {
		withMonitor(t, func(m *Monitor, s fakeSource) {
			if drifted {
				s.deliver(nil)
				time.Sleep(settleTime)
				require.True(t, resyncRequested(m))
			}
			r := m.Begin()
			require.Equal(t, drifted, r.NeedsRepair)
			s.deliver(nil)
			m.Succeeded(r)
			require.False(t, m.DriftedSince().IsZero())
			repairBy(t, m)
			time.Sleep(time.Minute)
			require.False(t, resyncRequested(m))
		})
	}
}

func TestSourceFailureIsLogged(t *testing.T) {
	log := withMonitor(t, func(m *Monitor, s fakeSource) { s.deliver(errors.New("no more")) })
	require.Contains(t, log, "no longer detected")
	require.Contains(t, log, "no more")
	require.Empty(t, withMonitor(t, func(*Monitor, fakeSource) {}))
}

// A repair before any notification counts, and requests a resync, but there is no drift any more.
func TestReportRepaired(t *testing.T) {
	log := withMonitor(t, func(m *Monitor, _ fakeSource) {
		m.ReportRepaired()
		require.EqualValues(t, 1, m.Count())
		require.EqualValues(t, 1, m.Repairs())
		require.True(t, m.DriftedSince().IsZero())
		time.Sleep(settleTime)
		require.True(t, resyncRequested(m))
		require.False(t, m.Begin().NeedsRepair, "the next Sync need not write everything again")
	})
	require.Contains(t, log, "an update repaired them")
}
