// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler

import (
	"maps"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
)

// hashPacked writes the whole content of a Service but its name. Equal Services have equal
// packed forms. A test changes each field to prove that none is missing.
func hashPacked(h *diffstore.Hash, p packed) {
	h.String(p.text)
	h.Bool(p.rare != nil)
	if p.rare == nil {
		return
	}
	h.Len(len(p.rare.problems))
	for _, p := range p.rare.problems {
		h.String(p.Object)
		h.String(p.Field)
		h.String(p.Message)
	}
	hashExtensions(h, p.rare.extensions)
	h.Len(len(p.rare.endpoints))
	for _, extensions := range p.rare.endpoints {
		hashEndpointExtensions(h, extensions)
	}
}

func hashEndpointExtensions(h *diffstore.Hash, extensions map[netip.AddrPort]localsink.Extensions) {
	h.Len(len(extensions))
	for _, a := range slices.SortedFunc(maps.Keys(extensions), netip.AddrPort.Compare) {
		h.AddrPort(a)
		hashExtensions(h, extensions[a])
	}
}

func hashExtensions(h *diffstore.Hash, x localsink.Extensions) {
	h.Len(x.Len())
	for e := range x.All() {
		h.String(e.Key)
		h.String(e.Value)
	}
}
