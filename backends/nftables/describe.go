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

// Describe returns what a [Backend] would write for the whole state of u, for people:
// what the maps hold, among it the names of chains, which say what they do. It needs no
// kernel. The error is about c.
func Describe(c Config, u *localsink.Update) (string, error) {
	c, err := c.withDefaults()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range []*family{ipv4(), ipv6()} {
		d := &describer{elements: map[string][]string{}}
		m := newTableState(f, newNodeMatches(f, u.Node), c.MasqueradeMark, d)
		for s := range u.All.All() {
			m.load(s)
		}
		if len(m.records) > 0 {
			fmt.Fprintf(&b, "table %s %s {\n%s}\n", f.name, c.Table, d.text(m))
		}
	}
	return b.String(), nil
}

// A describer is a script that is read, not run.
type describer struct{ elements map[string][]string } // by set

func (d *describer) newSet(*set)          {}
func (d *describer) newChain(chainSpec)   {}
func (d *describer) setRules(chainSpec)   {}
func (d *describer) dropChain(string)     {}
func (d *describer) dropSet(*set)         {}
func (d *describer) remove(*set, element) {}

func (d *describer) add(s *set, e element) {
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
		text += " : goto " + e.chain
	case endpointsByAddress, endpointsByNodePort:
		text += fmt.Sprintf(" . slot %d : %v", e.slot, e.value)
	case endpointsBySlot:
		text += fmt.Sprintf("slot %d : %v", e.slot, e.value)
	case slotsByIndex:
		text += fmt.Sprintf("%d : slot %d", e.slot, e.target)
	}
	d.elements[s.name] = append(d.elements[s.name], text)
}

// text lists the sets and maps that hold something.
func (d *describer) text(m *tableState) string {
	var b strings.Builder
	for _, s := range m.sets {
		if elements := d.elements[s.name]; len(elements) > 0 {
			slices.Sort(elements)
			fmt.Fprintf(&b, "  %s\n    %s\n", s.name, strings.Join(elements, "\n    "))
		}
	}
	return b.String()
}
