// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

// A cleanup collects what the second transaction of a change removes. Each lookup of a packet
// uses the rules that are valid at that moment. A packet that has entered a load-balancing
// chain must still find the slot that the chain selects, although the verdict that led there
// may have changed meanwhile. So slots without a successor stay until the first transaction
// is committed, and so do chains and sets that rules referred to.
type cleanup struct {
	removals []removal
	chains   []string
	sets     []*set
}

// A removal is an element to remove. Its set does not count it any more.
type removal struct {
	set     *set
	element element
}

// cleanUp writes the second transaction of a change. A packet that is delayed longer than
// both transactions take finds no slot; the cluster-ips-check chains find a Service for it
// once more.
func (st *tableState) cleanUp() {
	c := &st.cleanup
	for _, r := range c.removals {
		st.out.remove(r.set, r.element)
	}
	for _, name := range c.chains {
		st.dropChain(name)
	}
	for _, s := range c.sets {
		st.dropSet(s)
	}
	c.removals, c.chains, c.sets = c.removals[:0], c.chains[:0], c.sets[:0]
}

// emptyChain removes the rules of a chain, and thus its references, and marks it for the
// cleanup.
func (st *tableState) emptyChain(name string) {
	st.out.setRules(chainSpec{name: name})
	st.cleanup.chains = append(st.cleanup.chains, name)
}
