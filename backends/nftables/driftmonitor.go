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

// A listener receives notifications of changes that other programs make to the backend's
// tables.
type listener interface {
	// Wait returns nil after a change, nfnl.ErrOverrun after a possible change, and another
	// error when no further notifications will arrive.
	Wait() error
	// Pause and Resume stop and start the notifications.
	Pause() error
	Resume() error
	Close() error
}

const (
	// settleTime is the delay of a resync request after the first notification, because one
	// command may change a table many times.
	settleTime = 20 * time.Millisecond
	// contestTime is how soon after a repair the next drift counts as contested: another
	// program reacts to the backend's writes.
	contestTime = 500 * time.Millisecond
	// freeRepairs is the number of contested repairs in succession without a further delay.
	freeRepairs = 5
	// minContestDelay and maxContestDelay limit the delay of further ones. The second is also
	// the interval of resyncs because of changes that may have been missed.
	minContestDelay = 50 * time.Millisecond
	maxContestDelay = time.Second
)

// A driftMonitor requests a resync after other programs have changed the tables. It repairs at
// once, however often that happens, unless the changes follow the repairs so closely that
// another program must be reacting to them. Then the delay doubles from minContestDelay to
// maxContestDelay, so that two programs that undo each other's changes do not overload the
// machine. Its methods are safe for concurrent use.
//
//	state      event                                       next state
//	intact     notification                                drifted, the request is scheduled
//	drifted    Sync succeeds, no notification since begin  intact
//	drifted    Sync succeeds, a notification since begin   drifted, the next request is scheduled
//	drifted    Sync fails                                  drifted; the caller of Sync repeats it
type driftMonitor struct {
	listener listener
	log      *slog.Logger
	resync   chan struct{} // has room for one request
	done     chan struct{} // closed when run has returned

	count atomic.Uint64 // notifications

	mu        sync.Mutex  // guards the following fields
	pending   bool        // the tables may have changed since the last begin
	since     time.Time   // of drift that no Sync has repaired; zero if there is none
	changes   uint64      // counts notifications; a Sync repairs those before its begin
	repaired  time.Time   // when the last drift was repaired
	contested int         // contested repairs in succession
	logged    bool        // the drift
	missed    time.Time   // when a change may have been missed last
	timer     *time.Timer // of the next request after drift, or nil
	retry     *time.Timer // of the next request without drift, or nil
	closed    bool
}

// startDriftMonitor returns a running monitor, which closes l when it is stopped.
func startDriftMonitor(l listener, log *slog.Logger) *driftMonitor {
	m := &driftMonitor{listener: l, log: log, resync: make(chan struct{}, 1), done: make(chan struct{})}
	go m.run()
	return m
}

func (m *driftMonitor) run() {
	defer close(m.done)
	for {
		err := m.listener.Wait()
		if err != nil && !errors.Is(err, nfnl.ErrOverrun) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if !m.closed {
				m.log.Error("Listener failed; changes by other programs are no longer detected", "err", err)
			}
			return
		}
		m.count.Add(1)
		m.reportDrift()
	}
}

// reportDrift notes that another program has changed the tables.
func (m *driftMonitor) reportDrift() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes++
	m.pending = true
	if m.since.IsZero() {
		m.since, m.logged = time.Now(), false
		m.noteContest(!m.repaired.IsZero() && time.Since(m.repaired) < contestTime)
	}
	m.schedule(m.contestDelay())
}

// noteContest counts a repair as contested or not. The mutex must be held.
func (m *driftMonitor) noteContest(contested bool) {
	if !contested {
		m.contested = 0
		return
	}
	if m.contested++; m.contested == freeRepairs+1 {
		m.log.Warn("Another program keeps changing the tables; repairs are delayed. Look for a second instance with the same table name",
			"maxDelay", maxContestDelay)
	}
}

// contestDelay returns the delay of the next request. The mutex must be held.
func (m *driftMonitor) contestDelay() time.Duration {
	if m.contested <= freeRepairs {
		return settleTime
	}
	return min(minContestDelay<<min(m.contested-freeRepairs-1, 10), maxContestDelay)
}

// reportMissed notes that a change of the tables may have been missed. Unlike drift, that
// is neither logged nor counted, because most likely the change was of another table.
func (m *driftMonitor) reportMissed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending = true
	delay := settleTime
	if !m.missed.IsZero() && time.Since(m.missed) < 2*maxContestDelay {
		delay = maxContestDelay
	}
	m.missed = time.Now()
	m.schedule(delay)
}

// schedule starts the timer of the next request unless it is running. The mutex must be held.
func (m *driftMonitor) schedule(delay time.Duration) {
	if m.timer == nil && !m.closed {
		m.timer = time.AfterFunc(delay, m.requestResync)
	}
}

func (m *driftMonitor) requestResync() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timer = nil
	if m.closed || !m.pending {
		return // a Sync has begun to repair the tables
	}
	if m.contested <= freeRepairs && !m.since.IsZero() && !m.logged {
		m.logged = true
		m.log.Warn("Another program changed the tables; repairing them", "driftedFor", time.Since(m.since))
	}
	m.signal()
}

// A repair is what a driftMonitor notes at the begin of a Sync.
type repair struct {
	drift   bool // the tables may have changed since the last Sync
	drifted bool // there is drift, perhaps of an earlier Sync that failed
	changes uint64
}

// begin begins a Sync, which must repair the tables if they may have changed.
func (m *driftMonitor) begin() repair {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := repair{drift: m.pending, drifted: !m.since.IsZero(), changes: m.changes}
	m.pending = false
	return r
}

// succeeded ends a Sync that returned nil.
func (m *driftMonitor) succeeded(r repair) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !r.drifted {
		return
	}
	m.repaired = time.Now()
	if m.changes == r.changes {
		m.since = time.Time{}
		return
	}
	m.since, m.logged = m.repaired, false // since some moment after begin
	m.noteContest(true)
}

// driftedSince returns when the oldest drift that is not repaired was detected; zero if there is
// none.
func (m *driftMonitor) driftedSince() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.since
}

// scheduleRetry requests a resync after a delay although there is no drift. It has no effect
// if such a request is scheduled already.
func (m *driftMonitor) scheduleRetry(delay time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.retry != nil {
		return
	}
	m.retry = time.AfterFunc(delay, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.retry = nil; !m.closed {
			m.signal()
		}
	})
}

// signal sends a request unless one waits to be received.
func (m *driftMonitor) signal() {
	select {
	case m.resync <- struct{}{}:
	default:
	}
}

// stop closes the listener and waits until run has returned.
func (m *driftMonitor) stop() {
	m.mu.Lock()
	m.closed = true
	for _, t := range []*time.Timer{m.timer, m.retry} {
		if t != nil {
			t.Stop()
		}
	}
	m.mu.Unlock()
	_ = m.listener.Close() // only ends the Wait of run
	<-m.done
}
