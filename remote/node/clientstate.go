// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/remote/internal/protoconv"
	"sigs.k8s.io/kpng/remote/internal/session"
)

// A clientState is what a client knows: what servers have said up to the last commit, and,
// apart from it, what one has said since. The stream's goroutine writes it, the sink's
// reads it.
type clientState struct {
	lacks    localsink.Features // set before use
	complete chan struct{}      // closed with the first commit

	// What the stream's goroutine has heard since the last commit.
	startOver bool
	services  map[localsink.ServiceName]*heldBase // nil for gone
	owns      map[localsink.ServiceName]*overlay.Overlay
	node      *localsink.Node
	unwanted  []uint64
	triggered []time.Time
	revision  uint64 // the revision of the stream's last commit

	mu         sync.Mutex
	committed  committedState
	distrusted bool                               // the next stream must start over
	dirty      map[localsink.ServiceName]struct{} // not yet passed to the feed
	times      []time.Time                        // when their causes were asked for
	noticed    time.Time                          // when the first of them was heard of, or zero
	newer      chan struct{}                      // closed when something is dirty
	acking     bool                               // there is a stream, and it has begun
	passed     uint64                             // the revision that the feed stands for
	acks       *session.AckQueue
	ackDone    uint64 // the revision that was acknowledged as applied last
}

// committedState is what servers have said up to the last commit.
type committedState struct {
	node     *localsink.Node
	services map[localsink.ServiceName]*heldBase
	owns     map[localsink.ServiceName]*overlay.Overlay
	byDigest map[uint64]localsink.ServiceName
	root     uint64
	revision uint64
}

// heldBase is the common part of a Service with its digest.
type heldBase struct {
	base   *overlay.Base
	digest uint64
}

func newClientState(node string) *clientState {
	m := &clientState{
		complete: make(chan struct{}),
		dirty:    map[localsink.ServiceName]struct{}{},
		newer:    make(chan struct{}),
		acks:     session.NewAckQueue(),
	}
	m.committed.node = &localsink.Node{Name: node}
	m.committed.clear()
	return m
}

func (s *committedState) clear() {
	s.services = map[localsink.ServiceName]*heldBase{}
	s.owns = map[localsink.ServiceName]*overlay.Overlay{}
	s.byDigest = map[uint64]localsink.ServiceName{}
	s.root = 0
}

// set replaces the common part of a Service, nil for none.
func (s *committedState) set(name localsink.ServiceName, k *heldBase) {
	if old := s.services[name]; old != nil {
		s.root ^= old.digest
		if s.byDigest[old.digest] == name {
			delete(s.byDigest, old.digest)
		}
	}
	if k == nil {
		delete(s.services, name)
		return
	}
	s.services[name] = k
	s.root ^= k.digest
	s.byDigest[k.digest] = name
}

// HeldXor implements session.Memory.
func (m *clientState) HeldXor() (root uint64, count uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// Two Services of one digest cannot be told apart by it.
	if m.distrusted || len(m.committed.byDigest) != len(m.committed.services) {
		return 0, 0
	}
	return m.committed.root, uint32(len(m.committed.services))
}

// HeldDigests implements session.Memory.
func (m *clientState) HeldDigests() []uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]uint64, 0, len(m.committed.byDigest))
	for d := range m.committed.byDigest {
		all = append(all, d)
	}
	return all
}

// node_ returns what the node is.
func (m *clientState) node_() *localsink.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.committed.node
}

// StartStream implements session.Memory.
func (m *clientState) StartStream(startOver bool) {
	m.forgetHeard()
	m.revision = 0
	m.mu.Lock()
	defer m.mu.Unlock()
	m.startOver = startOver || m.distrusted
	// What a node has of its own is not resumed: it is little, and comes whole.
	for name := range m.committed.owns {
		m.owns[name] = nil
	}
	m.acking, m.passed, m.ackDone = false, 0, 0
	m.acks.Reset()
}

func (m *clientState) forgetHeard() {
	m.services = map[localsink.ServiceName]*heldBase{}
	m.owns = map[localsink.ServiceName]*overlay.Overlay{}
	m.node, m.unwanted, m.triggered = nil, nil, nil
}

// Invalidate implements session.Memory. What is programmed stays.
func (m *clientState) Invalidate() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.distrusted = true
}

// Apply implements session.Memory.
func (m *clientState) Apply(in *kpng.WatchNodeResponse) error {
	for _, c := range in.GetServices() {
		if err := m.hearService(c); err != nil {
			return err
		}
	}
	for _, c := range in.GetOverlays() {
		name := localsink.ServiceName{Namespace: c.GetNamespace(), Name: c.GetName()}
		own, err := fromOverlay(c)
		if err != nil {
			return fmt.Errorf("own part of Service %s: %w", name, err)
		}
		m.owns[name] = own
	}
	if in.GetNode() != nil {
		node, err := fromNode(in.GetNode())
		if err != nil {
			return fmt.Errorf("node: %w", err)
		}
		m.node = node
	}
	if m.unwanted = append(m.unwanted, in.GetRemovedDigests()...); len(m.unwanted) > m.size() {
		return fmt.Errorf("unwanted: %d digests, of %d Services", len(m.unwanted), m.size())
	}
	for _, t := range in.GetTriggerTimesUnixNs() {
		if len(m.triggered) < maxTriggers {
			m.triggered = append(m.triggered, time.Unix(0, t))
		}
	}
	if in.GetCommit() != nil {
		revision := in.GetCommit().GetRevision()
		if revision <= m.revision {
			return fmt.Errorf("commit: revision %d after %d", revision, m.revision)
		}
		m.revision = revision
		m.commit(revision)
	}
	return nil
}

// maxTriggers bounds how many times wait for a commit, and for the feed.
const maxTriggers = 4096

// size is the number of Services that there were at the last commit.
func (m *clientState) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.committed.services)
}

func (m *clientState) hearService(c *kpng.ServiceChange) error {
	name := localsink.ServiceName{Namespace: c.GetNamespace(), Name: c.GetName()}
	switch {
	case c.GetService() != nil:
		svc, err := fromService(name, c.GetService())
		if err != nil {
			return fmt.Errorf("Service %s: %w", name, err)
		}
		m.services[name] = &heldBase{svc, c.GetDigest()}
	case c.GetDelta() != nil:
		delta, err := fromDelta(c.GetDelta())
		if err != nil {
			return fmt.Errorf("Service %s: delta: %w", name, err)
		}
		old := m.latest(name)
		if old == nil {
			return fmt.Errorf("Service %s: a difference from nothing", name)
		}
		svc, err := old.base.Apply(delta)
		if err != nil {
			return err
		}
		m.services[name] = &heldBase{svc, c.GetDigest()}
	default:
		m.services[name] = nil
	}
	return nil
}

// latest returns the common part of a Service as it was heard last.
func (m *clientState) latest(name localsink.ServiceName) *heldBase {
	if k, heard := m.services[name]; heard || m.startOver {
		return k
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.committed.services[name]
}

// commit makes what was heard take effect.
func (m *clientState) commit(revision uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.startOver {
		for name := range m.committed.services {
			m.dirty[name] = struct{}{}
		}
		owns := m.committed.owns
		m.committed.clear()
		m.committed.owns = owns
		m.startOver, m.distrusted = false, false
	}
	for _, d := range m.unwanted {
		if name, ok := m.committed.byDigest[d]; ok {
			m.committed.set(name, nil)
			m.dirty[name] = struct{}{}
		}
	}
	for name, k := range m.services {
		m.committed.set(name, k)
		m.dirty[name] = struct{}{}
	}
	for name, own := range m.owns {
		if m.committed.owns[name].Equal(own) {
			continue
		}
		if m.dirty[name] = struct{}{}; own == nil {
			delete(m.committed.owns, name)
		} else {
			m.committed.owns[name] = own
		}
	}
	if m.node != nil {
		m.seeNode(m.node)
	}
	m.times = append(m.times, m.triggered[:min(len(m.triggered), maxTriggers-len(m.times))]...)
	m.committed.revision, m.acking = revision, true
	if m.noticed.IsZero() && m.isComplete() {
		m.noticed = time.Now()
	}
	m.forgetHeard()
	m.wake()
	if !m.isComplete() {
		close(m.complete)
	}
}

func (m *clientState) isComplete() bool {
	select {
	case <-m.complete:
		return true
	default:
		return false
	}
}

// seeNode takes in what the node is; all Services depend on it.
func (m *clientState) seeNode(node *localsink.Node) {
	if node.Equal(m.committed.node) {
		return
	}
	m.committed.node = node
	for name := range m.committed.services {
		m.dirty[name] = struct{}{}
	}
}

func (m *clientState) wake() {
	close(m.newer)
	m.newer = make(chan struct{})
}

// Refresh implements feed.Source.
func (m *clientState) Refresh(f *reconciler.Tracker) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	f.SetNode(m.committed.node)
	for _, t := range m.times {
		f.AddTrigger(t)
	}
	if !m.noticed.IsZero() {
		f.Observe(m.noticed)
	}
	m.times, m.noticed = nil, time.Time{}
	if len(m.dirty) > 0 {
		f.Update(func(tx *reconciler.Tx) {
			// In order, what is set next is near what was set last.
			for _, name := range slices.SortedFunc(maps.Keys(m.dirty), localsink.ServiceName.Compare) {
				k := m.committed.services[name]
				if k == nil {
					tx.Delete(name)
					continue
				}
				svc := overlay.Assemble(k.base, m.committed.owns[name], m.committed.node)
				tx.Set(svc.WithUnsupported(m.lacks))
			}
		})
		clear(m.dirty)
	}
	if m.acking {
		m.passed = m.committed.revision
	}
	return m.newer
}

// maxErrorText is how much of an error a server is told; it keeps no more.
const maxErrorText = 1024

// synced is told by the feed what became of the state of the last Refresh.
func (m *clientState) synced(err error, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.acking || m.passed == 0 || err == nil && m.passed == m.ackDone {
		return
	}
	ack := &kpng.Ack{Revision: m.passed, DurationNs: uint64(took)}
	if err != nil {
		ack.Error = session.Truncate(protoconv.Text(err.Error()), maxErrorText)
		m.ackDone = 0
	} else {
		m.ackDone = m.passed
	}
	m.acks.Add(ack)
}
