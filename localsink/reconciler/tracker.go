// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler

import (
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
)

// maxTriggerTimes bounds the trigger times that are kept for a sink that fails.
const maxTriggerTimes = 4096

type (
	store    = diffstore.Store[localsink.ServiceName, packed]
	reader   = diffstore.Reader[localsink.ServiceName, packed]
	snapshot = diffstore.Snapshot[localsink.ServiceName, packed]
)

// A Tracker holds the desired state of a node and the state that its sink has acknowledged.
// One goroutine may use a tracker at a time.
type Tracker struct {
	node         *localsink.Node
	services     *store
	buffer       []byte // for pack
	triggerTimes []time.Time
	observedTime time.Time // of the oldest change that is not acknowledged, or zero

	acknowledged     *reader         // Services
	acknowledgedNode *localsink.Node // nil at first

	// recent holds the desired Services that Update has set since the last Acknowledge, which
	// Pending so needs not unpack.
	recent map[localsink.ServiceName]*localsink.Service
	// unacknowledged holds the Services that Pending has listed since the last Acknowledge,
	// as listed last: the sink may have programmed them without acknowledging them.
	unacknowledged     map[localsink.ServiceName]*localsink.Service
	unacknowledgedNode bool // Pending has listed the node since

	resyncRequested bool // by the sink of Run, and no Sync without changes has succeeded since
}

// NewTracker returns a tracker of a node without Services. Nothing is acknowledged.
func NewTracker(node *localsink.Node) *Tracker {
	t := &Tracker{
		node:           node,
		services:       diffstore.New(localsink.ServiceName.Compare, hashPacked),
		recent:         map[localsink.ServiceName]*localsink.Service{},
		unacknowledged: map[localsink.ServiceName]*localsink.Service{},
	}
	t.acknowledged = t.services.Reader()
	return t
}

// SetNode sets the desired node, which must not be modified afterwards. A node with the
// same content as the current one is not a change.
func (t *Tracker) SetNode(node *localsink.Node) { t.node = node }

// Update runs fn, which changes the desired Services.
func (t *Tracker) Update(fn func(tx *Tx)) {
	t.services.Update(func(tx *diffstore.Tx[localsink.ServiceName, packed]) { fn(&Tx{t, tx}) })
}

// A Tx changes the desired Services of a tracker within [Tracker.Update].
type Tx struct {
	tracker *Tracker
	tx      *diffstore.Tx[localsink.ServiceName, packed]
}

// Set adds or replaces a Service, which must not be modified afterwards. A Service with the
// same content as the current one is not a change.
func (tx *Tx) Set(s *localsink.Service) {
	var p packed
	if p, tx.tracker.buffer = pack(s, tx.tracker.buffer); tx.tx.Set(s.Name, p) {
		tx.tracker.recent[s.Name] = s
	}
}

// Delete removes a Service. It has no effect if there is no such Service.
func (tx *Tx) Delete(name localsink.ServiceName) {
	tx.tx.Delete(name)
	delete(tx.tracker.recent, name)
}

// AddTriggerTime adds the time at which a change was written to the API server to the next
// update. Times above a bound of 4096 are ignored.
func (t *Tracker) AddTriggerTime(at time.Time) {
	if len(t.triggerTimes) < maxTriggerTimes {
		t.triggerTimes = append(t.triggerTimes, at)
	}
}

// SetObservedTime sets the time at which this process received a change, unless an older change
// is not acknowledged yet.
func (t *Tracker) SetObservedTime(at time.Time) {
	if t.observedTime.IsZero() {
		t.observedTime = at
	}
}

// Pending returns the update that the sink needs, or nil if it has acknowledged the desired
// state. The first update is never nil. The delta contains all differences from the
// acknowledged state and whatever Pending has listed since the last Acknowledge.
func (t *Tracker) Pending() *localsink.Update {
	current, changes := t.acknowledged.Pending()
	all := newState(current)
	u := &localsink.Update{
		Node:         t.node,
		NodeChanged:  t.unacknowledgedNode || t.acknowledgedNode == nil || !t.acknowledgedNode.Equal(t.node),
		All:          all,
		TriggerTimes: slices.Clone(t.triggerTimes),
		ObservedTime: t.observedTime,
	}
	for c := range changes {
		t.list(u, c.Key)
		delete(t.unacknowledged, c.Key)
	}
	for name := range t.unacknowledged {
		t.list(u, name)
	}
	if !u.NodeChanged && len(u.Changed) == 0 && len(u.Removed) == 0 {
		t.triggerTimes, t.observedTime = nil, time.Time{} // the changes did not affect this node
		t.forgetRecent()
		return nil
	}
	t.unacknowledgedNode = u.NodeChanged
	for _, list := range [][]*localsink.Service{u.Changed, u.Removed} {
		slices.SortFunc(list, func(a, b *localsink.Service) int { return a.Name.Compare(b.Name) })
		for _, svc := range list {
			t.unacknowledged[svc.Name] = svc
		}
	}
	if changed := u.Changed; len(changed) == all.Len() {
		all.unpacked.Store(&changed)
	}
	return u
}

// list adds a Service to the delta of u.
func (t *Tracker) list(u *localsink.Update, name localsink.ServiceName) {
	if svc := t.recent[name]; svc != nil {
		u.Changed = append(u.Changed, svc)
	} else if svc := u.All.Get(name); svc != nil {
		u.Changed = append(u.Changed, svc)
	} else if old := newState(t.acknowledged.Acknowledged()).Get(name); old != nil {
		u.Removed = append(u.Removed, old)
	} else if old := t.unacknowledged[name]; old != nil {
		u.Removed = append(u.Removed, old)
	}
}

// Acknowledge records that the sink has acknowledged u, the last result of Pending or
// FullUpdate.
func (t *Tracker) Acknowledge(u *localsink.Update) {
	if s, ok := u.All.(state); ok {
		t.acknowledged.Acknowledge(s.snapshot)
		s.unpacked.Store(nil)
	}
	t.acknowledgedNode, t.unacknowledgedNode, t.observedTime = u.Node, false, time.Time{}
	t.triggerTimes = t.triggerTimes[min(len(u.TriggerTimes), len(t.triggerTimes)):]
	// A map that is cleared keeps the memory of the first state, and takes its time to read.
	t.unacknowledged = map[localsink.ServiceName]*localsink.Service{}
	t.forgetRecent()
}

func (t *Tracker) forgetRecent() {
	if len(t.recent) > 0 {
		t.recent = map[localsink.ServiceName]*localsink.Service{}
	}
}

// FullUpdate returns the desired state as an update with an empty delta, for a sink that
// must compare its dataplane with the whole state.
func (t *Tracker) FullUpdate() *localsink.Update {
	return &localsink.Update{Node: t.node, All: newState(t.services.Snapshot())}
}

// state implements localsink.State. Each call returns new Services, unless it has them unpacked.
type state struct {
	*snapshot
	// unpacked has all Services of the snapshot in name order, or is empty: for an update that
	// lists them all anyway, until it is acknowledged.
	unpacked *atomic.Pointer[[]*localsink.Service]
}

func newState(s *snapshot) state { return state{s, &atomic.Pointer[[]*localsink.Service]{}} }

func (s state) Get(name localsink.ServiceName) *localsink.Service {
	if all := s.unpacked.Load(); all != nil {
		if i, found := slices.BinarySearchFunc(*all, name, byName); found {
			return (*all)[i]
		}
		return nil
	}
	if p, ok := s.snapshot.Get(name); ok {
		return p.unpack(name)
	}
	return nil
}

func byName(svc *localsink.Service, name localsink.ServiceName) int { return svc.Name.Compare(name) }

func (s state) All() iter.Seq[*localsink.Service] {
	if all := s.unpacked.Load(); all != nil {
		return slices.Values(*all)
	}
	return func(yield func(*localsink.Service) bool) {
		for name, p := range s.snapshot.All() {
			if !yield(p.unpack(name)) {
				return
			}
		}
	}
}
