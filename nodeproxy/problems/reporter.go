// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package problems

import (
	"context"
	"log/slog"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A Reporter is a sink that logs each Problem of a Service once, and passes it on as an
// event. It never fails.
type Reporter struct {
	logger   *slog.Logger
	event    EventFunc
	reported map[localsink.ServiceName][]localsink.Problem
}

// NewReporter returns a Reporter. logger and event may be nil.
func NewReporter(logger *slog.Logger, event EventFunc) *Reporter {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Reporter{logger: logger, event: event.orDiscard(), reported: map[localsink.ServiceName][]localsink.Problem{}}
}

// Sync implements [localsink.Sink].
func (r *Reporter) Sync(ctx context.Context, u *localsink.Update) error {
	for _, svc := range u.Changed {
		before := r.reported[svc.Name]
		for _, p := range svc.Problems {
			if !slices.Contains(before, p) {
				r.logger.WarnContext(ctx, "Service not programmed as specified",
					"service", svc.Name, "object", p.Object, "field", p.Field, "reason", p.Message)
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
	return nil
}
