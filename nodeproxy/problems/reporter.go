// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package problems

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

const (
	// repeatAfter is the time after which a Problem that comes again is logged again.
	repeatAfter = time.Hour
	// summaryInterval is the minimum time between two lines with the number of Services.
	summaryInterval = 10 * time.Minute
)

// A Reporter is a sink that reports the Problems of Services. It never fails.
//
// Each occurrence of a Problem is an event. The log has one line for each Problem in an
// hour, however often the object changes, and one line in ten minutes with the number of
// Services that have Problems, if it changed.
type Reporter struct {
	logger   *slog.Logger
	event    EventFunc
	reported map[localsink.ServiceName][]localsink.Problem

	logged     map[loggedProblem]time.Time
	forgotten  time.Time // when old entries of logged were deleted
	summary    int       // the number of Services that was logged last
	summarized time.Time
}

type loggedProblem struct {
	service localsink.ServiceName
	problem localsink.Problem
}

// NewReporter returns a Reporter. logger and event may be nil.
func NewReporter(logger *slog.Logger, event EventFunc) *Reporter {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Reporter{
		logger: logger, event: event.orDiscard(),
		reported: map[localsink.ServiceName][]localsink.Problem{}, logged: map[loggedProblem]time.Time{},
	}
}

// Sync implements [localsink.Sink].
func (r *Reporter) Sync(ctx context.Context, u *localsink.Update) error {
	now := time.Now()
	for _, svc := range u.Changed {
		before := r.reported[svc.Name]
		for _, p := range svc.Problems {
			if !slices.Contains(before, p) {
				r.log(ctx, now, svc.Name, p)
				r.event(svc.Name, ReasonProblem, p.String())
			}
		}
		if len(svc.Problems) > 0 {
			r.reported[svc.Name] = svc.Problems
		} else {
			delete(r.reported, svc.Name)
		}
	}
	for _, svc := range u.Removed {
		delete(r.reported, svc.Name)
	}
	r.summarize(ctx, now)
	if now.Sub(r.forgotten) >= summaryInterval {
		r.forgotten = now
		maps.DeleteFunc(r.logged, func(_ loggedProblem, at time.Time) bool { return now.Sub(at) >= repeatAfter })
	}
	return nil
}

// log logs a Problem unless it was logged lately.
func (r *Reporter) log(ctx context.Context, now time.Time, name localsink.ServiceName, p localsink.Problem) {
	key := loggedProblem{name, p}
	if at, ok := r.logged[key]; ok && now.Sub(at) < repeatAfter {
		return
	}
	r.logged[key] = now
	r.logger.WarnContext(ctx, "Service not programmed as specified",
		"service", name, "object", p.Object, "field", p.Field, "reason", p.Message)
}

// summarize logs the number of Services with Problems if it changed.
func (r *Reporter) summarize(ctx context.Context, now time.Time) {
	if len(r.reported) == r.summary || now.Sub(r.summarized) < summaryInterval {
		return
	}
	r.summary, r.summarized = len(r.reported), now
	problems := 0
	for _, list := range r.reported {
		problems += len(list)
	}
	r.logger.InfoContext(ctx, "Services not programmed as specified", "services", r.summary, "problems", problems, "details", "/state")
}
