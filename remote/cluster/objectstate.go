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

// A objectState is a store that servers have told of: the digests of what they have said up to
// the last commit, which the store has, and what one has said since. One goroutine uses
// it.
type objectState struct {
	store *watchers.Store
	acks  *session.AckQueue

	held    map[objectKey]uint64 // digests, also of facts that this client does not know
	xor     uint64
	invalid bool // the next stream must start over

	fullSync  bool
	pending   map[objectKey]pendingObject
	removed   map[uint64]struct{}
	committed uint64 // the revision of the stream's last commit
}

// pendingObject is a fact as a server has told of it; the digest is 0 when it is gone.
type pendingObject struct {
	digest uint64
	object watchers.Object // nil when it is gone or not known
}

func newObjectState(store *watchers.Store) *objectState {
	return &objectState{store: store, acks: session.NewAckQueue(), held: map[objectKey]uint64{}}
}

// HeldXor implements session.Memory.
func (m *objectState) HeldXor() (root uint64, count uint32) {
	if m.invalid {
		return 0, 0
	}
	return m.xor, uint32(len(m.held))
}

// HeldDigests implements session.Memory.
func (m *objectState) HeldDigests() []uint64 {
	all := make([]uint64, 0, len(m.held))
	for _, d := range m.held {
		all = append(all, d)
	}
	return all
}

// StartStream implements session.Memory.
func (m *objectState) StartStream(startOver bool) {
	m.fullSync, m.committed = startOver, 0
	m.resetPending()
	m.acks.Reset()
}

func (m *objectState) resetPending() {
	m.pending, m.removed = map[objectKey]pendingObject{}, map[uint64]struct{}{}
}

// Invalidate implements session.Memory. The store stays as it is.
func (m *objectState) Invalidate() { m.invalid = true }

// Apply implements session.Memory.
func (m *objectState) Apply(in *kpng.WatchClusterResponse) error {
	for _, c := range in.GetObjects() {
		key, fact, err := decode(c)
		if err != nil {
			return err
		}
		m.pending[key] = pendingObject{c.GetDigest(), fact}
	}
	for _, d := range in.GetRemovedDigests() {
		m.removed[d] = struct{}{}
	}
	if len(m.removed) > len(m.held) {
		return fmt.Errorf("unwanted: %d digests, of %d facts", len(m.removed), len(m.held))
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

// commit makes what was heard take effect, in one transaction.
func (m *objectState) commit(revision uint64) {
	began := time.Now()
	m.store.Update(func(tx *watchers.Tx) {
		m.deleteRemoved(tx)
		kept := map[watchers.Key]struct{}{}
		for key, h := range m.pending {
			if h.object != nil {
				kept[tx.Set(h.object)] = struct{}{}
			} else {
				remove(tx, key)
			}
		}
		if m.fullSync {
			tx.RetainAll(func(k watchers.Key) bool {
				_, ok := kept[k]
				return ok
			})
		}
		tx.SetSynced()
	})
	if m.fullSync {
		m.held, m.xor = make(map[objectKey]uint64, len(m.pending)), 0
	}
	for key, h := range m.pending {
		m.setDigest(key, h.digest)
	}
	m.fullSync, m.invalid = false, false
	m.resetPending()
	m.acks.Add(&kpng.Ack{Revision: revision, DurationNs: uint64(time.Since(began))})
}

// deleteRemoved removes what the server does not have any more, or has in another form,
// which was heard.
func (m *objectState) deleteRemoved(tx *watchers.Tx) {
	if len(m.removed) == 0 {
		return
	}
	for key, digest := range m.held {
		if _, gone := m.removed[digest]; !gone {
			continue
		}
		m.setDigest(key, 0)
		remove(tx, key)
	}
}

// setDigest notes the digest of a fact, 0 for one that is gone.
func (m *objectState) setDigest(key objectKey, digest uint64) {
	m.xor ^= m.held[key] ^ digest
	if digest == 0 {
		delete(m.held, key)
		return
	}
	m.held[key] = digest
}

func remove(tx *watchers.Tx, key objectKey) {
	switch key.kind {
	case kpng.ObjectKind_OBJECT_KIND_SERVICE:
		tx.DeleteService(watchers.ServiceName{Namespace: key.namespace, Name: key.name})
	case kpng.ObjectKind_OBJECT_KIND_ENDPOINT_SLICE:
		tx.DeleteEndpointSlice(key.namespace, key.name)
	case kpng.ObjectKind_OBJECT_KIND_NODE:
		tx.DeleteNode(key.name)
	case kpng.ObjectKind_OBJECT_KIND_SERVICE_CIDR:
		tx.DeleteServiceCIDR(key.name)
	}
}

var _ session.ClientState[*kpng.WatchClusterResponse] = (*objectState)(nil)
