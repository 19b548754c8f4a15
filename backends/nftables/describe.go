// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kpng/localsink"
)

// Describe returns the content of the maps that a [Backend] would write for the whole state
// of u, as text for operators. It needs no kernel. The error is about cfg.
func Describe(cfg Config, u *localsink.Update) (string, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range []*family{ipv4(), ipv6()} {
		d := &describer{elements: map[string][]string{}}
		st := newTableState(f, newNodeMatches(f, u.Node), cfg, d)
		for s := range u.All.All() {
			st.load(s)
		}
		if st.records.Len() > 0 {
			fmt.Fprintf(&b, "table %s %s {\n%s}\n", f.name, cfg.Table, d.text(st))
		}
	}
	return b.String(), nil
}

// A describer is a [txWriter] that formats the added elements and ignores the rest.
type describer struct{ elements map[string][]string } // by set

func (d *describer) newSet(*set)          {}
func (d *describer) newChain(chainSpec)   {}
func (d *describer) setRules(chainSpec)   {}
func (d *describer) dropChain(string)     {}
func (d *describer) dropSet(*set)         {}
func (d *describer) remove(*set, element) {}

func (d *describer) add(s *set, e element) {
	if strings.HasPrefix(s.name, prefixIndex+prefixConsistent) {
		return // thousands of slots, which package consistent computes
	}
	var key []string
	if a := e.key.addr.Addr(); a.IsValid() && !a.IsUnspecified() {
		key = append(key, a.String())
	}
	if e.key.proto != 0 {
		key = append(key, strings.ToLower(e.key.proto.String()), strconv.Itoa(int(e.key.addr.Port())))
	}
	text := strings.Join(key, " . ")
	switch s.kind {
	case verdictsByAddress, verdictsByNodePort:
		verb := "goto"
		if s.jump {
			verb = "jump"
		}
		text += " : " + verb + " " + e.chain
	case endpointsByAddress, endpointsByNodePort:
		text += fmt.Sprintf(" . slot %d : %v", e.slot, e.value)
	case endpointsBySlot:
		text += fmt.Sprintf("slot %d : %v", e.slot, e.value)
	case slotsByIndex:
		text += fmt.Sprintf("%d : slot %d", e.slot, e.target)
	case addresses, addressPairs, affinityEntries: // the key is all, or packets add the elements
	}
	d.elements[s.name] = append(d.elements[s.name], text)
}

// text formats the sets that have elements.
func (d *describer) text(st *tableState) string {
	var b strings.Builder
	for _, s := range st.sets {
		if elements := d.elements[s.name]; len(elements) > 0 {
			slices.Sort(elements)
			fmt.Fprintf(&b, "  %s\n    %s\n", s.name, strings.Join(elements, "\n    "))
		}
	}
	return b.String()
}
