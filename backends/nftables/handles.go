// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import "sigs.k8s.io/kpng/backends/nftables/internal/nfnl"

// objectHandles are the handles of the chains, rules and sets of a table. The kernel numbers them
// in the order of their creation, so they follow from the transactions. Nothing about a rule can
// change while its handle remains.
type objectHandles struct {
	last   uint64
	names  map[uint64]objectName
	chains map[string][]uint64 // the handle of each chain, followed by those of its rules
	sets   map[string]uint64
}

// An objectName is the kind and name of an object. A rule has the name of its chain.
type objectName struct {
	kind uint16 // nfnl.MsgNewChain, nfnl.MsgNewRule or nfnl.MsgNewSet
	name string
}

// apply notes what the kernel has done with a transaction.
func (h *objectHandles) apply(t *transaction) {
	if t.replaceTable {
		*h = objectHandles{names: map[uint64]objectName{}, chains: map[string][]uint64{}, sets: map[string]uint64{}}
	}
	for _, s := range t.sets {
		h.sets[s.name] = h.next(nfnl.MsgNewSet, s.name)
	}
	for i := range t.chains {
		h.chains[t.chains[i].name] = []uint64{h.next(nfnl.MsgNewChain, t.chains[i].name)}
	}
	for i := range t.replacedRules {
		h.dropRules(t.replacedRules[i].name)
	}
	for _, chains := range [][]chainSpec{t.chains, t.replacedRules} {
		for i := range chains {
			name := chains[i].name
			for range chains[i].rules {
				h.chains[name] = append(h.chains[name], h.next(nfnl.MsgNewRule, name))
			}
		}
	}
	for _, name := range t.deletedChains {
		h.dropRules(name)
		delete(h.names, h.chains[name][0])
		delete(h.chains, name)
	}
	for _, s := range t.deletedSets {
		delete(h.names, h.sets[s.name])
		delete(h.sets, s.name)
	}
}

func (h *objectHandles) next(kind uint16, name string) uint64 {
	h.last++
	h.names[h.last] = objectName{kind, name}
	return h.last
}

func (h *objectHandles) dropRules(chain string) {
	handles := h.chains[chain]
	for _, rule := range handles[1:] {
		delete(h.names, rule)
	}
	h.chains[chain] = handles[:1]
}

// match reports whether the table holds these objects and no others.
func (h *objectHandles) match(held []nfnl.Object) bool {
	for i := range held {
		if want, ok := h.names[held[i].Handle]; !ok || want != (objectName{held[i].Kind, held[i].Name}) || held[i].Drops {
			return false
		}
	}
	return len(held) == len(h.names)
}
