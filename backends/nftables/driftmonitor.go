// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

// A listener hears of changes that others make to the backend's tables.
type listener interface {
	// Wait returns nil when there was one, nfnl.ErrOverrun when there may have been
	// one, and other errors when nothing more will be heard.
	Wait() error
	// Pause and Resume stop and begin the hearing.
	Pause() error
	Resume() error
	Close() error
}

// How often damage is reported.
const (
	settleTime   = 20 * time.Millisecond // one command may change a table many times
	minInterval = time.Second
	maxInterval = time.Minute
)

// A driftMonitor turns what a listener hears into reports of damage. Reports that follow
// each other closely come after pauses that double, so that two programs which
// fight over a table do not keep the machine busy.
type driftMonitor struct {
	listener listener
	log      *slog.Logger
	resync  chan struct{}
	done     chan struct{}

	drift atomic.Bool // since the last takeDamage
	count  atomic.Uint64

	mu       sync.Mutex
	timer    *time.Timer // of the next report; nil when there is none to come
	retry *time.Timer // of a report without damage; nil when there is none to come
	lastRequest     time.Time   // the last report
	interval    time.Duration
	closed   bool
}

// startDriftMonitor returns a watch that owns l and runs until stop.
func startDriftMonitor(l listener, log *slog.Logger) *driftMonitor {
	w := &driftMonitor{listener: l, log: log, resync: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

func (w *driftMonitor) run() {
	defer close(w.done)
	for {
		err := w.listener.Wait()
		if err != nil && !errors.Is(err, nfnl.ErrOverrun) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if !w.closed {
				w.log.Error("changes that others make to the rules are not seen any more", "error", err)
			}
			return
		}
		w.count.Add(1)
		w.reportDrift()
	}
}

// reportDrift notes that the tables may not be what they should.
func (w *driftMonitor) reportDrift() {
	w.drift.Store(true)
	w.schedule()
}

// withoutNotifications runs change, a large change of our own, while nobody listens: the kernel
// describes each element to listeners, which takes it about ten times as long as to
// apply it. others returns a number that changes with every transaction of
// somebody else; if it does, the tables are suspect.
func (w *driftMonitor) withoutNotifications(others func() (uint32, error), change func() error) error {
	before, err1 := others()
	err2 := w.listener.Pause()
	err := change()
	err3 := w.listener.Resume()
	after, err4 := others()
	if lost := errors.Join(err1, err2, err3, err4); lost != nil {
		w.log.Warn("changes that others make to the rules may go unseen", "error", lost)
		return err
	}
	if before != after {
		w.log.Info("another program changed firewall rules while Services were loaded; they will be loaded again, to be sure")
		w.reportDrift()
	}
	return err
}

// schedule sets the time of the next report, unless there is one.
func (w *driftMonitor) schedule() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil || w.closed {
		return
	}
	since := time.Since(w.lastRequest)
	if w.lastRequest.IsZero() || since > 2*maxInterval {
		w.interval = 0
	}
	w.timer = time.AfterFunc(max(settleTime, w.interval-since), w.requestResync)
}

func (w *driftMonitor) requestResync() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = nil
	if w.closed || !w.drift.Load() {
		return // already repaired
	}
	w.lastRequest = time.Now()
	if w.interval *= 2; w.interval < minInterval {
		w.interval = minInterval
	}
	w.interval = min(w.interval, maxInterval)
	w.log.Warn("another program changed the rules; they are to be written anew. If this repeats, look for a second "+
		"instance that uses the same table", "next report not before", w.interval)
	w.signal()
}

// scheduleRetry asks for a Sync after a while, although nothing is damaged: there is something
// to try again.
func (w *driftMonitor) scheduleRetry(after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.retry != nil {
		return
	}
	w.retry = time.AfterFunc(after, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.retry = nil; !w.closed {
			w.signal()
		}
	})
}

// signal passes a report on, unless one waits to be heard.
func (w *driftMonitor) signal() {
	select {
	case w.resync <- struct{}{}:
	default:
	}
}

// takeDrift tells whether there was damage since the last call.
func (w *driftMonitor) takeDrift() bool { return w.drift.Swap(false) }

// stop closes the listener and waits for the end of run.
func (w *driftMonitor) stop() {
	w.mu.Lock()
	w.closed = true
	for _, t := range []*time.Timer{w.timer, w.retry} {
		if t != nil {
			t.Stop()
		}
	}
	w.mu.Unlock()
	w.listener.Close()
	<-w.done
}
