// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"sigs.k8s.io/kpng/localsink"
)

// A table has the entry of each resource name that exists or that a stream refers to. Identifiers are
// small numbers, so that a set of them takes one bit for each name.
type table struct {
	ids      map[string]uint32
	entries  []entry
	free     []uint32
	served   int    // entries with resources
	revision uint64 // increases with each change of a resource
	// full has, by kind, all resources as elements of DiscoveryResponse.resources; nil unless a stream
	// has sent them since the last change.
	full [kinds][]byte
}

// An entry is the four resources with one name. They all exist or none does.
type entry struct {
	name       string
	owner      localsink.ServiceName
	references int // elements of the sets and lists of streams
	resources  [kinds]*resource
}

func newTable() table { return table{ids: map[string]uint32{}} }

func (t *table) entry(id uint32) *entry { return &t.entries[id] }

// intern returns the identifier of a name. The caller sets resources, or adds a reference, or calls
// release.
func (t *table) intern(name string) uint32 {
	if id, found := t.ids[name]; found {
		return id
	}
	var id uint32
	if n := len(t.free); n > 0 {
		id = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		id = uint32(len(t.entries))
		t.entries = append(t.entries, entry{})
	}
	t.entries[id] = entry{name: name}
	t.ids[name] = id
	return id
}

// release removes a number of references, and the entry if nothing is left of it.
func (t *table) release(id uint32, references int) {
	e := &t.entries[id]
	e.references -= references
	if e.references > 0 || e.resources[0] != nil {
		return
	}
	delete(t.ids, e.name)
	*e = entry{}
	t.free = append(t.free, id)
}

// all returns all resources of a kind as elements of DiscoveryResponse.resources.
func (t *table) all(k kind) []byte {
	if t.full[k] != nil {
		return t.full[k]
	}
	size := 0
	for i := range t.entries {
		if r := t.entries[i].resources[k]; r != nil {
			size += len(r.complete())
		}
	}
	t.full[k] = make([]byte, 0, size)
	for i := range t.entries {
		if r := t.entries[i].resources[k]; r != nil {
			t.full[k] = append(t.full[k], r.complete()...)
		}
	}
	return t.full[k]
}
