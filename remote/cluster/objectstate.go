// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"time"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/remote/internal/session"
	"sigs.k8s.io/kpng/watchers"
)

// An objectState connects the store of a client to its streams: the digests of the objects
// in the store, and the update that the current stream has not committed yet. It implements
// session.ClientState. One goroutine uses it.
type objectState struct {
	store *watchers.Store
	acks  *session.AckQueue

	held    map[objectKey]uint64 // digests of committed objects, including unknown kinds
	xor     uint64               // of held
	invalid bool                 // the next stream must start with a full sync

	fullSync bool                        // the next Commit replaces all objects
	pending  map[objectKey]pendingObject // since the last Commit
	removed  map[uint64]struct{}         // digests; since the last Commit
	revision uint64                      // of the last Commit of the stream
}

// A pendingObject is a received object. digest is 0 if the object is removed.
type pendingObject struct {
	digest uint64
	object watchers.Object // nil if it is removed or of an unknown kind
}

var _ session.ClientState[*kpng.WatchClusterResponse] = (*objectState)(nil)

func newObjectState(store *watchers.Store) *objectState {
	return &objectState{store: store, acks: session.NewAckQueue(), held: map[objectKey]uint64{}}
}

// HeldXor implements session.ClientState.
func (s *objectState) HeldXor() (xor uint64, count uint32) {
	if s.invalid {
		return 0, 0
	}
	return s.xor, uint32(len(s.held))
}

// HeldDigests implements session.ClientState.
func (s *objectState) HeldDigests() []uint64 {
	digests := make([]uint64, 0, len(s.held))
	for _, d := range s.held {
		digests = append(digests, d)
	}
	return digests
}

// StartStream implements session.ClientState.
func (s *objectState) StartStream(fullSync bool) {
	s.fullSync, s.revision = fullSync, 0
	s.resetPending()
	s.acks.Reset()
}

func (s *objectState) resetPending() {
	s.pending, s.removed = map[objectKey]pendingObject{}, map[uint64]struct{}{}
}

// Invalidate implements session.ClientState. The store keeps its content.
func (s *objectState) Invalidate() { s.invalid = true }

// Apply implements session.ClientState.
func (s *objectState) Apply(in *kpng.WatchClusterResponse) error {
	for _, c := range in.GetObjects() {
		key, object, err := decode(c)
		if err != nil {
			return err
		}
		s.pending[key] = pendingObject{c.GetDigest(), object}
	}
	for _, d := range in.GetRemovedDigests() {
		s.removed[d] = struct{}{}
	}
	if len(s.removed) > len(s.held) {
		return fmt.Errorf("removed_digests: %d digests for %d held objects", len(s.removed), len(s.held))
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

// commit applies the pending update to the store in one transaction.
func (s *objectState) commit(revision uint64) {
	start := time.Now()
	s.store.Update(func(tx *watchers.Tx) {
		s.deleteRemoved(tx)
		var set map[watchers.Key]struct{}
		if s.fullSync {
			set = make(map[watchers.Key]struct{}, len(s.pending))
		}
		for key, p := range s.pending {
			if p.object == nil {
				deleteObject(tx, key)
				continue
			}
			if k := tx.Set(p.object); s.fullSync {
				set[k] = struct{}{}
			}
		}
		if s.fullSync {
			tx.RetainAll(func(k watchers.Key) bool {
				_, ok := set[k]
				return ok
			})
		}
		tx.SetSynced()
	})
	if s.fullSync {
		s.held, s.xor = make(map[objectKey]uint64, len(s.pending)), 0
	}
	for key, p := range s.pending {
		s.setDigest(key, p.digest)
	}
	s.fullSync, s.invalid = false, false
	s.resetPending()
	s.acks.Add(&kpng.Ack{Revision: revision, DurationNs: uint64(time.Since(start))})
}

// deleteRemoved deletes the objects that the server does not have. Those that it has in
// another version are pending.
func (s *objectState) deleteRemoved(tx *watchers.Tx) {
	if len(s.removed) == 0 {
		return
	}
	for key, digest := range s.held {
		if _, ok := s.removed[digest]; !ok {
			continue
		}
		s.setDigest(key, 0)
		deleteObject(tx, key)
	}
}

// setDigest replaces the digest of an object; 0 removes it.
func (s *objectState) setDigest(key objectKey, digest uint64) {
	s.xor ^= s.held[key] ^ digest
	if digest == 0 {
		delete(s.held, key)
		return
	}
	s.held[key] = digest
}

func deleteObject(tx *watchers.Tx, key objectKey) {
	switch key.kind {
	case kpng.ObjectKind_OBJECT_KIND_SERVICE:
		tx.DeleteService(key.service())
	case kpng.ObjectKind_OBJECT_KIND_ENDPOINT_SLICE:
		tx.Delete(watchers.Key{Kind: watchers.KindEndpointSlice, Namespace: key.namespace, Slice: key.name, Origin: key.origin})
	case kpng.ObjectKind_OBJECT_KIND_NODE:
		tx.DeleteNode(key.name)
	case kpng.ObjectKind_OBJECT_KIND_SERVICE_CIDR:
		tx.DeleteServiceCIDR(key.name)
	case kpng.ObjectKind_OBJECT_KIND_UNSPECIFIED: // no object has it
	}
}
