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

// A toldListener hears what a test tells it.
type toldListener struct{ events chan error }

func (l *toldListener) Wait() error {
	err, ok := <-l.events
	if !ok {
		return errors.New("closed")
	}
	return err
}

func (l *toldListener) Pause() error  { return nil }
func (l *toldListener) Resume() error { return nil }
func (l *toldListener) Close() error  { close(l.events); return nil }

func (l *toldListener) hear(err error) {
	l.events <- err
	synctest.Wait()
}

// received tells whether damage was reported.
func received(w *watch) bool {
	synctest.Wait()
	select {
	case <-w.damaged:
		return true
	default:
		return false
	}
}

// withWatch runs f with a watch, in false time.
func withWatch(t *testing.T, f func(w *watch, l *toldListener)) (log string) {
	var buf bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		l := &toldListener{events: make(chan error)}
		w := startWatch(l, slog.New(slog.NewTextHandler(&buf, nil)))
		f(w, l)
		w.stop()
	})
	return buf.String()
}

func TestDamageIsReportedOnce(t *testing.T) {
	withWatch(t, func(w *watch, l *toldListener) {
		for range 5 { // one command, many messages
			l.hear(nil)
		}
		require.False(t, received(w))
		time.Sleep(settle)
		require.True(t, received(w))
		require.True(t, w.takeDamage())
		require.False(t, w.takeDamage())
		time.Sleep(time.Hour)
		require.False(t, received(w))
	})
}

func TestOverrunIsDamage(t *testing.T) {
	withWatch(t, func(w *watch, l *toldListener) {
		l.hear(nfnl.ErrOverrun)
		time.Sleep(settle)
		require.True(t, received(w))
	})
}

func TestRepairedDamageIsNotReported(t *testing.T) {
	withWatch(t, func(w *watch, l *toldListener) {
		l.hear(nil)
		require.True(t, w.takeDamage()) // a Sync came by
		time.Sleep(time.Minute)
		require.False(t, received(w))
	})
}

// Two programs that repair each other's work do so less and less often, and a
// later accident is again healed at once.
func TestFightCalmsDown(t *testing.T) {
	withWatch(t, func(w *watch, l *toldListener) {
		reports, began := 0, time.Now()
		for time.Since(began) < 10*time.Minute {
			l.hear(nil)
			time.Sleep(settle)
			if received(w) {
				reports++
				w.takeDamage()
			}
		}
		require.Greater(t, reports, 10)
		require.Less(t, reports, 20)
		w.takeDamage()
		time.Sleep(5 * time.Minute)
		received(w)
		l.hear(nil)
		time.Sleep(settle)
		require.True(t, received(w))
	})
}

func TestDeafListenerIsLogged(t *testing.T) {
	log := withWatch(t, func(w *watch, l *toldListener) { l.hear(errors.New("no more")) })
	require.Contains(t, log, "not seen any more")
	require.Contains(t, log, "no more")
	require.Empty(t, withWatch(t, func(*watch, *toldListener) {}))
}

// What others do while we do not listen is suspected.
func TestQuietly(t *testing.T) {
	for _, c := range []struct {
		name    string
		numbers []uint32
		damage  bool
	}{{"alone", []uint32{7, 7}, false}, {"not alone", []uint32{7, 8}, true}} {
		withWatch(t, func(w *watch, l *toldListener) {
			others := func() (uint32, error) {
				n := c.numbers[0]
				c.numbers = c.numbers[1:]
				return n, nil
			}
			failed := errors.New("failed")
			require.Equal(t, failed, w.quietly(others, func() error { return failed }))
			require.Equal(t, c.damage, w.takeDamage())
		})
	}
}
