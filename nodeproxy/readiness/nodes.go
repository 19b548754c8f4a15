// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package readiness

// nodes are the existing nodes with regard to their startup taint.
type nodes struct {
	waiting map[string]struct{} // have applied nothing
	queued  map[string]struct{} // have applied something
}

// set adds a node that exists, or removes one that does not.
func (n *nodes) set(name string, exists bool) {
	if n.waiting == nil {
		n.waiting, n.queued = map[string]struct{}{}, map[string]struct{}{}
	}
	if !exists {
		delete(n.waiting, name)
		delete(n.queued, name)
		return
	}
	if _, ok := n.queued[name]; !ok {
		n.waiting[name] = struct{}{}
	}
}

// due moves the nodes that have applied something from waiting to queued, and returns them.
func (n *nodes) due(applied map[string]uint64) (names []string) {
	for name := range n.waiting {
		if applied[name] > 0 {
			names = append(names, name)
			delete(n.waiting, name)
			n.queued[name] = struct{}{}
		}
	}
	return names
}
