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

// resyncRequested reports whether w has requested a resync, and accepts the request.
func resyncRequested(w *driftMonitor) bool {
	synctest.Wait()
	select {
	case <-w.resync:
		return true
	default:
		return false
	}
}

// withDriftMonitor runs f with a monitor, in fake time, and returns the log.
func withDriftMonitor(t *testing.T, f func(w *driftMonitor, l *fakeListener)) (log string) {
	var buf bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		l := &fakeListener{events: make(chan error)}
		w := startDriftMonitor(l, slog.New(slog.NewTextHandler(&buf, nil)))
		f(w, l)
		w.stop()
	})
	return buf.String()
}

func TestExternalChangeRequestsOneResync(t *testing.T) {
	withDriftMonitor(t, func(w *driftMonitor, l *fakeListener) {
		for range 5 { // one command, many messages
			l.deliver(nil)
		}
		require.False(t, resyncRequested(w))
		time.Sleep(settleTime)
		require.True(t, resyncRequested(w))
		require.True(t, w.takeDrift())
		require.False(t, w.takeDrift())
		time.Sleep(time.Hour)
		require.False(t, resyncRequested(w))
	})
}

func TestOverrunRequestsResync(t *testing.T) {
	withDriftMonitor(t, func(w *driftMonitor, l *fakeListener) {
		l.deliver(nfnl.ErrOverrun)
		time.Sleep(settleTime)
		require.True(t, resyncRequested(w))
	})
}

func TestRepairedDriftRequestsNoResync(t *testing.T) {
	withDriftMonitor(t, func(w *driftMonitor, l *fakeListener) {
		l.deliver(nil)
		require.True(t, w.takeDrift()) // as Sync does
		time.Sleep(time.Minute)
		require.False(t, resyncRequested(w))
	})
}

// Two programs that undo each other's changes do so at growing intervals. Drift after a quiet
// time is repaired at once again.
func TestRepeatedDriftBacksOff(t *testing.T) {
	withDriftMonitor(t, func(w *driftMonitor, l *fakeListener) {
		reports, began := 0, time.Now()
		for time.Since(began) < 10*time.Minute {
			l.deliver(nil)
			time.Sleep(settleTime)
			if resyncRequested(w) {
				reports++
				w.takeDrift()
			}
		}
		require.Greater(t, reports, 10)
		require.Less(t, reports, 20)
		w.takeDrift()
		time.Sleep(5 * time.Minute)
		resyncRequested(w)
		l.deliver(nil)
		time.Sleep(settleTime)
		require.True(t, resyncRequested(w))
	})
}

func TestListenerFailureIsLogged(t *testing.T) {
	log := withDriftMonitor(t, func(w *driftMonitor, l *fakeListener) { l.deliver(errors.New("no more")) })
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
		withDriftMonitor(t, func(w *driftMonitor, l *fakeListener) {
			others := func() (uint32, error) {
				n := c.numbers[0]
				c.numbers = c.numbers[1:]
				return n, nil
			}
			failed := errors.New("failed")
			require.Equal(t, failed, w.withoutNotifications(others, func() error { return failed }))
			require.Equal(t, c.drift, w.takeDrift())
		})
	}
}
