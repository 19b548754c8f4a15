// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"slices"
	"time"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// meanings follow a store of facts: which Services mean something else than before, and
// what.
type meanings struct {
	facts         *diffstore.Reader[watchers.Key, watchers.Object]
	claims        *claims
	proxyName     string
	masqueradeAll bool
}

func newMeanings(store *watchers.Store, cfg *Config) *meanings {
	return &meanings{facts: store.Reader(), claims: newClaims(), proxyName: cfg.ProxyName, masqueradeAll: cfg.MasqueradeAll}
}

// A changed is what has changed in the facts since the last look.
type changed struct {
	facts    watchers.Snapshot // as they are now
	affected map[localsink.ServiceName]struct{}
	set      []watchers.Object // that are new or different
	nodes    []string          // also those that are gone
	networks bool              // some ServiceCIDR
}

// look says what has changed. The caller passes the affected Services to mean, and then
// accepts the facts.
func (m *meanings) look() changed {
	now, changes := m.facts.Pending()
	c := changed{facts: watchers.Snapshot{Snapshot: now}, affected: map[localsink.ServiceName]struct{}{}}
	for change := range changes {
		if !change.Deleted {
			c.set = append(c.set, change.Value)
		}
		switch change.Key.Kind {
		case watchers.KindService, watchers.KindEndpointSlice:
			c.affected[change.Key.Service()] = struct{}{}
		case watchers.KindNode:
			c.nodes = append(c.nodes, change.Key.Name)
		case watchers.KindServiceCIDR:
			c.networks = true
		}
	}
	return c
}

func (m *meanings) accept(facts watchers.Snapshot) { m.facts.Acknowledge(facts.Snapshot) }

// mean computes the named Services anew, and with them those that win or lose an
// address by it. nil stands for a Service that is gone or has nothing to say. Whom an
// address belongs to depends only on who asks for it, so addresses are settled when
// all have asked.
func (m *meanings) mean(facts watchers.Snapshot, names map[localsink.ServiceName]struct{}) map[localsink.ServiceName]*ResolvedService {
	wanted := make(map[localsink.ServiceName]*ResolvedService, len(names))
	for name := range names {
		for todo := []localsink.ServiceName{name}; len(todo) > 0; {
			next := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if _, done := wanted[next]; !done {
				todo = append(todo, m.ask(facts, next, wanted)...)
			}
		}
	}
	for name, want := range wanted {
		if want == nil {
			continue
		}
		m.claims.settle(want)
		if want.silent() {
			wanted[name] = nil
		}
	}
	return wanted
}

// ask computes one Service as if it got all it asks for, and returns the others
// that win or lose an address by what it asks for now.
func (m *meanings) ask(facts watchers.Snapshot, name localsink.ServiceName, wanted map[localsink.ServiceName]*ResolvedService) []localsink.ServiceName {
	svc := facts.Service(name)
	if svc == nil || !svc.IsFor(m.proxyName) {
		wanted[name] = nil
		return m.claims.set(name, time.Time{}, nil)
	}
	want := newMeaning(svc, slices.Collect(facts.EndpointSlices(name)), m.masqueradeAll)
	wanted[name] = want
	return m.claims.set(name, svc.Created, want)
}

func (m *meanings) close() { m.facts.Close() }
