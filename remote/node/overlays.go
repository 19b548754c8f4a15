// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"sync"

	"github.com/cespare/xxhash/v2"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/remote/internal/fanout"
)

// overlaysOf returns the overlays of an item by node name.
func overlaysOf(i fanout.Item) map[string]*overlay.Overlay {
	if item, ok := i.(*serviceItem); ok {
		return item.service.Overlays()
	}
	return nil
}

// initialOverlays finds the overlays of nodes whose streams start with the same state. It
// scans the state for each of the first nodes, and indexes it by node if there are more.
type initialOverlays struct {
	mu      sync.Mutex
	lookups int
	byNode  map[string][]serviceOverlay // nil before the index is built
}

type serviceOverlay struct {
	service localsink.ServiceName
	overlay *overlay.Overlay
}

// maxLookups is the number of scans that take about as long as building the index.
const maxLookups = 8

func newInitialOverlays() any { return &initialOverlays{} }

// encode returns the encoded overlays of a node in state st. origins reports whether those of
// objects that are not Services are included.
func (o *initialOverlays) encode(st *state, node string, origins bool) (pieces [][]byte) {
	add := func(name localsink.ServiceName, own *overlay.Overlay) {
		if origins || name.Origin == "" {
			pieces = append(pieces, encodeOverlay(name, own))
		}
	}
	o.mu.Lock()
	o.lookups++
	if o.lookups <= maxLookups {
		o.mu.Unlock()
		for name, i := range st.Items.All() {
			if own := overlaysOf(i)[node]; own != nil {
				add(name, own)
			}
		}
		return pieces
	}
	if o.byNode == nil {
		o.byNode = map[string][]serviceOverlay{}
		for name, i := range st.Items.All() {
			for node, own := range overlaysOf(i) {
				o.byNode[node] = append(o.byNode[node], serviceOverlay{name, own})
			}
		}
	}
	overlays := o.byNode[node]
	o.mu.Unlock()
	for _, o := range overlays {
		add(o.service, o.overlay)
	}
	return pieces
}

// overlayChanges are the encoded overlays that change in a batch, by node. Most nodes have none;
// nameBits lets them skip the lookup.
type overlayChanges struct {
	services map[string][][]byte
	others   map[string][][]byte // of objects that are not Services; usually nil
	nameBits uint64              // union of the name bits of the nodes
}

func newOverlayChanges(b *batch) *overlayChanges {
	out := &overlayChanges{services: map[string][][]byte{}}
	for _, c := range b.Changes() {
		before, after := overlaysOf(c.Old), overlaysOf(c.New)
		for node, own := range after {
			if !own.Equal(before[node]) {
				out.add(node, c.Key, own)
			}
		}
		for node := range before {
			if after[node] == nil {
				out.add(node, c.Key, nil)
			}
		}
	}
	return out
}

func (o *overlayChanges) add(node string, name localsink.ServiceName, own *overlay.Overlay) {
	o.nameBits |= nameBitOf(node)
	pieces := o.services
	if name.Origin != "" {
		if o.others == nil {
			o.others = map[string][][]byte{}
		}
		pieces = o.others
	}
	pieces[node] = append(pieces[node], encodeOverlay(name, own))
}

// nameBitOf returns a number with one bit set, chosen by a hash of the name.
func nameBitOf(name string) uint64 { return 1 << (xxhash.Sum64String(name) % 64) }
