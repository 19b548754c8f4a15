// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

const (
	// minBackoff is the least time between two attempts when a Sync has failed, and
	// between two repairs.
	minBackoff = 100 * time.Millisecond
	// maxHaste is how long news wait at most when a Sync has failed.
	maxHaste = time.Second
)

// A Source brings a feed up to date.
type Source interface {
	// Refresh brings the feed that Run was given in line with the present, and returns a
	// channel that is closed when there is news. Calls do not overlap each other or any
	// other use of the feed by Run.
	Refresh(f *Tracker) (newer <-chan struct{})
}

// A Config says how a sink is called. The zero value is ready for use.
type Config struct {
	// MinInterval is the least time between the end of one Sync and the beginning
	// of the next; changes in between are taken together. Zero hurries.
	MinInterval time.Duration
	// MaxBackoff bounds the time between attempts at a Sync that fails, which grows
	// from 100 ms. When there is news meanwhile, an attempt is made after a second at
	// most. Zero means 30 s.
	MaxBackoff time.Duration
	// Logger hears of failures; nil is silent.
	Logger *slog.Logger
	// OnSync, when not nil, is told how the sink stands after each refresh: with the error
	// and the duration of a Sync, or with neither when no Sync was needed.
	OnSync func(err error, took time.Duration)
}

// Validate returns an error that names the field that is wrong.
func (cfg *Config) Validate() error {
	if cfg.MinInterval < 0 || cfg.MaxBackoff < 0 {
		return errors.New("MinInterval, MaxBackoff: must not be negative")
	}
	return nil
}

// Run keeps sink in line with what source makes of f, until ctx is done; then it
// returns nil. A sink that fails is tried again for ever. The error is about cfg. All
// goroutines have ended when Run returns.
func Run(ctx context.Context, f *Tracker, source Source, sink localsink.Sink, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg.MaxBackoff = cmp.Or(cfg.MaxBackoff, 30*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	l := &loop{feed: f, source: source, sink: sink, cfg: cfg, damaged: make(chan struct{}, 1)}
	defer l.listen(ctx)()
	for ctx.Err() == nil {
		l.sync(ctx)
		if !l.wait(ctx) {
			return nil
		}
	}
	return nil
}

// Unsupported returns what a sink, or any that it is made of, cannot do.
func Unsupported(sink localsink.Sink) (f localsink.Features) {
	for s := range localsink.Walk(sink) {
		if l, ok := s.(localsink.FeatureReporter); ok {
			f |= l.Unsupported()
		}
	}
	return f
}

// A loop is Run at work.
type loop struct {
	feed    *Tracker
	source  Source
	sink    localsink.Sink
	cfg     Config
	damaged chan struct{} // any Repairer within sink
	repair  bool          // the sink asked for a Sync that has not succeeded yet

	newer   <-chan struct{}
	ended   time.Time     // of the last Sync
	failed  string        // the error of the last Sync, empty after success
	backoff time.Duration // zero after success
	retryAt time.Time     // when backoff is over
	hasteAt time.Time     // when it is for news
}

// listen joins the Damaged channels of all Repairers within the sink. The result
// ends that, and returns when it has ended.
func (l *loop) listen(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended, n := make(chan struct{}), 0
	for s := range localsink.Walk(l.sink) {
		r, ok := s.(localsink.ResyncRequester)
		if !ok {
			continue
		}
		n++
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				select {
				case <-ctx.Done():
					return
				case <-r.ResyncRequested():
					select {
					case l.damaged <- struct{}{}:
					default: // one notice is enough
					}
				}
			}
		}()
	}
	return func() {
		cancel()
		for range n {
			<-ended
		}
	}
}

// wait returns true when there is something to do, and false when ctx is done.
func (l *loop) wait(ctx context.Context) bool {
	var retry <-chan time.Time
	if l.backoff > 0 {
		timer := time.NewTimer(time.Until(l.retryAt))
		defer timer.Stop()
		retry = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-l.newer:
	case <-l.damaged:
		l.repair = true
	case <-retry:
	}
	return l.pace(ctx)
}

// pace keeps the distance from the last Sync: the configured one, and more after a
// failure or when the sink asks for repairs, however much changes.
func (l *loop) pace(ctx context.Context) bool {
	at := l.ended.Add(l.cfg.MinInterval)
	if l.backoff > 0 && l.hasteAt.After(at) {
		at = l.hasteAt
	}
	if least := l.ended.Add(minBackoff); l.repair && least.After(at) {
		at = least
	}
	rest := time.Until(at)
	if rest <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// sync brings the sink in line with the present state, or arranges for another
// attempt.
func (l *loop) sync(ctx context.Context) {
	l.newer = l.source.Refresh(l.feed)
	u := l.feed.Pending()
	if u == nil {
		if !l.repair && l.backoff == 0 {
			l.done(nil, 0)
			return
		}
		u = l.feed.FullUpdate()
	}
	began := time.Now()
	err := l.sink.Sync(ctx, u)
	l.ended = time.Now()
	switch {
	case err == nil:
		l.feed.Acknowledge(u)
		l.backoff, l.repair, l.failed = 0, false, ""
		l.retryAt, l.hasteAt = time.Time{}, time.Time{}
	case ctx.Err() == nil:
		l.backOff(ctx, u, err)
	default:
		return
	}
	l.done(err, l.ended.Sub(began))
}

func (l *loop) done(err error, took time.Duration) {
	if l.cfg.OnSync != nil {
		l.cfg.OnSync(err, took)
	}
}

// backOff arranges for another attempt. The pause grows with attempts that waited for
// their turn; one that came early, because of news, leaves it as it is. What is known
// already is not logged by early attempts.
func (l *loop) backOff(ctx context.Context, u *localsink.Update, err error) {
	inTurn := !l.ended.Before(l.retryAt)
	if inTurn {
		l.backoff = min(max(2*l.backoff, minBackoff), l.cfg.MaxBackoff)
		l.retryAt = l.ended.Add(l.backoff/2 + rand.N(l.backoff/2+1))
	}
	l.hasteAt = l.ended.Add(min(l.backoff, maxHaste))
	if text := err.Error(); inTurn || text != l.failed {
		l.failed = text
		l.cfg.Logger.ErrorContext(ctx, "Sink failed, will try again", "err", err,
			"in", time.Until(l.retryAt).Round(time.Millisecond), "changed", len(u.Changed), "removed", len(u.Removed))
	}
}
