// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"sigs.k8s.io/kpng/localsink"
)

// A reporter is a sink that tells people, in the log and by events on the Service,
// what of a Service cannot be honoured. It tells each problem once.
type reporter struct {
	log    *slog.Logger
	events events.EventRecorder
	told   map[localsink.ServiceName][]localsink.Problem
}

func newReporter(log *slog.Logger, recorder events.EventRecorder) *reporter {
	return &reporter{log: log, events: recorder, told: map[localsink.ServiceName][]localsink.Problem{}}
}

// Sync implements localsink.Sink.
func (r *reporter) Sync(_ context.Context, u *localsink.Update) error {
	for _, svc := range u.Changed {
		before := r.told[svc.Name]
		for _, p := range svc.Problems {
			if !slices.Contains(before, p) {
				r.log.Warn("Service cannot be served as asked", "service", svc.Name, "object", p.Object, "field", p.Field, "problem", p.Message)
				r.events.Eventf(reference(svc.Name), nil, corev1.EventTypeWarning, "ServiceNotHonoured", "Program", "%s", p.String())
			}
		}
		if len(svc.Problems) > 0 {
			r.told[svc.Name] = svc.Problems
		} else {
			delete(r.told, svc.Name)
		}
	}
	for _, svc := range u.Removed {
		delete(r.told, svc.Name)
	}
	return nil
}

func reference(name localsink.ServiceName) runtime.Object {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: name.Namespace, Name: name.Name}
}
