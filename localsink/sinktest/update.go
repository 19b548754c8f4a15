// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"context"
	"iter"
	"reflect"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// NewState returns a state of the given Services, for driving a sink by hand. Two of one
// name are a mistake of the caller.
func NewState(services ...*localsink.Service) localsink.State {
	s := state(slices.Clone(services))
	slices.SortFunc(s, byName)
	return s
}

// NewUpdate returns the update from one accepted state to another. A nil from makes it a
// first update.
func NewUpdate(node *localsink.Node, from, to localsink.State) *localsink.Update {
	u := &localsink.Update{Node: node, NodeChanged: from == nil, All: to}
	if from == nil {
		from = NewState()
	}
	for svc := range to.All() {
		if !reflect.DeepEqual(from.Get(svc.Name), svc) {
			u.Changed = append(u.Changed, svc)
		}
	}
	for svc := range from.All() {
		if to.Get(svc.Name) == nil {
			u.Removed = append(u.Removed, svc)
		}
	}
	return u
}

// A Driver drives a sink from state to state by hand, as the contract asks: what a
// failed Sync was told is told again.
type Driver struct {
	Sink localsink.Sink
	Node *localsink.Node

	accepted localsink.State
	offered  map[localsink.ServiceName]*localsink.Service
}

// Sync brings the sink to a state and returns its error.
func (d *Driver) Sync(ctx context.Context, to localsink.State) error {
	u := NewUpdate(d.Node, d.accepted, to)
	known := func(list []*localsink.Service, name localsink.ServiceName) bool {
		return slices.ContainsFunc(list, func(s *localsink.Service) bool { return s.Name == name })
	}
	for name, last := range d.offered {
		switch now := to.Get(name); {
		case known(u.Changed, name) || known(u.Removed, name):
		case now != nil:
			u.Changed = append(u.Changed, now)
		default:
			u.Removed = append(u.Removed, last)
		}
	}
	slices.SortFunc(u.Changed, byName)
	slices.SortFunc(u.Removed, byName)
	if err := d.Sink.Sync(ctx, u); err != nil {
		if d.offered == nil {
			d.offered = map[localsink.ServiceName]*localsink.Service{}
		}
		for _, svc := range slices.Concat(u.Changed, u.Removed) {
			d.offered[svc.Name] = svc
		}
		return err
	}
	d.accepted, d.offered = to, nil
	return nil
}

func byName(a, b *localsink.Service) int { return a.Name.Compare(b.Name) }

type state []*localsink.Service

func (s state) Len() int { return len(s) }

func (s state) Get(name localsink.ServiceName) *localsink.Service {
	i, ok := slices.BinarySearchFunc(s, name, func(svc *localsink.Service, n localsink.ServiceName) int {
		return svc.Name.Compare(n)
	})
	if !ok {
		return nil
	}
	return s[i]
}

func (s state) All() iter.Seq[*localsink.Service] { return slices.Values(s) }
