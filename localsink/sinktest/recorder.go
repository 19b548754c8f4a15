// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"sigs.k8s.io/kpng/localsink"
)

// A Recorder is a sink that keeps what it was told and checks that the updates obey
// the contract: that each is relative to the last accepted one. The zero value is
// ready for use, by any number of goroutines.
type Recorder struct {
	// Fail, when not nil, is asked before an update is accepted; its error is
	// returned and the update is not accepted. Set it before use.
	Fail func(u *localsink.Update) error

	busy     atomic.Bool
	mu       sync.Mutex
	node     *localsink.Node
	services map[localsink.ServiceName]*localsink.Service
	offered  map[localsink.ServiceName]struct{} // by updates since the last accepted one
	newNode  bool                               // one of them said that the node changed
	updates  []*localsink.Update
	faults   []error
	arrived  chan struct{}
}

// Sync implements [localsink.Sink].
func (r *Recorder) Sync(ctx context.Context, u *localsink.Update) error {
	if !r.busy.CompareAndSwap(false, true) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.faults = append(r.faults, errors.New("calls of Sync overlap"))
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
	r.locked(func() { r.accept(u) })
	return nil
}

func (r *Recorder) locked(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// check compares what u says about its distance with what it is.
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
		_, was := r.services[svc.Name]
		if _, offered := r.offered[svc.Name]; !was && !offered {
			r.fault("%s is removed and was never there", svc.Name)
		}
		delete(next, svc.Name)
		listed[svc.Name] = struct{}{}
	}
	for name := range r.offered {
		if _, ok := listed[name]; !ok {
			r.fault("%s was in an update that was not accepted, and is not listed again", name)
		}
	}
	r.compare(u, next)
	byName := func(a, b *localsink.Service) int { return a.Name.Compare(b.Name) }
	if !slices.IsSortedFunc(u.Changed, byName) || !slices.IsSortedFunc(u.Removed, byName) {
		r.fault("Changed or Removed is out of order")
	}
	changed := r.newNode || r.node == nil || !reflect.DeepEqual(r.node, u.Node)
	if u.Node == nil || u.NodeChanged != changed {
		r.fault("NodeChanged is %v, from %v to %v", u.NodeChanged, r.node, u.Node)
	}
	r.offered, r.newNode = listed, u.NodeChanged
}

// compare checks that All is what the distance makes of the accepted state.
func (r *Recorder) compare(u *localsink.Update, want map[localsink.ServiceName]*localsink.Service) {
	n := 0
	for svc := range u.All.All() {
		n++
		if !reflect.DeepEqual(want[svc.Name], svc) {
			r.fault("%s differs from what Changed and Removed make of the accepted state", svc.Name)
		}
		if got := u.All.Get(svc.Name); got != svc {
			r.fault("%s: Get returns %v", svc.Name, got)
		}
	}
	if n != len(want) || n != u.All.Len() {
		r.fault("All has %d Services, says %d, and should have %d", n, u.All.Len(), len(want))
	}
}

func (r *Recorder) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("update %d: "+format, append([]any{len(r.updates)}, args...)...))
}

func (r *Recorder) accept(u *localsink.Update) {
	r.node, r.offered, r.newNode = u.Node, nil, false
	r.services = map[localsink.ServiceName]*localsink.Service{}
	for svc := range u.All.All() {
		r.services[svc.Name] = svc
	}
	r.updates = append(r.updates, u)
	if r.arrived != nil {
		close(r.arrived)
		r.arrived = nil
	}
}

// Updates returns the accepted updates, the oldest first.
func (r *Recorder) Updates() []*localsink.Update {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.updates)
}

// Service returns the accepted value of a Service, or nil.
func (r *Recorder) Service(name localsink.ServiceName) *localsink.Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.services[name]
}

// Err returns the breaches of the contract by whoever called Sync, joined.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.faults...)
}

// Wait returns nil when n updates have been accepted, or the error of ctx.
func (r *Recorder) Wait(ctx context.Context, n int) error {
	for {
		r.mu.Lock()
		if len(r.updates) >= n {
			r.mu.Unlock()
			return nil
		}
		if r.arrived == nil {
			r.arrived = make(chan struct{})
		}
		arrived := r.arrived
		r.mu.Unlock()
		select {
		case <-arrived:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
