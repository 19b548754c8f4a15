// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package readiness

import (
	"sync"
	"time"
)

// formerLife is how long a server may count the stream of a machine that has ended: until pings or
// acknowledgements are missing.
const formerLife = 2 * time.Minute

// nodes are the existing nodes with regard to their startup taint. Only isQueued may be called by
// other goroutines.
type nodes struct {
	waiting map[string]former    // have applied nothing
	deleted map[string]time.Time // when Nodes were deleted, for formerLife

	mu     sync.Mutex
	queued map[string]uint64 // have applied something; the number of the task
	tasks  uint64
}

// A former is the machine of a deleted Node whose name a waiting node has. Its stream acknowledges
// nothing any more, which distinguishes it from that of the new machine.
type former struct {
	until    time.Time // its stream may exist
	known    bool
	revision uint64 // that it has applied; valid if known
}

// set notes that a Node has been added or changed, or that it does not exist. A changed Node waits
// again: it may be another one, of which the source has not seen that the first was deleted.
func (n *nodes) set(name string, exists bool, now time.Time) {
	if n.waiting == nil {
		n.waiting, n.deleted, n.queued = map[string]former{}, map[string]time.Time{}, map[string]uint64{}
	}
	n.mu.Lock()
	delete(n.queued, name)
	n.mu.Unlock()
	if !exists {
		delete(n.waiting, name)
		n.deleted[name] = now
		return
	}
	if _, ok := n.waiting[name]; ok {
		return
	}
	f := former{}
	if at, ok := n.deleted[name]; ok {
		f.until = at.Add(formerLife)
	}
	n.waiting[name] = f
}

// expire forgets the names of Nodes that were deleted some time ago.
func (n *nodes) expire(now time.Time) {
	for name, at := range n.deleted {
		if now.Sub(at) > formerLife {
			delete(n.deleted, name)
		}
	}
}

// due moves the nodes that have applied something from waiting to queued, and returns their tasks.
func (n *nodes) due(applied map[string]uint64, now time.Time) (due []task) {
	for name, f := range n.waiting {
		revision, ok := applied[name]
		switch {
		case now.After(f.until):
		case !f.known:
			n.waiting[name] = former{f.until, true, revision}
			continue
		case revision == f.revision:
			continue
		}
		if !ok || revision == 0 {
			continue
		}
		delete(n.waiting, name)
		n.mu.Lock()
		n.tasks++
		n.queued[name] = n.tasks
		n.mu.Unlock()
		due = append(due, task{node: name, queue: n.tasks})
	}
	return due
}

// isQueued reports whether a task is about the present Node of its name. It may be called at any
// time.
func (n *nodes) isQueued(t task) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.queued[t.node] == t.queue
}
