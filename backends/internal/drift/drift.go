// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package drift detects that other programs have changed what a backend programmed, and decides
// when the backend must repair it.
//
// Drift is a difference between what a backend has programmed and what the kernel holds, caused
// by a change of another program. A [Monitor] receives notifications from a [Source], requests a
// resync, and observes the calls of Sync:
//
//	state      event                                       next state
//	intact     notification                                drifted, the request is scheduled
//	intact     Sync repairs a change before that           intact, a request is scheduled
//	drifted    Sync begins before the request              drifted, the request remains
//	drifted    Sync succeeds, no notification since begin  intact
//	drifted    Sync succeeds, a notification since begin   drifted, the next request is scheduled
//	drifted    Sync fails                                  drifted; the caller of Sync repeats it
//
// A request always follows a notification, even if a Sync with a delta has repaired the drift
// meanwhile: an update without a delta makes other sinks compare everything, because connections
// may have begun while rules were missing.
//
// It repairs at once, however often drift occurs, unless the changes follow the repairs so closely
// that another program must be reacting to them. Then the delay doubles up to one second, so
// that two programs that undo each other's changes do not overload the machine.
package drift

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A Source calls changed after each change that another program has made to what the backend
// programmed. It returns when ctx ends, or with an error if it cannot detect further changes.
type Source func(ctx context.Context, changed func()) error

// Poll returns a Source that calls check at intervals and reports a change if it returns true. An
// error of check is logged once until a call succeeds.
func Poll(interval time.Duration, log *slog.Logger, check func(context.Context) (changed bool, err error)) Source {
	return func(ctx context.Context, changed func()) error {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		failing := false
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
			drifted, err := check(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				log.Warn("Changes by other programs are not detected at present", "err", err)
			}
			if failing = err != nil; drifted {
				changed()
			}
		}
	}
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

// A Monitor requests resyncs because of drift; the package comment has its states. Its methods are
// safe for concurrent use.
type Monitor struct {
	log    *slog.Logger
	resync chan struct{} // has room for one request
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned

	count   atomic.Uint64 // notifications
	repairs atomic.Uint64

	mu        sync.Mutex  // guards the following fields
	pending   bool        // there may have been changes since the last begin
	since     time.Time   // of drift that no Sync has repaired; zero if there is none
	changes   uint64      // counts notifications; a Sync repairs those before its begin
	repaired  time.Time   // when the last drift was repaired
	contested int         // contested repairs in succession
	logged    bool        // the drift
	missed    time.Time   // when a change may have been missed last
	timer     *time.Timer // of the next request after drift, or nil
	retry     *time.Timer // of the next request without drift, or nil
	retryAt   time.Time   // when retry ends
	closed    bool
}

// NewMonitor returns a Monitor that runs source until it is closed. source may be nil, for a
// backend that only calls Report.
func NewMonitor(source Source, log *slog.Logger) *Monitor {
	ctx, cancel := context.WithCancel(context.Background())
	m := &Monitor{log: log, resync: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	if source == nil {
		close(m.done)
	} else {
		go m.run(ctx, source)
	}
	return m
}

func (m *Monitor) run(ctx context.Context, source Source) {
	defer close(m.done)
	if err := source(ctx, m.Report); err != nil && ctx.Err() == nil {
		m.log.Error("Changes by other programs are no longer detected", "err", err)
	}
}

// Requests returns a channel that receives when a Sync is necessary.
func (m *Monitor) Requests() <-chan struct{} { return m.resync }

// Count returns the number of notifications.
func (m *Monitor) Count() uint64 { return m.count.Load() }

// Repairs returns how often a Sync has repaired what another program has changed, or may have. Sinks
// behind the backend compare the number with that of their last Sync.
func (m *Monitor) Repairs() uint64 { return m.repairs.Load() }

// Report notes that another program has changed what the backend programmed.
func (m *Monitor) Report() {
	m.count.Add(1)
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
func (m *Monitor) noteContest(contested bool) {
	if !contested {
		m.contested = 0
		return
	}
	if m.contested++; m.contested == freeRepairs+1 {
		m.log.Warn("Another program keeps changing the rules; repairs are delayed. Look for a second instance with the same configuration",
			"maxDelay", maxContestDelay)
	}
}

// contestDelay returns the delay of the next request. The mutex must be held.
func (m *Monitor) contestDelay() time.Duration {
	if m.contested <= freeRepairs {
		return settleTime
	}
	return min(minContestDelay<<min(m.contested-freeRepairs-1, 10), maxContestDelay)
}

// ReportMissed notes that a change may have been missed. Unlike drift, that is neither logged nor
// counted, because most likely there was none.
func (m *Monitor) ReportMissed() {
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

// ReportRepaired notes that a Sync has found and repaired a change of another program, of which
// there was no notification.
func (m *Monitor) ReportRepaired() {
	m.count.Add(1)
	m.repairs.Add(1)
	m.log.Warn("Another program changed the rules; an update repaired them")
	m.ScheduleRetry(settleTime)
}

// schedule starts the timer of the next request unless it is running. The mutex must be held.
func (m *Monitor) schedule(delay time.Duration) {
	if m.timer == nil && !m.closed {
		m.timer = time.AfterFunc(delay, m.requestResync)
	}
}

func (m *Monitor) requestResync() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timer = nil
	if m.closed {
		return
	}
	if m.contested <= freeRepairs && !m.since.IsZero() && !m.logged {
		m.logged = true
		m.log.Warn("Another program changed the rules; repairing them", "driftedFor", time.Since(m.since))
	}
	m.signal()
}

// A Repair is the drift at the begin of a Sync.
type Repair struct {
	// NeedsRepair reports whether there may have been changes since the last begin of a Sync:
	// Sync must bring the kernel to the desired state, whatever its present state is.
	NeedsRepair bool

	drifted bool // there is drift, perhaps of an earlier Sync that failed
	changes uint64
}

// Begin begins a Sync.
func (m *Monitor) Begin() Repair {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := Repair{NeedsRepair: m.pending, drifted: !m.since.IsZero(), changes: m.changes}
	m.pending = false
	return r
}

// Succeeded ends a Sync that has repaired the drift.
func (m *Monitor) Succeeded(r Repair) {
	if r.NeedsRepair || r.drifted {
		m.repairs.Add(1)
	}
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

// DriftedSince returns when the oldest drift that is not repaired was detected; zero if there is
// none.
func (m *Monitor) DriftedSince() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.since
}

// ScheduleRetry requests a resync after a delay although there is no drift. It has no effect
// if such a request is scheduled before that.
func (m *Monitor) ScheduleRetry(delay time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := time.Now().Add(delay)
	switch {
	case m.closed || m.retry != nil && !at.Before(m.retryAt):
	case m.retry != nil && m.retry.Stop():
		m.retry.Reset(delay)
		m.retryAt = at
	case m.retry != nil: // it has fired and waits for the mutex: the request comes at once
	default:
		m.retry, m.retryAt = time.AfterFunc(delay, m.requestRetry), at
	}
}

func (m *Monitor) requestRetry() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.retry = nil; !m.closed {
		m.signal()
	}
}

// signal sends a request unless one waits to be received.
func (m *Monitor) signal() {
	select {
	case m.resync <- struct{}{}:
	default:
	}
}

// Close ends the source, waits until it has returned, and stops the requests. Further calls have
// no effect.
func (m *Monitor) Close() {
	m.mu.Lock()
	m.closed = true
	for _, t := range []*time.Timer{m.timer, m.retry} {
		if t != nil {
			t.Stop()
		}
	}
	m.mu.Unlock()
	m.cancel()
	<-m.done
}
