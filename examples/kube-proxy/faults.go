// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
)

// A faults is a sink around all others that remembers what went wrong with each Service:
// with it alone, as the sinks inside tell, or with an update that it was in. It tells the
// first kind by an event on the Service, once for each error.
type faults struct {
	inner  localsink.Sink
	events events.EventRecorder
	count  func(unserved int)

	mu      sync.Mutex
	single  map[source]*fault
	failed  *fault                             // the last update that failed
	listed  map[localsink.ServiceName]struct{} // what that, and those before it, were about
	present int
}

// A source is a Service and the sink within, by its place, that does not serve it.
type source struct {
	service localsink.ServiceName
	sink    int
}

// A fault is something that went wrong, and may be over.
type fault struct {
	Error string    `json:"error"`
	Since time.Time `json:"since"`
	// Seen is when it was so for the last time.
	Seen time.Time `json:"seen"`
	Over bool      `json:"over"`
}

func newFaults(inner localsink.Sink, recorder events.EventRecorder, count func(int)) *faults {
	return &faults{inner: inner, events: recorder, count: count, single: map[source]*fault{}, listed: map[localsink.ServiceName]struct{}{}}
}

// Sinks lets localsink.Walk see inside.
func (f *faults) Sinks() []localsink.Sink { return []localsink.Sink{f.inner} }

// Sync implements localsink.Sink.
func (f *faults) Sync(ctx context.Context, u *localsink.Update) error {
	err := f.inner.Sync(ctx, u)
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.noteUpdate(now, u, err)
	f.noteServices(now)
	for _, svc := range u.Removed {
		maps.DeleteFunc(f.single, func(s source, old *fault) bool { return old.Over && s.service == svc.Name })
	}
	return err
}

// noteUpdate remembers an update that failed, and which Services wait for it.
func (f *faults) noteUpdate(now time.Time, u *localsink.Update, err error) {
	switch {
	case err == nil && f.failed != nil:
		f.failed.Over = true
	case err != nil:
		if f.failed == nil || f.failed.Over || f.failed.Error != err.Error() {
			if f.failed == nil || f.failed.Over {
				clear(f.listed)
			}
			f.failed = &fault{Error: err.Error(), Since: now}
		}
		f.failed.Seen = now
		for _, list := range [][]*localsink.Service{u.Changed, u.Removed} {
			for _, svc := range list {
				f.listed[svc.Name] = struct{}{}
			}
		}
	}
}

// noteServices asks the sinks within what they do not serve.
func (f *faults) noteServices(now time.Time) {
	i, present := 0, map[localsink.ServiceName]struct{}{}
	for s := range localsink.Walk(f.inner) {
		i++
		p, ok := s.(localsink.FailureReporter)
		if !ok {
			continue
		}
		unserved := p.NotProgrammed()
		for name, err := range unserved {
			present[name] = struct{}{}
			f.noteService(now, source{name, i}, err, reason(s))
		}
		if f.present+len(present) == 0 {
			continue // the usual case: nothing to end
		}
		for at, old := range f.single {
			if at.sink == i && unserved[at.service] == nil {
				old.Over = true
			}
		}
	}
	f.present = len(present)
	f.count(len(present))
}

func (f *faults) noteService(now time.Time, at source, err error, reason string) {
	old := f.single[at]
	if old == nil || old.Over || old.Error != err.Error() {
		old = &fault{Error: err.Error(), Since: now}
		f.single[at] = old
		f.events.Eventf(reference(at.service), nil, corev1.EventTypeWarning, reason, "Program", "%v", err)
	}
	old.Seen = now
}

// reason is kube-proxy's where it has one.
func reason(s localsink.Sink) string {
	if _, ok := s.(*healthcheck.Services); ok {
		return "FailedToStartServiceHealthcheck"
	}
	return "ServiceNotServed"
}

// of returns what went wrong with a Service, the oldest first.
func (f *faults) of(name localsink.ServiceName) []fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []fault
	for at, one := range f.single {
		if at.service == name {
			all = append(all, *one)
		}
	}
	if _, ok := f.listed[name]; ok {
		all = append(all, *f.failed)
	}
	slices.SortFunc(all, func(a, b fault) int { return a.Since.Compare(b.Since) })
	return all
}

// services returns the names of all with which something went wrong, in order.
func (f *faults) services() []localsink.ServiceName {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := maps.Clone(f.listed)
	for at := range f.single {
		names[at.service] = struct{}{}
	}
	return slices.SortedFunc(maps.Keys(names), localsink.ServiceName.Compare)
}
