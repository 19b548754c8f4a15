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
	"sigs.k8s.io/kpng/internal/pointermap"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/remote/internal/protoconv"
	"sigs.k8s.io/kpng/remote/internal/session"
)

// A clientState is the client's copy of what servers have sent: the committed state, and
// the update that the current stream has not committed yet. It implements
// session.ClientState for the stream's goroutine and reconciler.Source for the sink's.
type clientState struct {
	unsupported localsink.Features // set before use
	complete    chan struct{}      // closed by the first Commit
	acks        *session.AckQueue

	// Owned by the stream's goroutine.
	pending  pendingUpdate
	fullSync bool   // the next Commit replaces all Services
	revision uint64 // of the last Commit of the stream

	mu           sync.Mutex // guards the fields below
	committed    committedState
	known        *kpng.Node    // the last one with addresses; nil for none
	invalid      bool          // the next stream must start with a full sync
	triggerTimes []time.Time   // of the changes, at most maxTriggers
	observed     time.Time     // of the first of the changes; zero for none
	newer        chan struct{} // closed by the next Commit
	acking       bool          // the current stream has had a Commit
	refreshed    uint64        // revision of the last Refresh; 0 for none in this stream
	acked        uint64        // last revision acknowledged as applied
	// changed has the Services that Refresh must update: with their committed base, or with nil
	// if Refresh must decode it.
	changed map[localsink.ServiceName]*overlay.Base
}

// A pendingUpdate is what a stream has received since its last Commit.
type pendingUpdate struct {
	services     map[localsink.ServiceName]*receivedBase    // nil for removed ones
	overlays     map[localsink.ServiceName]*overlay.Overlay // nil for removed ones
	node         *localsink.Node                            // nil if unchanged
	received     *kpng.Node                                 // from which node was decoded
	removed      []uint64                                   // digests
	triggerTimes []time.Time                                // at most maxTriggers
}

// committedState is the state of the last Commit.
type committedState struct {
	node     *localsink.Node
	services *pointermap.Map[localsink.ServiceName, heldBase]
	overlays map[localsink.ServiceName]*overlay.Overlay
	byDigest map[uint64]*heldBase
	xor      uint64 // of the digests of services
	revision uint64
}

var (
	_ session.ClientState[*kpng.WatchNodeResponse] = (*clientState)(nil)
	_ reconciler.Source                            = (*clientState)(nil)
)

func newClientState(node string) *clientState {
	s := &clientState{
		complete: make(chan struct{}),
		changed:  map[localsink.ServiceName]*overlay.Base{},
		newer:    make(chan struct{}),
		acks:     session.NewAckQueue(),
	}
	s.committed.node = &localsink.Node{Name: node}
	s.committed.overlays = map[localsink.ServiceName]*overlay.Overlay{}
	s.committed.clearServices(0)
	return s
}

// clearServices removes all Services. size is the number of new ones, for which the index of
// digests gets room.
func (c *committedState) clearServices(size int) {
	c.services = pointermap.New(func(h *heldBase) localsink.ServiceName { return h.name })
	c.byDigest = make(map[uint64]*heldBase, size)
	c.xor = 0
}

// set replaces the shared base of a Service; nil removes it.
func (c *committedState) set(name localsink.ServiceName, base *heldBase) {
	if old := c.services.Get(name); old != nil {
		c.xor ^= old.digest
		if c.byDigest[old.digest] == old {
			delete(c.byDigest, old.digest)
		}
	}
	if base == nil {
		c.services.Delete(name)
		return
	}
	c.services.Set(base)
	c.xor ^= base.digest
	c.byDigest[base.digest] = base
}

// HeldXor implements session.ClientState. If two Services have the same digest, it returns
// zeros, because the server could not remove one of them by its digest.
func (s *clientState) HeldXor() (xor uint64, count uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.invalid || len(s.committed.byDigest) != s.committed.services.Len() {
		return 0, 0
	}
	return s.committed.xor, uint32(s.committed.services.Len())
}

// HeldDigests implements session.ClientState.
func (s *clientState) HeldDigests() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	digests := make([]uint64, 0, len(s.committed.byDigest))
	for d := range s.committed.byDigest {
		digests = append(digests, d)
	}
	return digests
}

// node returns the committed properties of the node.
func (s *clientState) node() *localsink.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed.node
}

// maxKnown bounds each list of a known node, because a server bounds the first message.
const maxKnown = 16

// maxKnownExtensions bounds the extensions of a known node, in bytes.
const maxKnownExtensions = 64 << 10

// knownPart returns the part of a received Node that NodeHello.known_node needs.
func knownPart(in *kpng.Node) *kpng.Node {
	ips, networks := in.GetIps(), in.GetLocalPods().GetNetworks()
	out := &kpng.Node{
		Name: in.GetName(), Zone: in.GetZone(), Ips: ips[:min(len(ips), maxKnown)],
		LocalPods: &kpng.PodSources{Networks: networks[:min(len(networks), maxKnown)]},
	}
	size := 0
	for _, e := range in.GetExtensions() {
		if n := len(e.GetKey()) + len(e.GetValue()); size+n <= maxKnownExtensions {
			size += n
			out.Extensions = append(out.Extensions, e)
		}
	}
	return out
}

// knownNode returns the last received or the assumed properties of the node; nil without any.
func (s *clientState) knownNode() *kpng.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

// StartStream implements session.ClientState.
func (s *clientState) StartStream(fullSync bool) {
	s.resetPending()
	s.revision = 0
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fullSync = fullSync || s.invalid
	// Overlays have no digests: each stream sends all of them, and others are removed.
	for name := range s.committed.overlays {
		s.pending.overlays[name] = nil
	}
	s.acking, s.refreshed, s.acked = false, 0, 0
	s.acks.Reset()
}

func (s *clientState) resetPending() {
	s.pending = pendingUpdate{
		services: map[localsink.ServiceName]*receivedBase{},
		overlays: map[localsink.ServiceName]*overlay.Overlay{},
	}
}

// Invalidate implements session.ClientState.
func (s *clientState) Invalidate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.invalid = true
}

// maxTriggers bounds the trigger times of a pending update and those waiting for Refresh.
const maxTriggers = 4096

// Apply implements session.ClientState.
func (s *clientState) Apply(in *kpng.WatchNodeResponse) error {
	for _, c := range in.GetServices() {
		if err := s.applyService(c); err != nil {
			return err
		}
	}
	for _, c := range in.GetOverlays() {
		name, err := fromName(c)
		if err != nil {
			return fmt.Errorf("overlay: %w", err)
		}
		o, err := fromOverlay(c)
		if err != nil {
			return fmt.Errorf("overlay of %s: %w", name.Object(), err)
		}
		s.pending.overlays[name] = o
	}
	if in.GetNode() != nil {
		node, err := fromNode(in.GetNode())
		if err != nil {
			return fmt.Errorf("node: %w", err)
		}
		s.pending.node, s.pending.received = node, in.GetNode()
	}
	s.pending.removed = append(s.pending.removed, in.GetRemovedDigests()...)
	if removed, held := len(s.pending.removed), s.size(); removed > held {
		return fmt.Errorf("removed_digests: %d digests for %d held Services", removed, held)
	}
	for _, t := range in.GetTriggerTimesUnixNs() {
		if len(s.pending.triggerTimes) < maxTriggers {
			s.pending.triggerTimes = append(s.pending.triggerTimes, time.Unix(0, t))
		}
	}
	if in.GetCommit() != nil {
		revision := in.GetCommit().GetRevision()
		if revision <= s.revision {
			return fmt.Errorf("commit: revision %d is not greater than %d", revision, s.revision)
		}
		s.revision = revision
		s.commit(revision)
	}
	return nil
}

// size returns the number of committed Services.
func (s *clientState) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed.services.Len()
}

func (s *clientState) applyService(c *kpng.ServiceChange) error {
	name, err := fromName(c)
	if err != nil {
		return err
	}
	switch {
	case c.GetService() != nil:
		base, err := newReceivedBase(name, c.GetService(), c.GetDigest())
		if err != nil {
			return err
		}
		s.pending.services[name] = base
	case c.GetDelta() != nil:
		delta, err := fromDelta(c.GetDelta())
		if err != nil {
			return fmt.Errorf("%s: delta: %w", name.Object(), err)
		}
		old := s.latest(name)
		if old == nil {
			return fmt.Errorf("delta for unknown %s", name.Object())
		}
		base, err := old.apply(delta, c.GetDigest())
		if err != nil {
			return err
		}
		s.pending.services[name] = base
	default:
		s.pending.services[name] = nil
	}
	return nil
}

// latest returns the last received shared base of a Service, pending or committed.
func (s *clientState) latest(name localsink.ServiceName) *heldBase {
	if received, ok := s.pending.services[name]; received != nil {
		return received.heldBase
	} else if ok || s.fullSync {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed.services.Get(name)
}

// commit moves the pending update into the committed state.
func (s *clientState) commit(revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fullSync {
		for held := range s.committed.services.All() {
			s.changed[held.name] = nil
		}
		s.committed.clearServices(len(s.pending.services))
		s.fullSync, s.invalid = false, false
	}
	for _, d := range s.pending.removed {
		if held, ok := s.committed.byDigest[d]; ok {
			s.committed.set(held.name, nil)
			s.changed[held.name] = nil
		}
	}
	for name, received := range s.pending.services {
		if received == nil {
			s.committed.set(name, nil)
			s.changed[name] = nil
			continue
		}
		s.committed.set(name, received.heldBase)
		s.changed[name] = received.base
	}
	s.commitOverlays()
	s.commitNode()
	times := s.pending.triggerTimes
	s.triggerTimes = append(s.triggerTimes, times[:min(len(times), maxTriggers-len(s.triggerTimes))]...)
	s.committed.revision, s.acking = revision, true
	if s.observed.IsZero() && s.isComplete() {
		s.observed = time.Now()
	}
	s.resetPending()
	close(s.newer)
	s.newer = make(chan struct{})
	if !s.isComplete() {
		close(s.complete)
	}
}

func (s *clientState) commitOverlays() {
	for name, o := range s.pending.overlays {
		if s.committed.overlays[name].Equal(o) {
			continue
		}
		if s.reassemble(name); o == nil {
			delete(s.committed.overlays, name)
		} else {
			s.committed.overlays[name] = o
		}
	}
}

// commitNode replaces the properties of the node, on which all Services depend.
func (s *clientState) commitNode() {
	if len(s.pending.received.GetIps()) > 0 {
		s.known = knownPart(s.pending.received)
	}
	if s.pending.node == nil || s.pending.node.Equal(s.committed.node) {
		return
	}
	s.committed.node = s.pending.node
	for held := range s.committed.services.All() {
		s.reassemble(held.name)
	}
}

// reassemble makes Refresh update a Service whose base may be unchanged.
func (s *clientState) reassemble(name localsink.ServiceName) {
	if _, ok := s.changed[name]; !ok {
		s.changed[name] = nil
	}
}

func (s *clientState) isComplete() bool {
	select {
	case <-s.complete:
		return true
	default:
		return false
	}
}

// Refresh implements reconciler.Source.
func (s *clientState) Refresh(t *reconciler.Tracker) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.SetNode(s.committed.node)
	for _, at := range s.triggerTimes {
		t.AddTriggerTime(at)
	}
	if !s.observed.IsZero() {
		t.SetObservedTime(s.observed)
	}
	s.triggerTimes, s.observed = nil, time.Time{}
	if len(s.changed) > 0 {
		t.Update(func(tx *reconciler.Tx) {
			// Sorted keys make consecutive insertions touch neighbouring tree nodes.
			for _, name := range slices.SortedFunc(maps.Keys(s.changed), localsink.ServiceName.Compare) {
				held, base := s.committed.services.Get(name), s.changed[name]
				if held == nil {
					tx.Delete(name)
					continue
				}
				if base == nil {
					base = held.decode()
				}
				svc := overlay.Assemble(base, s.committed.overlays[name], s.committed.node)
				tx.Set(svc.WithUnsupported(s.unsupported, s.committed.node))
			}
		})
		// A map that is cleared keeps the memory of the first state, and takes its time to read.
		s.changed = map[localsink.ServiceName]*overlay.Base{}
	}
	if s.acking {
		s.refreshed = s.committed.revision
	}
	return s.newer
}

// synced queues an acknowledgement of the last Refresh. It is called after each Sync of the
// sink. A success is acknowledged once, a failure after each attempt.
func (s *clientState) synced(err error, duration time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.acking || s.refreshed == 0 || err == nil && s.refreshed == s.acked {
		return
	}
	ack := &kpng.Ack{Revision: s.refreshed, DurationNs: uint64(duration)}
	if err != nil {
		ack.Error = session.Truncate(protoconv.Text(err.Error()), session.MaxErrorText)
		s.acked = 0
	} else {
		s.acked = s.refreshed
	}
	s.acks.Add(ack)
}
