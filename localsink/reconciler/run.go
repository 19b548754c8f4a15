// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// defaultMaxBackoff is the default of Config.MaxBackoff.
const defaultMaxBackoff = 30 * time.Second

// A Source updates a tracker from the cluster state.
type Source interface {
	// Refresh updates the tracker of [Run] to the current desired state. It returns a
	// channel that is closed when there are changes since. Calls do not overlap with each
	// other or with other uses of the tracker by Run.
	Refresh(t *Tracker) (newer <-chan struct{})
}

// A Config determines how a sink is called. The zero value is valid.
type Config struct {
	// MinInterval is the minimum time between the end of a Sync and the start of the next.
	// Changes in between are combined. Zero means no minimum. The answer to a resync request
	// that meets changes follows them at once.
	MinInterval time.Duration
	// MaxBackoff bounds the time between attempts of a Sync that fails, which doubles from
	// 100 ms. Changes during a backoff cause an attempt after one second at most. Zero means
	// 30 s.
	MaxBackoff time.Duration
	// Logger receives the errors of Sync. nil discards them.
	Logger *slog.Logger
	// OnSync, if not nil, is called after each Sync, with its error and duration, and with nil and
	// 0 after a refresh of the tracker that left the sink nothing to do. It is not called if ctx ended
	// during the Sync. Calls do not overlap.
	OnSync func(err error, duration time.Duration)
}

// Validate returns an error that names the invalid fields.
func (cfg *Config) Validate() error {
	return errors.Join(nonNegative("MinInterval", cfg.MinInterval), nonNegative("MaxBackoff", cfg.MaxBackoff))
}

func nonNegative(field string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("%s: %s must not be negative", field, d)
	}
	return nil
}

// Run refreshes t from source and calls sink with each update, until ctx is done; then it
// returns nil. It retries a failed Sync without limit. The only error is an invalid cfg.
//
// All goroutines have ended when Run returns. It may then be called again with the same
// tracker and sink. Calls must not overlap.
func Run(ctx context.Context, t *Tracker, source Source, sink localsink.Sink, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("reconciler: invalid config: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	resyncRequests, stop := mergeResyncRequests(ctx, sink)
	defer func() {
		stop()
		select {
		case <-resyncRequests:
			t.resyncRequested = true // for the next call
		default:
		}
	}()
	l := &loop{
		tracker: t, source: source, sink: sink, logger: cfg.Logger, onSync: cfg.OnSync,
		resyncRequests: resyncRequests,
		schedule:       schedule{minInterval: cfg.MinInterval, maxBackoff: cmp.Or(cfg.MaxBackoff, defaultMaxBackoff)},
	}
	for ctx.Err() == nil {
		l.sync(ctx)
		if !l.wait(ctx) {
			return nil
		}
	}
	return nil
}

// Unsupported returns the features that sink, or any sink inside it, does not support.
func Unsupported(sink localsink.Sink) (f localsink.Features) {
	for s := range localsink.Walk(sink) {
		if reporter, ok := s.(localsink.FeatureReporter); ok {
			f |= reporter.Unsupported()
		}
	}
	return f
}

// A loop is the state of one call of Run. It belongs to the goroutine of Run.
type loop struct {
	tracker        *Tracker
	source         Source
	sink           localsink.Sink
	logger         *slog.Logger
	onSync         func(err error, duration time.Duration)
	resyncRequests <-chan struct{}

	newer       <-chan struct{} // of the last Refresh
	schedule    schedule
	loggedError string // text of the last logged error, empty after a success
}

// sync refreshes the tracker and calls the sink if it has something to do. Changes do not answer a
// resync request, because other sinks than the one that has repaired its drift must compare too: an
// update without a delta follows them at once, so that a busy source cannot put it off.
func (l *loop) sync(ctx context.Context) {
	l.newer = l.source.Refresh(l.tracker)
	if u := l.tracker.Pending(); u != nil {
		if l.deliver(ctx, u) && l.tracker.resyncRequested {
			l.resync(ctx)
		}
		return
	}
	if !l.tracker.resyncRequested && !l.schedule.inBackoff() {
		l.report(nil, 0)
		return
	}
	l.resync(ctx)
}

// resync calls the sink with an update without a delta, which answers a request.
func (l *loop) resync(ctx context.Context) {
	if l.deliver(ctx, l.tracker.FullUpdate()) {
		l.tracker.resyncRequested = false
	}
}

// deliver calls the sink and reports whether it succeeded.
func (l *loop) deliver(ctx context.Context, u *localsink.Update) bool {
	start := time.Now()
	err := l.sink.Sync(ctx, u)
	end := time.Now()
	switch {
	case err == nil:
		l.tracker.Acknowledge(u)
		l.schedule.succeeded(end)
		l.loggedError = ""
	case ctx.Err() != nil:
		return false
	default:
		wasDue := l.schedule.failed(end)
		l.logFailure(ctx, u, err, wasDue)
	}
	l.report(err, end.Sub(start))
	return err == nil
}

func (l *loop) report(err error, duration time.Duration) {
	if l.onSync != nil {
		l.onSync(err, duration)
	}
}

// logFailure logs a failed Sync. An early attempt with the same error as the last one is
// not logged, because a busy source causes one per second.
func (l *loop) logFailure(ctx context.Context, u *localsink.Update, err error, wasDue bool) {
	text := err.Error()
	if !wasDue && text == l.loggedError {
		return
	}
	l.loggedError = text
	l.logger.ErrorContext(ctx, "Sync failed, retrying", "err", err,
		"retryAfter", time.Until(l.schedule.retryAt).Round(time.Millisecond), "changed", len(u.Changed), "removed", len(u.Removed))
}

// wait returns true when the next Sync is due, and false when ctx is done.
func (l *loop) wait(ctx context.Context) bool {
	var retry <-chan time.Time
	if l.schedule.inBackoff() {
		timer := time.NewTimer(time.Until(l.schedule.retryAt))
		defer timer.Stop()
		retry = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-l.newer:
	case <-l.resyncRequests:
		l.tracker.resyncRequested = true
	case <-retry:
	}
	return sleepUntil(ctx, l.schedule.next(l.tracker.resyncRequested))
}

// sleepUntil returns true at the given time, and false if ctx is done before.
func sleepUntil(ctx context.Context, at time.Time) bool {
	delay := time.Until(at)
	if delay <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
