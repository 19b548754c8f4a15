package sinktest

import (
	"iter"
	"reflect"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// State returns a state of the given Services, for driving a sink by hand. Two of one
// name are a mistake of the caller.
func State(services ...*localsink.Service) localsink.State {
	s := state(slices.Clone(services))
	slices.SortFunc(s, byName)
	return s
}

// Update returns the update from one accepted state to another. A nil from makes it a
// first update.
func Update(node *localsink.Node, from, to localsink.State) *localsink.Update {
	u := &localsink.Update{Node: node, NodeChanged: from == nil, All: to}
	if from == nil {
		from = State()
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
