// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package problems

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
)

// A Tracker is a sink around all others that remembers the failures of each Service:
//
//   - A sink inside reports that the Service is not programmed ([localsink.FailureReporter]).
//     The failure is an event once for each new error, is resolved when the sink no longer
//     reports it, and is forgotten with the Service.
//   - An update that contains the Service fails. The failure is resolved by the next update
//     that succeeds, and is forgotten with the next one that fails after that.
//
// Its methods may be called from any goroutine, except that calls of Sync never overlap.
type Tracker struct {
	inner localsink.Sink
	event EventFunc

	mu            sync.Mutex
	notProgrammed map[source]*Failure
	failedUpdate  *Failure                           // the last update that failed
	inFailed      map[localsink.ServiceName]struct{} // Services of that and, while none succeeds, of earlier ones
	count         int                                // Services with a failure in notProgrammed that is not resolved
}

// A source is a Service and the sink, by its position in [localsink.Walk], that does not
// program it.
type source struct {
	service localsink.ServiceName
	sink    int
}

// A Failure is an error of a Service, current or resolved.
type Failure struct {
	Error string `json:"error"`
	// Since and LastSeen are when the error was seen first and last.
	Since    time.Time `json:"since"`
	LastSeen time.Time `json:"lastSeen"`
	// Resolved reports whether the error is over.
	Resolved bool `json:"resolved"`
}

// NewTracker returns a Tracker around inner. event may be nil.
func NewTracker(inner localsink.Sink, event EventFunc) *Tracker {
	return &Tracker{
		inner: inner, event: event.orDiscard(),
		notProgrammed: map[source]*Failure{}, inFailed: map[localsink.ServiceName]struct{}{},
	}
}

// Sinks returns the inner sink, for [localsink.Walk].
func (t *Tracker) Sinks() []localsink.Sink { return []localsink.Sink{t.inner} }

// Sync implements [localsink.Sink].
func (t *Tracker) Sync(ctx context.Context, u *localsink.Update) error {
	err := t.inner.Sync(ctx, u)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.trackUpdate(now, u, err)
	t.trackServices(now)
	for _, svc := range u.Removed {
		maps.DeleteFunc(t.notProgrammed, func(s source, f *Failure) bool { return f.Resolved && s.service == svc.Name })
	}
	return err
}

// trackUpdate records the result of an update and the Services that it contains.
func (t *Tracker) trackUpdate(now time.Time, u *localsink.Update, err error) {
	if err == nil {
		if t.failedUpdate != nil {
			t.failedUpdate.Resolved = true
		}
		return
	}
	if t.failedUpdate == nil || t.failedUpdate.Resolved {
		clear(t.inFailed)
		t.failedUpdate = &Failure{Error: err.Error(), Since: now}
	} else if t.failedUpdate.Error != err.Error() {
		t.failedUpdate = &Failure{Error: err.Error(), Since: now}
	}
	t.failedUpdate.LastSeen = now
	for _, services := range [][]*localsink.Service{u.Changed, u.Removed} {
		for _, svc := range services {
			t.inFailed[svc.Name] = struct{}{}
		}
	}
}

// trackServices collects from the sinks inside which Services are not programmed.
func (t *Tracker) trackServices(now time.Time) {
	position, current := 0, map[localsink.ServiceName]struct{}{}
	for sink := range localsink.Walk(t.inner) {
		position++
		reporter, ok := sink.(localsink.FailureReporter)
		if !ok {
			continue
		}
		errs := reporter.NotProgrammed()
		for name, err := range errs {
			current[name] = struct{}{}
			t.trackService(now, source{name, position}, err, reason(sink))
		}
		if t.count+len(current) == 0 {
			continue // the usual case: no failure can be resolved
		}
		for from, failure := range t.notProgrammed {
			if from.sink == position && errs[from.service] == nil {
				failure.Resolved = true
			}
		}
	}
	t.count = len(current)
}

func (t *Tracker) trackService(now time.Time, from source, err error, reason string) {
	failure := t.notProgrammed[from]
	if failure == nil || failure.Resolved || failure.Error != err.Error() {
		failure = &Failure{Error: err.Error(), Since: now}
		t.notProgrammed[from] = failure
		t.event(from.service, reason, err.Error())
	}
	failure.LastSeen = now
}

// reason returns the reason of an event about a Service that sink does not program.
func reason(sink localsink.Sink) string {
	if _, ok := sink.(*healthcheck.Services); ok {
		return ReasonHealthCheck
	}
	return ReasonNotProgrammed
}

// Count returns the number of Services that the node could not program, as of the last
// Sync.
func (t *Tracker) Count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

// Failures returns the failures of a Service, the oldest first; nil if there is none.
func (t *Tracker) Failures(name localsink.ServiceName) []Failure {
	t.mu.Lock()
	defer t.mu.Unlock()
	var failures []Failure
	for from, failure := range t.notProgrammed {
		if from.service == name {
			failures = append(failures, *failure)
		}
	}
	if _, ok := t.inFailed[name]; ok {
		failures = append(failures, *t.failedUpdate)
	}
	slices.SortFunc(failures, func(a, b Failure) int { return a.Since.Compare(b.Since) })
	return failures
}

// Services returns the names of all Services that have failures, in order.
func (t *Tracker) Services() []localsink.ServiceName {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := maps.Clone(t.inFailed)
	for from := range t.notProgrammed {
		names[from.service] = struct{}{}
	}
	return slices.SortedFunc(maps.Keys(names), localsink.ServiceName.Compare)
}
