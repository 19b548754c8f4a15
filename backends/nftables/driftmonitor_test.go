// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"bytes"
	"errors"
	"log/slog"
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

func TestExternalChangeRequestsOneResync(t *testing.T) {
	withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) {
		for range 5 { // one command, many messages
			l.deliver(nil)
		}
		require.False(t, resyncRequested(m))
		time.Sleep(settleTime)
		require.True(t, resyncRequested(m))
		require.True(t, m.takeDrift())
		require.False(t, m.takeDrift())
		time.Sleep(time.Hour)
		require.False(t, resyncRequested(m))
	})
}

func TestOverrunRequestsResync(t *testing.T) {
	withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) {
		l.deliver(nfnl.ErrOverrun)
		time.Sleep(settleTime)
		require.True(t, resyncRequested(m))
	})
}

func TestRepairedDriftRequestsNoResync(t *testing.T) {
	withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) {
		l.deliver(nil)
		require.True(t, m.takeDrift()) // as Sync does
		time.Sleep(time.Minute)
		require.False(t, resyncRequested(m))
	})
}

// Two programs that undo each other's changes do so at growing intervals. Drift after a quiet
// time is repaired at once again.
func TestRepeatedDriftBacksOff(t *testing.T) {
	withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) {
		reports, began := 0, time.Now()
		for time.Since(began) < 10*time.Minute {
			l.deliver(nil)
			time.Sleep(settleTime)
			if resyncRequested(m) {
				reports++
				m.takeDrift()
			}
		}
		require.Greater(t, reports, 10)
		require.Less(t, reports, 20)
		m.takeDrift()
		time.Sleep(5 * time.Minute)
		resyncRequested(m)
		l.deliver(nil)
		time.Sleep(settleTime)
		require.True(t, resyncRequested(m))
	})
}

func TestListenerFailureIsLogged(t *testing.T) {
	log := withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) { l.deliver(errors.New("no more")) })
	require.Contains(t, log, "no longer detected")
	require.Contains(t, log, "no more")
	require.Empty(t, withDriftMonitor(t, func(*driftMonitor, *fakeListener) {}))
}

func TestExternalCommitWithoutNotificationsIsDrift(t *testing.T) {
	for _, c := range []struct {
		name    string
		numbers []uint32
		drift   bool
	}{{"no external commit", []uint32{7, 7}, false}, {"external commit", []uint32{7, 8}, true}} {
		withDriftMonitor(t, func(m *driftMonitor, l *fakeListener) {
			others := func() (uint32, error) {
				n := c.numbers[0]
				c.numbers = c.numbers[1:]
				return n, nil
			}
			failed := errors.New("failed")
			require.Equal(t, failed, m.withoutNotifications(others, func() error { return failed }))
			require.Equal(t, c.drift, m.takeDrift())
		})
	}
}
