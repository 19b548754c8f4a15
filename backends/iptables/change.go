// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import "slices"

// A change is the difference between two renderings of Services of one family.
type change struct {
	replaced []serviceChain // new, or with other rules
	removed  []string       // names of chains
	emptied  int            // number of rules that the chains in replaced and removed have had
	// Groups of entries that are added, replaced and deleted. Of those replaced, deleted has
	// the old entries and added the new ones.
	added, deleted []entry
	// last are the entries of groups that are only deleted.
	last []entry
}

// add adds the difference between two renderings of one Service.
func (c *change) add(old, desired *rendering) {
	before := map[string][]string{}
	for _, chain := range old.chains {
		before[chain.name] = chain.rules
	}
	for _, chain := range desired.chains {
		if rules, exists := before[chain.name]; !exists || !slices.Equal(rules, chain.rules) {
			c.replaced = append(c.replaced, chain)
			c.emptied += len(rules)
		}
		delete(before, chain.name)
	}
	for _, chain := range old.chains {
		if _, remains := before[chain.name]; remains {
			c.removed = append(c.removed, chain.name)
			c.emptied += len(chain.rules)
		}
	}
	c.addEntries(old.entries, desired.entries)
}

func (c *change) addEntries(old, desired []entry) {
	if slices.Equal(old, desired) {
		return
	}
	before, after := groups(old), groups(desired)
	for _, e := range desired {
		if !slices.Equal(before[e.entryGroup], after[e.entryGroup]) {
			c.added = append(c.added, e)
		}
	}
	for _, e := range old {
		switch rules := after[e.entryGroup]; {
		case len(rules) == 0:
			c.last = append(c.last, e)
		case !slices.Equal(before[e.entryGroup], rules):
			c.deleted = append(c.deleted, e)
		}
	}
}

// groups returns the rules of each group.
func groups(entries []entry) map[entryGroup][]string {
	all := make(map[entryGroup][]string, len(entries))
	for _, e := range entries {
		all[e.entryGroup] = append(all[e.entryGroup], e.rule)
	}
	return all
}

// write writes the change. Rules of the filter table that refuse connections are added before the
// nat table stops to send them to endpoints, and deleted after it begins to.
func (c *change) write(in *restoreInput, s *static) {
	writeEntries(in, s, tableFilter, c.deleted, c.added)
	c.writeNAT(in, s)
	writeEntries(in, s, tableFilter, c.last, nil)
}

// writeEntries writes the changes of a table's entries.
func writeEntries(in *restoreInput, s *static, table string, deleted, added []entry) {
	other := func(e entry) bool { return e.table != table }
	if !slices.ContainsFunc(deleted, func(e entry) bool { return !other(e) }) && !slices.ContainsFunc(added, func(e entry) bool { return !other(e) }) {
		return
	}
	in.begin(table)
	deleteEntries(in, table, deleted)
	addEntries(in, s, table, added)
	in.commit()
}

func deleteEntries(in *restoreInput, table string, deleted []entry) {
	for _, e := range deleted {
		if e.table == table {
			in.deleteRule(e.chain, e.rule)
		}
	}
}

// addEntries adds entries behind the first static rules of their chains: in reverse order, because
// each one comes before the previous one.
func addEntries(in *restoreInput, s *static, table string, added []entry) {
	for _, e := range slices.Backward(added) {
		if e.table == table {
			in.insert(e.chain, len(s.chain(table, e.chain).before)+1, e.rule)
		}
	}
}

// writeNAT writes the changes of the nat table.
func (c *change) writeNAT(in *restoreInput, s *static) {
	start := in.Len()
	in.begin(tableNAT)
	begun := in.Len()
	for _, chain := range c.replaced {
		in.declare(chain.name)
	}
	for _, name := range c.removed {
		in.declare(name) // empties it
	}
	deleteEntries(in, tableNAT, c.deleted)
	deleteEntries(in, tableNAT, c.last)
	for _, chain := range c.replaced {
		for _, rule := range chain.rules {
			in.append(chain.name, rule)
		}
	}
	addEntries(in, s, tableNAT, c.added)
	for _, name := range c.removed {
		in.deleteChain(name)
	}
	if in.Len() == begun {
		in.Truncate(start)
		return
	}
	in.commit()
}
