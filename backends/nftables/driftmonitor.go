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
	// minInterval and maxInterval limit the time between resync requests.
	minInterval = time.Second
	maxInterval = time.Minute
)

// A driftMonitor requests a resync after other programs have changed the tables. The interval
// between requests doubles while they follow each other closely, so that two programs that
// undo each other's changes do not overload the machine. Its methods are safe for concurrent
// use.
type driftMonitor struct {
	listener listener
	log      *slog.Logger
	resync   chan struct{} // has room for one request
	done     chan struct{} // closed when run has returned

	drift atomic.Bool // the tables may have changed since the last takeDrift
	count atomic.Uint64

	mu          sync.Mutex  // guards the following fields
	timer       *time.Timer // of the next request after drift, or nil
	retry       *time.Timer // of the next request without drift, or nil
	lastRequest time.Time
	interval    time.Duration
	closed      bool
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

// reportDrift notes that the tables may differ from the backend's state.
func (m *driftMonitor) reportDrift() {
	m.drift.Store(true)
	m.schedule()
}

// withoutNotifications runs the commit of a large transaction while the listener is paused:
// the kernel describes each element to listeners, which takes about ten times as long as to
// apply it. externalCommits returns a number that changes with each transaction of another
// program; if it changes meanwhile, the tables may have drifted.
func (m *driftMonitor) withoutNotifications(externalCommits func() (uint32, error), commit func() error) error {
	before, err1 := externalCommits()
	err2 := m.listener.Pause()
	err := commit()
	err3 := m.listener.Resume()
	after, err4 := externalCommits()
	if missed := errors.Join(err1, err2, err3, err4); missed != nil {
		m.log.Warn("Changes by other programs may remain undetected", "err", missed)
		return err
	}
	if before != after {
		m.log.Info("Another program changed firewall rules during a rebuild; rebuilding again in case it changed this table")
		m.reportDrift()
	}
	return err
}

// schedule starts the timer of the next request unless it is running.
func (m *driftMonitor) schedule() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timer != nil || m.closed {
		return
	}
	since := time.Since(m.lastRequest)
	if m.lastRequest.IsZero() || since > 2*maxInterval {
		m.interval = 0
	}
	m.timer = time.AfterFunc(max(settleTime, m.interval-since), m.requestResync)
}

func (m *driftMonitor) requestResync() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timer = nil
	if m.closed || !m.drift.Load() {
		return // a Sync has repaired the tables
	}
	m.lastRequest = time.Now()
	m.interval = min(max(2*m.interval, minInterval), maxInterval)
	m.log.Warn("Another program changed the tables; requesting a resync. If this repeats, look for a second "+
		"instance with the same table name", "retryAfter", m.interval)
	m.signal()
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

// takeDrift reports whether the tables may have changed since the last call.
func (m *driftMonitor) takeDrift() bool { return m.drift.Swap(false) }

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
