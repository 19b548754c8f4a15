// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"maps"
	"slices"
)

// Stats are counters and sizes of a [Backend].
type Stats struct {
	// Families has one entry for each address family of the host.
	Families []FamilyStats
	// ExternalChanges counts the detected changes of the rules by other programs. Changes that
	// are detected together count once.
	ExternalChanges uint64
}

// FamilyStats is the part of [Stats] about one address family.
type FamilyStats struct {
	// IPv6 is the family.
	IPv6 bool
	// Loads counts the writes of all rules, and Changes those of the rules of changed Services.
	Loads, Changes uint64
	// LoadFailures and ChangeFailures count those of them that failed. The failure of a change
	// leads to a load.
	LoadFailures, ChangeFailures uint64
	// Rules is the number of rules in the backend's chains and of jumps to them, by table, and
	// LastWritten the number of rules in the last write. The maps must not be modified.
	Rules, LastWritten map[string]int
}

// Repairs returns how often a Sync has repaired what other programs have changed, or may have. It may
// be called at any time, and does not wait for Sync. See conntrack.Config.Repairs.
func (b *Backend) Repairs() uint64 { return b.monitor.Repairs() }

// Stats returns the statistics as of the last Sync.
func (b *Backend) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{Families: slices.Clone(b.stats), ExternalChanges: b.monitor.Count()}
}

// loaded counts a write of all rules with their jumps.
func (s *FamilyStats) loaded(in *restoreInput, jumps []jump) {
	s.Rules, s.LastWritten = map[string]int{}, map[string]int{}
	for table, c := range in.counts {
		s.Rules[table], s.LastWritten[table] = c.appended, c.written()
	}
	for _, j := range jumps { // those that are in the kernel already are not written
		s.Rules[j.table]++
	}
}

// changed counts a change, which has emptied chains of the nat table with that many rules.
func (s *FamilyStats) changed(in *restoreInput, emptied int) {
	rules, written := maps.Clone(s.Rules), make(map[string]int, len(s.Rules))
	for table := range rules {
		written[table] = 0
		if c := in.counts[table]; c != nil {
			rules[table] += c.written() - c.deleted
			written[table] = c.written()
		}
	}
	rules[tableNAT] -= emptied
	s.Rules, s.LastWritten = rules, written
}
