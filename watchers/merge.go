// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/kpng/diffstore"
)

// A merger merges the stores of several sources into a target store. It changes the target
// in time proportional to the changes of a source, and keeps no index of the objects: an
// object in the target belongs to the only source that has it, or is listed in conflicts.
type merger struct {
	target *Store
	logger *slog.Logger

	mu        sync.Mutex // serialises merges and guards the fields below
	sources   []mergedSource
	conflicts map[Key][]definition // by identity; at least two definitions each
	// leftover reports whether the target may hold objects that no source of this merger
	// has written. They are deleted when all sources are synced.
	leftover bool
}

// A mergedSource is the store of a source. Its reader has acknowledged what was merged.
type mergedSource struct {
	name   string
	store  *Store
	reader *diffstore.Reader[Key, Object]
}

// A definition is the key of an object in the store of a source, an index of merger.sources.
type definition struct {
	source int
	key    Key
}

func newMerger(target *Store, sources []Source, logger *slog.Logger) *merger {
	m := &merger{target: target, logger: logger, conflicts: map[Key][]definition{}, leftover: target.Snapshot().Len() > 0}
	for i, s := range sources {
		store := NewStore()
		store.updated = func() { m.merge(i) }
		m.sources = append(m.sources, mergedSource{name: s.Name, store: store, reader: store.Reader()})
	}
	return m
}

// close releases the readers. m may be nil.
func (m *merger) close() {
	if m == nil {
		return
	}
	for _, s := range m.sources {
		s.reader.Close()
	}
}

// identity returns the key by which objects of different sources are the same object. For an
// EndpointSlice, it has no Service.
func identity(k Key) Key {
	if k.Kind == KindEndpointSlice {
		k.Name = ""
	}
	return k
}

// keyOf returns the key in the store of the object with the given [identity].
func (tx *Tx) keyOf(id Key) (Key, bool) {
	if id.Kind == KindEndpointSlice {
		if s := tx.slices.Get(id.slice()); s != nil {
			return id.slice().key(s.Service.Name), true
		}
		return Key{}, false
	}
	_, ok := tx.tx.Get(id)
	return id, ok
}

// setValid sets an object that another store has validated, and has under the given key.
func (tx *Tx) setValid(key Key, object Object) {
	if slice, ok := object.(*EndpointSlice); ok {
		tx.setSlice(key, slice)
		return
	}
	tx.tx.Set(key, object)
}

// A merge applies the changes of one source in one transaction of the target.
type merge struct {
	*merger

	tx            *Tx
	source        int
	before, after *diffstore.Snapshot[Key, Object] // of the source
	isSynced      bool                             // the source became synced
	begun, ended  conflictLog
}

// merge merges the changes of a source, if there are any.
func (m *merger) merge(source int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &m.sources[source]
	after, changes := s.reader.Pending()
	c := merge{merger: m, source: source, before: s.reader.Acknowledged(), after: after}
	if c.before == after {
		return
	}
	m.target.Update(func(tx *Tx) {
		c.tx = tx
		// An EndpointSlice whose Service has changed is an addition and a deletion. The
		// deletion comes last, so that no other definition becomes visible in between.
		deletions := false
		for change := range changes {
			switch {
			case change.Deleted:
				deletions = true
			case change.Key.Kind == KindSynced:
				c.isSynced = true
			default:
				c.set(change.Key, change.Value)
			}
		}
		if deletions {
			for change := range changes {
				if change.Deleted {
					c.delete(change.Key)
				}
			}
		}
		s.reader.Acknowledge(after)
		if c.isSynced {
			m.sourceSynced(tx)
		}
	})
	if c.isSynced {
		m.logger.Info("Source synced", "source", s.name, "objects", after.Len()-1)
	}
	if l := c.begun; l.object != "" {
		m.logger.Warn("Several sources define an object", "object", l.object, "source", l.source, "ignored", l.others, "furtherObjects", l.further)
	}
	if l := c.ended; l.object != "" {
		m.logger.Info("Only one source defines an object again", "object", l.object, "source", l.source, "furtherObjects", l.further)
	}
}

// sourceSynced marks the target as synced if all sources are.
func (m *merger) sourceSynced(tx *Tx) {
	has := func(k Key) func(mergedSource) bool {
		return func(s mergedSource) bool {
			_, ok := s.reader.Acknowledged().Get(k)
			return ok
		}
	}
	for _, s := range m.sources {
		if !has(Key{Kind: KindSynced})(s) {
			return
		}
	}
	if m.leftover {
		tx.RetainAll(func(k Key) bool { return slices.ContainsFunc(m.sources, has(k)) })
		m.leftover = false
	}
	tx.SetSynced()
}

// set applies that the source has added or replaced an object.
func (c *merge) set(key Key, object Object) {
	id := identity(key)
	definitions, conflict := c.conflicts[id]
	if !conflict {
		other, exists := c.otherDefinition(id)
		if !exists {
			c.tx.setValid(key, object)
			return
		}
		definitions = []definition{other}
	}
	i, exists := c.find(definitions)
	if exists {
		definitions[i].key = key
	} else {
		definitions = slices.Insert(definitions, i, definition{c.source, key})
		c.begun.add(c, definitions)
	}
	c.conflicts[id] = definitions
	c.apply(definitions)
}

// delete applies that the source has deleted an object. The key of an EndpointSlice that the
// source has under another Service now is ignored.
func (c *merge) delete(key Key) {
	id := identity(key)
	definitions, conflict := c.conflicts[id]
	if !conflict {
		if current, ok := c.tx.keyOf(id); ok && current == key {
			c.tx.Delete(key)
		}
		return
	}
	i, exists := c.find(definitions)
	if !exists || definitions[i].key != key {
		return
	}
	definitions = slices.Delete(definitions, i, i+1)
	if len(definitions) > 1 {
		c.conflicts[id] = definitions
	} else {
		delete(c.conflicts, id)
		c.ended.add(c, definitions)
	}
	c.apply(definitions)
}

// otherDefinition returns the definition by another source of an object without conflict.
func (c *merge) otherDefinition(id Key) (other definition, exists bool) {
	key, ok := c.tx.keyOf(id)
	if !ok {
		return other, false
	}
	if _, own := c.before.Get(key); own {
		return other, false
	}
	for i, s := range c.sources {
		if i == c.source {
			continue
		}
		if _, ok := s.reader.Acknowledged().Get(key); ok {
			return definition{i, key}, true
		}
	}
	return other, false
}

// find returns the index of the source's definition, or where to insert it.
func (c *merge) find(definitions []definition) (index int, exists bool) {
	return slices.BinarySearchFunc(definitions, c.source, func(d definition, source int) int { return d.source - source })
}

// apply writes the first definition of an object.
func (c *merge) apply(definitions []definition) {
	object := c.object(definitions[0])
	if len(definitions) > 1 {
		object = withProblem(object, "metadata.name", fmt.Sprintf("source %s is used; also defined by %s",
			c.sources[definitions[0].source].name, c.names(definitions[1:])))
	}
	c.tx.setValid(definitions[0].key, object)
}

func (c *merge) object(d definition) Object {
	snapshot := c.after
	if d.source != c.source {
		snapshot = c.sources[d.source].reader.Acknowledged()
	}
	object, _ := snapshot.Get(d.key)
	return object
}

// names returns the names of the sources of definitions.
func (c *merge) names(definitions []definition) string {
	names := make([]string, len(definitions))
	for i, d := range definitions {
		names[i] = c.sources[d.source].name
	}
	return strings.Join(names, ", ")
}

// withProblem returns a copy of object whose first Problem has the given field and message.
func withProblem(object Object, field, message string) Object {
	add := func(problems *[]Problem) {
		first := Problem{Object: objectName(object), Field: field, Message: message}
		*problems = append([]Problem{first}, withoutOne(*problems)...)
	}
	switch o := object.(type) {
	case *Service:
		out := *o
		add(&out.Problems)
		return &out
	case *EndpointSlice:
		out := *o
		add(&out.Problems)
		return &out
	case *Node:
		out := *o
		add(&out.Problems)
		return &out
	case *ServiceCIDR:
		out := *o
		add(&out.Problems)
		return &out
	}
	return object
}

// withoutOne removes a Problem from a list of more than maxProblems. The last Problem counts
// those that were removed.
func withoutOne(problems []Problem) []Problem {
	if len(problems) <= maxProblems {
		return problems
	}
	last := problems[maxProblems]
	var further int
	if _, err := fmt.Sscanf(last.Message, furtherProblems, &further); err != nil {
		further = 1 // last is not a count
	}
	last.Message = fmt.Sprintf(furtherProblems, further+1)
	return append(slices.Clone(problems[:maxProblems-1]), last)
}

// objectName returns the text that Problems of an object have.
func objectName(object Object) string {
	v := newValidator(object, nil)
	return v.name()
}

// A conflictLog has the content of the log line for the conflicts that begin or end in one
// transaction.
type conflictLog struct {
	object, source, others string // of the first
	further                int
}

func (l *conflictLog) add(c *merge, definitions []definition) {
	if l.object != "" {
		l.further++
		return
	}
	l.object, l.source, l.others = objectName(c.object(definitions[0])), c.sources[definitions[0].source].name, c.names(definitions[1:])
}
