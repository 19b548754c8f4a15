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

// A mirror is a store that servers have told of: the digests of what they have said up to
// the last commit, which the store has, and what one has said since. One goroutine uses
// it.
type mirror struct {
	store *watchers.Store
	acks  *session.Acks

	held       map[factKey]uint64 // digests, also of facts that this client does not know
	root       uint64
	distrusted bool // the next stream must start over

	startOver bool
	heard     map[factKey]heard
	unwanted  map[uint64]struct{}
	committed uint64 // the revision of the stream's last commit
}

// heard is a fact as a server has told of it; the digest is 0 when it is gone.
type heard struct {
	digest uint64
	fact   watchers.Object // nil when it is gone or not known
}

func newMirror(store *watchers.Store) *mirror {
	return &mirror{store: store, acks: session.NewAcks(), held: map[factKey]uint64{}}
}

// Held implements session.Memory.
func (m *mirror) Held() (root uint64, count uint32) {
	if m.distrusted {
		return 0, 0
	}
	return m.root, uint32(len(m.held))
}

// Digests implements session.Memory.
func (m *mirror) Digests() []uint64 {
	all := make([]uint64, 0, len(m.held))
	for _, d := range m.held {
		all = append(all, d)
	}
	return all
}

// Begin implements session.Memory.
func (m *mirror) Begin(startOver bool) {
	m.startOver, m.committed = startOver, 0
	m.forgetHeard()
	m.acks.Clear()
}

func (m *mirror) forgetHeard() {
	m.heard, m.unwanted = map[factKey]heard{}, map[uint64]struct{}{}
}

// Distrust implements session.Memory. The store stays as it is.
func (m *mirror) Distrust() { m.distrusted = true }

// Hear implements session.Memory.
func (m *mirror) Hear(in *kpng.WatchClusterResponse) error {
	for _, c := range in.GetObjects() {
		key, fact, err := decode(c)
		if err != nil {
			return err
		}
		m.heard[key] = heard{c.GetDigest(), fact}
	}
	for _, d := range in.GetRemovedDigests() {
		m.unwanted[d] = struct{}{}
	}
	if len(m.unwanted) > len(m.held) {
		return fmt.Errorf("unwanted: %d digests, of %d facts", len(m.unwanted), len(m.held))
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
func (m *mirror) commit(revision uint64) {
	began := time.Now()
	m.store.Update(func(tx *watchers.Tx) {
		m.dropUnwanted(tx)
		kept := map[watchers.Key]struct{}{}
		for key, h := range m.heard {
			if h.fact != nil {
				kept[tx.Set(h.fact)] = struct{}{}
			} else {
				remove(tx, key)
			}
		}
		if m.startOver {
			tx.RetainAll(func(k watchers.Key) bool {
				_, ok := kept[k]
				return ok
			})
		}
		tx.SetSynced()
	})
	if m.startOver {
		m.held, m.root = make(map[factKey]uint64, len(m.heard)), 0
	}
	for key, h := range m.heard {
		m.hold(key, h.digest)
	}
	m.startOver, m.distrusted = false, false
	m.forgetHeard()
	m.acks.Put(&kpng.Ack{Revision: revision, DurationNs: uint64(time.Since(began))})
}

// dropUnwanted removes what the server does not have any more, or has in another form,
// which was heard.
func (m *mirror) dropUnwanted(tx *watchers.Tx) {
	if len(m.unwanted) == 0 {
		return
	}
	for key, digest := range m.held {
		if _, gone := m.unwanted[digest]; !gone {
			continue
		}
		m.hold(key, 0)
		remove(tx, key)
	}
}

// hold notes the digest of a fact, 0 for one that is gone.
func (m *mirror) hold(key factKey, digest uint64) {
	m.root ^= m.held[key] ^ digest
	if digest == 0 {
		delete(m.held, key)
		return
	}
	m.held[key] = digest
}

func remove(tx *watchers.Tx, key factKey) {
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

var _ session.Memory[*kpng.WatchClusterResponse] = (*mirror)(nil)
