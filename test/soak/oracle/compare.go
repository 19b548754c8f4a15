// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Compare returns the differences between what a proxy must do, what it acknowledges, and what the
// rules in the kernel do. Each names the probe.
func Compare(desired, acknowledged *Model, kernel *Ruleset) ([]string, error) {
	node := desired.node
	destinations, err := kernel.destinations(node)
	if err != nil {
		return nil, err
	}
	unique := map[destination]bool{}
	for _, d := range slices.Concat(destinations, desired.destinations(), acknowledged.destinations()) {
		unique[d] = true
	}
	var differences []string
	for d := range unique {
		for _, c := range node.clients(d.addr.Addr().Is4()) {
			got, err := kernel.outcome(node, d, c)
			if err != nil {
				got = "error: " + err.Error()
			}
			want, claimed := desired.outcome(d, c), acknowledged.outcome(d, c)
			if want != claimed || want != got {
				differences = append(differences, fmt.Sprintf("%v from %s %v:\n  desired      %s\n  acknowledged %s\n  kernel       %s",
					d, c.name, c.addr, want, claimed, got))
			}
		}
	}
	hairpins, err := compareHairpins(desired, acknowledged, kernel)
	if err != nil {
		return nil, err
	}
	differences = append(differences, append(hairpins, kernel.temporaryChains()...)...)
	slices.Sort(differences)
	return differences, nil
}

// compareHairpins compares which endpoints of the node are masqueraded when they connect to
// themselves.
func compareHairpins(desired, acknowledged *Model, kernel *Ruleset) (differences []string, err error) {
	addrs := maps.Clone(desired.local)
	maps.Copy(addrs, acknowledged.local)
	for _, t := range kernel.tables {
		for _, s := range t.sets {
			if len(s.dataTypes) > 0 || len(s.keyTypes) != 2 {
				continue
			}
			for key := range s.elements {
				addr, err := netip.ParseAddr(strings.Split(key, " . ")[0])
				if err != nil {
					return nil, err
				}
				addrs[addr] = true
			}
		}
	}
	for a := range addrs {
		got, err := kernel.masqueradesItself(a)
		if err != nil {
			return nil, err
		}
		if want, claimed := desired.local[a], acknowledged.local[a]; want != claimed || want != got {
			differences = append(differences, fmt.Sprintf(
				"endpoint %v is of the node and masqueraded to itself: desired %v, acknowledged %v, kernel %v", a, want, claimed, got))
		}
	}
	return differences, nil
}

// temporaryChains returns the base chains that must exist only while a table is replaced: two of one
// hook with adjacent priorities.
func (r *Ruleset) temporaryChains() (differences []string) {
	for name, t := range r.tables {
		for _, hook := range []string{"prerouting", "output", "postrouting"} {
			base := t.base(hook)
			for i := 1; i < len(base); i++ {
				if base[i].priority-base[i-1].priority <= 1 {
					differences = append(differences, fmt.Sprintf("table %s has base chains of hook %s with priorities %d and %d",
						name, hook, base[i-1].priority, base[i].priority))
				}
			}
		}
	}
	return differences
}
