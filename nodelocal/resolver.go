// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/watchers"
)

// A Resolver is what one node must do, kept in line with a store of facts. One
// goroutine may use a table at a time.
type Resolver struct {
	cfg      Config
	meanings *meanings
	view     *view
	born     time.Time
	feed     *reconciler.Tracker
}

// NewResolver returns a table of facts in store. The error names the field of cfg that
// is wrong. The table must be closed.
func NewResolver(store *watchers.Store, cfg Config) (*Resolver, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	v := cfg.view(watchers.NewStore().Snapshot())
	return &Resolver{
		cfg:      cfg,
		meanings: newMeanings(store, &cfg),
		view:     v,
		born:     time.Now(),
		feed:     reconciler.NewTracker(v.node),
	}, nil
}

// Close lets go of the store.
func (t *Resolver) Close() { t.meanings.close() }

// Refresh takes in what has changed in the facts since the last call. It returns
// the facts that the table now stands for.
func (t *Resolver) Refresh() watchers.Snapshot {
	c := t.meanings.look()
	for _, fact := range c.set {
		report(t.cfg.Logger, c.facts, fact, func(node string) bool { return node == t.cfg.NodeName })
		// What was there before the table says nothing about its speed.
		if slice, ok := fact.(*watchers.EndpointSlice); ok && slice.TriggerTime.After(t.born) {
			t.feed.AddTrigger(slice.TriggerTime)
		}
	}
	if (len(c.nodes) > 0 || c.networks) && t.seeNode(c.facts) {
		for svc := range c.facts.Services() {
			c.affected[svc.Name] = struct{}{}
		}
	}
	if len(c.affected) > 0 {
		t.recompute(c.facts, c.affected)
	}
	t.meanings.accept(c.facts)
	return c.facts
}

// seeNode reports whether the own node has changed in a way that matters.
func (t *Resolver) seeNode(facts watchers.Snapshot) bool {
	v := t.cfg.view(facts)
	if v.equal(t.view) {
		return false
	}
	if v.node.Equal(t.view.node) {
		v.node = t.view.node
	}
	t.view = v
	t.feed.SetNode(v.node)
	return true
}

// recompute brings the named Services up to date.
func (t *Resolver) recompute(facts watchers.Snapshot, names map[localsink.ServiceName]struct{}) {
	wanted := t.meanings.mean(facts, names)
	t.feed.Update(func(tx *reconciler.Tx) {
		for name, m := range wanted {
			if m == nil {
				tx.Delete(name)
				continue
			}
			tx.Set(t.view.assemble(m).WithUnsupported(t.cfg.Unsupported))
		}
	})
}

// Pending returns the update that a sink must see, or nil when it has accepted all
// there is. The first update is never nil. Until an update is accepted, all that was
// in it comes again together with whatever is newer.
func (t *Resolver) Pending() *localsink.Update { return t.feed.Pending() }

// Acknowledge declares that the sink is in line with u, the update that Pending returned
// last.
func (t *Resolver) Acknowledge(u *localsink.Update) { t.feed.Acknowledge(u) }

// FullUpdate returns the whole state without any distance: an update for a sink that
// has accepted everything and must look again.
func (t *Resolver) FullUpdate() *localsink.Update { return t.feed.FullUpdate() }
