// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"context"
	"iter"
	"maps"
	"reflect"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// NewState returns a state with the given Services, whose names must be different.
func NewState(services ...*localsink.Service) localsink.State {
	s := state(slices.Clone(services))
	slices.SortFunc(s, byName)
	return s
}

// NewUpdate returns the update from an acknowledged state to another. If from is nil, it
// returns a first update.
func NewUpdate(node *localsink.Node, from, to localsink.State) *localsink.Update {
	u := &localsink.Update{Node: node, NodeChanged: from == nil, All: to}
	if from == nil {
		from = NewState()
	}
	for svc := range to.All() {
		if !equalServices(from.Get(svc.Name), svc) {
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

// A Driver calls a sink with a sequence of states, without retries or delays. After a failed
// Sync, the next update contains its delta again, as the contract requires.
type Driver struct {
	Sink localsink.Sink
	// Node may be replaced between calls of Sync.
	Node *localsink.Node

	acknowledged       localsink.State
	acknowledgedNode   *localsink.Node
	unacknowledged     map[localsink.ServiceName]*localsink.Service // listed since, by last value
	unacknowledgedNode bool                                         // listed since
}

// Sync calls the sink with the update to the given state and returns its error.
func (d *Driver) Sync(ctx context.Context, to localsink.State) error {
	u := NewUpdate(d.Node, d.acknowledged, to)
	u.NodeChanged = u.NodeChanged || d.unacknowledgedNode || !equalNodes(d.Node, d.acknowledgedNode)
	lists := func(list []*localsink.Service, name localsink.ServiceName) bool {
		return slices.ContainsFunc(list, func(s *localsink.Service) bool { return s.Name == name })
	}
	for name, last := range d.unacknowledged {
		switch current := to.Get(name); {
		case lists(u.Changed, name) || lists(u.Removed, name):
		case current != nil:
			u.Changed = append(u.Changed, current)
		default:
			u.Removed = append(u.Removed, last)
		}
	}
	slices.SortFunc(u.Changed, byName)
	slices.SortFunc(u.Removed, byName)
	if err := d.Sink.Sync(ctx, u); err != nil {
		if d.unacknowledged == nil {
			d.unacknowledged = map[localsink.ServiceName]*localsink.Service{}
		}
		for _, svc := range slices.Concat(u.Changed, u.Removed) {
			d.unacknowledged[svc.Name] = svc
		}
		d.unacknowledgedNode = u.NodeChanged
		return err
	}
	d.acknowledged, d.unacknowledged = to, nil
	d.acknowledgedNode, d.unacknowledgedNode = d.Node, false
	return nil
}

// equalServices reports whether a and b have the same content. Either may be nil.
func equalServices(a, b *localsink.Service) bool {
	if a == nil || b == nil || a == b {
		return a == b
	}
	return a.Extensions.Equal(b.Extensions) && slices.EqualFunc(a.Ports, b.Ports, func(p, q localsink.Port) bool {
		return maps.EqualFunc(p.EndpointExtensions, q.EndpointExtensions, localsink.Extensions.Equal)
	}) && reflect.DeepEqual(withoutExtensions(a), withoutExtensions(b))
}

// withoutExtensions returns a copy of svc without extensions. These also hold the values that
// a sink has decoded, which are not content.
func withoutExtensions(svc *localsink.Service) *localsink.Service {
	c := *svc
	c.Extensions, c.Ports = localsink.Extensions{}, slices.Clone(svc.Ports)
	for i := range c.Ports {
		c.Ports[i].EndpointExtensions = nil
	}
	return &c
}

// equalNodes reports whether a and b have the same content. Either may be nil.
func equalNodes(a, b *localsink.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(b)
}

func byName(a, b *localsink.Service) int { return a.Name.Compare(b.Name) }

// state implements localsink.State; it is sorted by name.
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
