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
	settle   = 20 * time.Millisecond // one command may change a table many times
	minPause = time.Second
	maxPause = time.Minute
)

// A watch turns what a listener hears into reports of damage. Reports that follow
// each other closely come after pauses that double, so that two programs which
// fight over a table do not keep the machine busy.
type watch struct {
	listener listener
	log      *slog.Logger
	damaged  chan struct{}
	done     chan struct{}

	damage atomic.Bool // since the last takeDamage
	count  atomic.Uint64

	mu       sync.Mutex
	timer    *time.Timer // of the next report; nil when there is none to come
	reminder *time.Timer // of a report without damage; nil when there is none to come
	last     time.Time   // the last report
	pause    time.Duration
	closed   bool
}

// startWatch returns a watch that owns l and runs until stop.
func startWatch(l listener, log *slog.Logger) *watch {
	w := &watch{listener: l, log: log, damaged: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

func (w *watch) run() {
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
		w.suspect()
	}
}

// suspect notes that the tables may not be what they should.
func (w *watch) suspect() {
	w.damage.Store(true)
	w.schedule()
}

// quietly runs change, a large change of our own, while nobody listens: the kernel
// describes each element to listeners, which takes it about ten times as long as to
// apply it. others returns a number that changes with every transaction of
// somebody else; if it does, the tables are suspect.
func (w *watch) quietly(others func() (uint32, error), change func() error) error {
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
		w.suspect()
	}
	return err
}

// schedule sets the time of the next report, unless there is one.
func (w *watch) schedule() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil || w.closed {
		return
	}
	since := time.Since(w.last)
	if w.last.IsZero() || since > 2*maxPause {
		w.pause = 0
	}
	w.timer = time.AfterFunc(max(settle, w.pause-since), w.report)
}

func (w *watch) report() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = nil
	if w.closed || !w.damage.Load() {
		return // already repaired
	}
	w.last = time.Now()
	if w.pause *= 2; w.pause < minPause {
		w.pause = minPause
	}
	w.pause = min(w.pause, maxPause)
	w.log.Warn("another program changed the rules; they are to be written anew. If this repeats, look for a second "+
		"instance that uses the same table", "next report not before", w.pause)
	w.tell()
}

// remind asks for a Sync after a while, although nothing is damaged: there is something
// to try again.
func (w *watch) remind(after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.reminder != nil {
		return
	}
	w.reminder = time.AfterFunc(after, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.reminder = nil; !w.closed {
			w.tell()
		}
	})
}

// tell passes a report on, unless one waits to be heard.
func (w *watch) tell() {
	select {
	case w.damaged <- struct{}{}:
	default:
	}
}

// takeDamage tells whether there was damage since the last call.
func (w *watch) takeDamage() bool { return w.damage.Swap(false) }

// stop closes the listener and waits for the end of run.
func (w *watch) stop() {
	w.mu.Lock()
	w.closed = true
	for _, t := range []*time.Timer{w.timer, w.reminder} {
		if t != nil {
			t.Stop()
		}
	}
	w.mu.Unlock()
	w.listener.Close()
	<-w.done
}
