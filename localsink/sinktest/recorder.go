// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"sigs.k8s.io/kpng/localsink"
)

// A Recorder is a fake sink. It records the updates that it acknowledges, and checks that
// its caller obeys the contract: that calls do not overlap, and that each update is relative
// to the last acknowledged one. The zero value is valid. All methods may be called
// concurrently.
type Recorder struct {
	// Fail, if not nil, is called with each update. If it returns an error, Sync returns
	// it and does not acknowledge the update. It must be set before the first Sync.
	Fail func(u *localsink.Update) error

	busy atomic.Bool // during a call of Sync

	// mu guards all fields below.
	mu                 sync.Mutex
	node               *localsink.Node // acknowledged, like services
	services           map[localsink.ServiceName]*localsink.Service
	unacknowledged     map[localsink.ServiceName]struct{} // listed by updates since
	unacknowledgedNode bool                               // listed by an update since
	updates            []*localsink.Update
	violations         []error
	added              chan struct{} // closed at the next acknowledged update; may be nil
}

// Sync implements [localsink.Sink].
func (r *Recorder) Sync(ctx context.Context, u *localsink.Update) error {
	if !r.busy.CompareAndSwap(false, true) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.violations = append(r.violations, errors.New("calls of Sync overlap"))
		return errors.New("sinktest: calls of Sync overlap")
	}
	defer r.busy.Store(false)
	if err := ctx.Err(); err != nil {
		return err
	}
	r.locked(func() { r.check(u) })
	if r.Fail != nil {
		if err := r.Fail(u); err != nil {
			return err
		}
	}
	r.locked(func() { r.acknowledge(u) })
	return nil
}

func (r *Recorder) locked(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// check checks the delta of u against the acknowledged state.
func (r *Recorder) check(u *localsink.Update) {
	next := maps.Clone(r.services)
	if next == nil {
		next = map[localsink.ServiceName]*localsink.Service{}
	}
	listed := map[localsink.ServiceName]struct{}{}
	for _, svc := range u.Changed {
		next[svc.Name] = svc
		listed[svc.Name] = struct{}{}
	}
	for _, svc := range u.Removed {
		_, acknowledged := r.services[svc.Name]
		if _, listedBefore := r.unacknowledged[svc.Name]; !acknowledged && !listedBefore {
			r.addViolationf("Service %s is in Removed, but was never listed", svc.Name)
		}
		delete(next, svc.Name)
		listed[svc.Name] = struct{}{}
	}
	for name := range r.unacknowledged {
		if _, ok := listed[name]; !ok {
			r.addViolationf("Service %s was listed by an update that was not acknowledged, and is not listed again", name)
		}
	}
	r.checkAll(u, next)
	byName := func(a, b *localsink.Service) int { return a.Name.Compare(b.Name) }
	if !slices.IsSortedFunc(u.Changed, byName) || !slices.IsSortedFunc(u.Removed, byName) {
		r.addViolationf("Changed or Removed is not in name order")
	}
	changed := r.unacknowledgedNode || r.node == nil || !equalNodes(r.node, u.Node)
	if u.Node == nil || u.NodeChanged != changed {
		r.addViolationf("NodeChanged is %t from node %v to %v", u.NodeChanged, r.node, u.Node)
	}
	r.unacknowledged, r.unacknowledgedNode = listed, u.NodeChanged
}

// checkAll checks that u.All has the given Services, which are the acknowledged ones with
// the delta of u applied.
func (r *Recorder) checkAll(u *localsink.Update, want map[localsink.ServiceName]*localsink.Service) {
	n := 0
	for svc := range u.All.All() {
		n++
		if !equalServices(want[svc.Name], svc) {
			r.addViolationf("Service %s differs from the acknowledged state with Changed and Removed applied", svc.Name)
		}
		if got := u.All.Get(svc.Name); !equalServices(got, svc) {
			r.addViolationf("Service %s: Get returns %v", svc.Name, got)
		}
	}
	if n != len(want) || n != u.All.Len() {
		r.addViolationf("All yields %d Services, Len returns %d, want %d", n, u.All.Len(), len(want))
	}
}

func (r *Recorder) addViolationf(format string, args ...any) {
	r.violations = append(r.violations, fmt.Errorf("update %d: "+format, append([]any{len(r.updates)}, args...)...))
}

func (r *Recorder) acknowledge(u *localsink.Update) {
	r.node, r.unacknowledged, r.unacknowledgedNode = u.Node, nil, false
	r.services = map[localsink.ServiceName]*localsink.Service{}
	for svc := range u.All.All() {
		r.services[svc.Name] = svc
	}
	r.updates = append(r.updates, u)
	if r.added != nil {
		close(r.added)
		r.added = nil
	}
}

// Updates returns the acknowledged updates, oldest first.
func (r *Recorder) Updates() []*localsink.Update {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.updates)
}

// Service returns the acknowledged Service with the given name, or nil.
func (r *Recorder) Service(name localsink.ServiceName) *localsink.Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.services[name]
}

// Err returns the joined violations of the contract by the caller of Sync.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.violations...)
}

// Wait returns nil once n updates have been acknowledged, or the error of ctx.
func (r *Recorder) Wait(ctx context.Context, n int) error {
	for {
		r.mu.Lock()
		if len(r.updates) >= n {
			r.mu.Unlock()
			return nil
		}
		if r.added == nil {
			r.added = make(chan struct{})
		}
		added := r.added
		r.mu.Unlock()
		select {
		case <-added:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
