// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler

import (
	"iter"
	"slices"
	"time"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
)

// maxTriggers bounds how many trigger times wait for a sink that fails.
const maxTriggers = 4096

type (
	store    = diffstore.Store[localsink.ServiceName, *localsink.Service]
	reader   = diffstore.Reader[localsink.ServiceName, *localsink.Service]
	snapshot = diffstore.Snapshot[localsink.ServiceName, *localsink.Service]
)

// A Tracker is the wanted state of a node, and how far its sink is from it. One goroutine
// may use a feed at a time.
type Tracker struct {
	node      *localsink.Node
	state     *store
	accepted  *reader
	triggered []time.Time
	noticed   time.Time       // when the first of what is not accepted was heard of, or zero
	toldNode  *localsink.Node // the node that the sink has accepted, nil at first

	// What Pending has returned since the last Accept, by the last value: sinks may
	// hold it without having accepted it.
	offered     map[localsink.ServiceName]*localsink.Service
	offeredNode bool
}

// NewTracker returns a feed without Services for a node.
func NewTracker(node *localsink.Node) *Tracker {
	f := &Tracker{
		node:    node,
		state:   diffstore.New(localsink.ServiceName.Compare, hashService),
		offered: map[localsink.ServiceName]*localsink.Service{},
	}
	f.accepted = f.state.Reader()
	return f
}

// Node returns the present node.
func (f *Tracker) Node() *localsink.Node { return f.node }

// SetNode replaces the node. A node that is the same is the same pointer.
func (f *Tracker) SetNode(node *localsink.Node) { f.node = node }

// Update runs fn, which changes the wanted Services.
func (f *Tracker) Update(fn func(tx *Tx)) {
	f.state.Update(func(tx *diffstore.Tx[localsink.ServiceName, *localsink.Service]) { fn(&Tx{tx}) })
}

// A Tx changes the Services of a feed within [Tracker.Update].
type Tx struct {
	tx *diffstore.Tx[localsink.ServiceName, *localsink.Service]
}

// Set adds or replaces a Service, which belongs to the feed from now on. One that is
// equal to what is there is no change.
func (tx *Tx) Set(s *localsink.Service) { tx.tx.Set(s.Name, s) }

// Delete removes a Service; one that is not there is fine.
func (tx *Tx) Delete(name localsink.ServiceName) { tx.tx.Delete(name) }

// AddTrigger remembers when a change was asked for, until it has been accepted. When too
// many wait, some are forgotten.
func (f *Tracker) AddTrigger(at time.Time) {
	if len(f.triggered) < maxTriggers {
		f.triggered = append(f.triggered, at)
	}
}

// Observe remembers when the state that Pending will be about was heard of, unless
// something earlier is still waiting.
func (f *Tracker) Observe(at time.Time) {
	if f.noticed.IsZero() {
		f.noticed = at
	}
}

// Pending returns the update that a sink must see, or nil when it has accepted all
// there is. The first update is never nil. Until an update is accepted, all that was
// in it comes again together with whatever is newer.
func (f *Tracker) Pending() *localsink.Update {
	now, changes := f.accepted.Pending()
	u := &localsink.Update{
		Node:         f.node,
		NodeChanged:  f.toldNode != f.node || f.offeredNode,
		All:          state{now},
		TriggerTimes: slices.Clone(f.triggered),
		ObservedTime: f.noticed,
	}
	for c := range changes {
		f.list(u, c.Key)
		delete(f.offered, c.Key)
	}
	for name := range f.offered {
		f.list(u, name)
	}
	if !u.NodeChanged && len(u.Changed) == 0 && len(u.Removed) == 0 {
		f.triggered, f.noticed = nil, time.Time{} // what was asked for means nothing to this node
		return nil
	}
	f.offeredNode = u.NodeChanged
	for _, list := range [][]*localsink.Service{u.Changed, u.Removed} {
		slices.SortFunc(list, func(a, b *localsink.Service) int { return a.Name.Compare(b.Name) })
		for _, svc := range list {
			f.offered[svc.Name] = svc
		}
	}
	return u
}

// list adds a Service to what u says is different.
func (f *Tracker) list(u *localsink.Update, name localsink.ServiceName) {
	if svc := u.All.Get(name); svc != nil {
		u.Changed = append(u.Changed, svc)
	} else if old, ok := f.accepted.Acknowledged().Get(name); ok {
		u.Removed = append(u.Removed, old)
	} else if old := f.offered[name]; old != nil {
		u.Removed = append(u.Removed, old)
	}
}

// Acknowledge declares that the sink is in line with u, the update that Pending returned
// last.
func (f *Tracker) Acknowledge(u *localsink.Update) {
	if s, ok := u.All.(state); ok {
		f.accepted.Acknowledge(s.snapshot)
	}
	f.toldNode, f.offeredNode, f.noticed = u.Node, false, time.Time{}
	f.triggered = f.triggered[min(len(u.TriggerTimes), len(f.triggered)):]
	clear(f.offered)
}

// FullUpdate returns the whole state without any distance: an update for a sink that
// has accepted everything and must look again.
func (f *Tracker) FullUpdate() *localsink.Update {
	return &localsink.Update{Node: f.node, All: state{f.state.Snapshot()}}
}

// Acknowledged returns the Services that the sink has accepted.
func (f *Tracker) Acknowledged() localsink.State { return state{f.accepted.Acknowledged()} }

// state is a localsink.State.
type state struct{ *snapshot }

func (s state) Get(name localsink.ServiceName) *localsink.Service {
	svc, _ := s.snapshot.Get(name)
	return svc
}

func (s state) All() iter.Seq[*localsink.Service] {
	return func(yield func(*localsink.Service) bool) {
		for _, svc := range s.snapshot.All() {
			if !yield(svc) {
				return
			}
		}
	}
}
