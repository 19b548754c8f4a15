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

// A mirror is what a client knows: what servers have said up to the last commit, and,
// apart from it, what one has said since. The stream's goroutine writes it, the sink's
// reads it.
type mirror struct {
	lacks    localsink.Features // set before use
	complete chan struct{}      // closed with the first commit

	// What the stream's goroutine has heard since the last commit.
	startOver bool
	services  map[localsink.ServiceName]*known // nil for gone
	owns      map[localsink.ServiceName]*overlay.Overlay
	node      *localsink.Node
	unwanted  []uint64
	triggered []time.Time
	committed uint64 // the revision of the stream's last commit

	mu         sync.Mutex
	said       said
	distrusted bool                               // the next stream must start over
	dirty      map[localsink.ServiceName]struct{} // not yet passed to the feed
	times      []time.Time                        // when their causes were asked for
	noticed    time.Time                          // when the first of them was heard of, or zero
	newer      chan struct{}                      // closed when something is dirty
	acking     bool                               // there is a stream, and it has begun
	passed     uint64                             // the revision that the feed stands for
	acks       *session.Acks
	ackDone    uint64 // the revision that was acknowledged as applied last
}

// said is what servers have said up to the last commit.
type said struct {
	node     *localsink.Node
	services map[localsink.ServiceName]*known
	owns     map[localsink.ServiceName]*overlay.Overlay
	byDigest map[uint64]localsink.ServiceName
	root     uint64
	revision uint64
}

// known is the common part of a Service with its digest.
type known struct {
	service *overlay.Base
	digest  uint64
}

func newMirror(node string) *mirror {
	m := &mirror{
		complete: make(chan struct{}),
		dirty:    map[localsink.ServiceName]struct{}{},
		newer:    make(chan struct{}),
		acks:     session.NewAcks(),
	}
	m.said.node = &localsink.Node{Name: node}
	m.said.clear()
	return m
}

func (s *said) clear() {
	s.services = map[localsink.ServiceName]*known{}
	s.owns = map[localsink.ServiceName]*overlay.Overlay{}
	s.byDigest = map[uint64]localsink.ServiceName{}
	s.root = 0
}

// set replaces the common part of a Service, nil for none.
func (s *said) set(name localsink.ServiceName, k *known) {
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

// Held implements session.Memory.
func (m *mirror) Held() (root uint64, count uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// Two Services of one digest cannot be told apart by it.
	if m.distrusted || len(m.said.byDigest) != len(m.said.services) {
		return 0, 0
	}
	return m.said.root, uint32(len(m.said.services))
}

// Digests implements session.Memory.
func (m *mirror) Digests() []uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]uint64, 0, len(m.said.byDigest))
	for d := range m.said.byDigest {
		all = append(all, d)
	}
	return all
}

// present returns what the node is.
func (m *mirror) present() *localsink.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.said.node
}

// Begin implements session.Memory.
func (m *mirror) Begin(startOver bool) {
	m.forgetHeard()
	m.committed = 0
	m.mu.Lock()
	defer m.mu.Unlock()
	m.startOver = startOver || m.distrusted
	// What a node has of its own is not resumed: it is little, and comes whole.
	for name := range m.said.owns {
		m.owns[name] = nil
	}
	m.acking, m.passed, m.ackDone = false, 0, 0
	m.acks.Clear()
}

func (m *mirror) forgetHeard() {
	m.services = map[localsink.ServiceName]*known{}
	m.owns = map[localsink.ServiceName]*overlay.Overlay{}
	m.node, m.unwanted, m.triggered = nil, nil, nil
}

// Distrust implements session.Memory. What is programmed stays.
func (m *mirror) Distrust() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.distrusted = true
}

// Hear implements session.Memory.
func (m *mirror) Hear(in *kpng.WatchNodeResponse) error {
	for _, c := range in.GetServices() {
		if err := m.hearService(c); err != nil {
			return err
		}
	}
	for _, c := range in.GetOverlays() {
		name := localsink.ServiceName{Namespace: c.GetNamespace(), Name: c.GetName()}
		own, err := fromOwn(c)
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
		if revision <= m.committed {
			return fmt.Errorf("commit: revision %d after %d", revision, m.committed)
		}
		m.committed = revision
		m.commit(revision)
	}
	return nil
}

// maxTriggers bounds how many times wait for a commit, and for the feed.
const maxTriggers = 4096

// size is the number of Services that there were at the last commit.
func (m *mirror) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.said.services)
}

func (m *mirror) hearService(c *kpng.ServiceChange) error {
	name := localsink.ServiceName{Namespace: c.GetNamespace(), Name: c.GetName()}
	switch {
	case c.GetService() != nil:
		svc, err := fromService(name, c.GetService())
		if err != nil {
			return fmt.Errorf("Service %s: %w", name, err)
		}
		m.services[name] = &known{svc, c.GetDigest()}
	case c.GetDelta() != nil:
		delta, err := fromDelta(c.GetDelta())
		if err != nil {
			return fmt.Errorf("Service %s: delta: %w", name, err)
		}
		old := m.latest(name)
		if old == nil {
			return fmt.Errorf("Service %s: a difference from nothing", name)
		}
		svc, err := old.service.Apply(delta)
		if err != nil {
			return err
		}
		m.services[name] = &known{svc, c.GetDigest()}
	default:
		m.services[name] = nil
	}
	return nil
}

// latest returns the common part of a Service as it was heard last.
func (m *mirror) latest(name localsink.ServiceName) *known {
	if k, heard := m.services[name]; heard || m.startOver {
		return k
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.said.services[name]
}

// commit makes what was heard take effect.
func (m *mirror) commit(revision uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.startOver {
		for name := range m.said.services {
			m.dirty[name] = struct{}{}
		}
		owns := m.said.owns
		m.said.clear()
		m.said.owns = owns
		m.startOver, m.distrusted = false, false
	}
	for _, d := range m.unwanted {
		if name, ok := m.said.byDigest[d]; ok {
			m.said.set(name, nil)
			m.dirty[name] = struct{}{}
		}
	}
	for name, k := range m.services {
		m.said.set(name, k)
		m.dirty[name] = struct{}{}
	}
	for name, own := range m.owns {
		if m.said.owns[name].Equal(own) {
			continue
		}
		if m.dirty[name] = struct{}{}; own == nil {
			delete(m.said.owns, name)
		} else {
			m.said.owns[name] = own
		}
	}
	if m.node != nil {
		m.seeNode(m.node)
	}
	m.times = append(m.times, m.triggered[:min(len(m.triggered), maxTriggers-len(m.times))]...)
	m.said.revision, m.acking = revision, true
	if m.noticed.IsZero() && m.isComplete() {
		m.noticed = time.Now()
	}
	m.forgetHeard()
	m.wake()
	if !m.isComplete() {
		close(m.complete)
	}
}

func (m *mirror) isComplete() bool {
	select {
	case <-m.complete:
		return true
	default:
		return false
	}
}

// seeNode takes in what the node is; all Services depend on it.
func (m *mirror) seeNode(node *localsink.Node) {
	if node.Equal(m.said.node) {
		return
	}
	m.said.node = node
	for name := range m.said.services {
		m.dirty[name] = struct{}{}
	}
}

func (m *mirror) wake() {
	close(m.newer)
	m.newer = make(chan struct{})
}

// Refresh implements feed.Source.
func (m *mirror) Refresh(f *reconciler.Tracker) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	f.SetNode(m.said.node)
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
				k := m.said.services[name]
				if k == nil {
					tx.Delete(name)
					continue
				}
				svc := overlay.Assemble(k.service, m.said.owns[name], m.said.node)
				tx.Set(svc.WithUnsupported(m.lacks))
			}
		})
		clear(m.dirty)
	}
	if m.acking {
		m.passed = m.said.revision
	}
	return m.newer
}

// maxErrorText is how much of an error a server is told; it keeps no more.
const maxErrorText = 1024

// done is told by the feed what became of the state of the last Refresh.
func (m *mirror) done(err error, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.acking || m.passed == 0 || err == nil && m.passed == m.ackDone {
		return
	}
	ack := &kpng.Ack{Revision: m.passed, DurationNs: uint64(took)}
	if err != nil {
		ack.Error = session.Cut(protoconv.Text(err.Error()), maxErrorText)
		m.ackDone = 0
	} else {
		m.ackDone = m.passed
	}
	m.acks.Put(ack)
}
