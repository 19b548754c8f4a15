// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import "slices"

// A load is the complete content of the backend's chains for one family.
type load struct {
	static  *static
	chains  []serviceChain
	entries map[sharedName][]string // rules by chain
}

// A sharedName identifies a chain with entries.
type sharedName struct{ table, chain string }

func newLoad(s *static) *load { return &load{static: s, entries: map[sharedName][]string{}} }

func (l *load) add(r *rendering) {
	l.chains = append(l.chains, r.chains...)
	for _, e := range r.entries {
		name := sharedName{e.table, e.chain}
		l.entries[name] = append(l.entries[name], e.rule)
	}
}

// addHairpins adds the rules for connections of endpoints to themselves.
func (l *load) addHairpins(h hairpins) {
	name := sharedName{tableNAT, chainHairpin}
	for a := range h {
		l.entries[name] = append(l.entries[name], hairpinRule(a))
	}
	slices.Sort(l.entries[name])
}

// write replaces what the tables contain by the load, one table after the other.
func (l *load) write(in *restoreInput, present map[string]*savedTable) {
	for _, table := range tables() {
		in.begin(table)
		l.writeTable(in, table, present[table])
		in.commit()
	}
}

func (l *load) writeTable(in *restoreInput, table string, present *savedTable) {
	var stale []string
	if table == tableNAT {
		stale = l.staleChains(present)
	}
	l.writeContent(in, table)
	for _, name := range stale {
		in.declare(name)
	}
	if table != tableMangle {
		writeJumps(in, table, l.static.jumps, present)
	}
	for _, name := range stale {
		in.deleteChain(name)
	}
}

// writeContent writes the chains of a table with all of their rules.
func (l *load) writeContent(in *restoreInput, table string) {
	for i := range l.static.chains {
		if c := &l.static.chains[i]; c.table == table {
			in.declare(c.name)
		}
	}
	if table == tableNAT {
		for _, c := range l.chains {
			in.declare(c.name)
		}
	}
	for i := range l.static.chains {
		c := &l.static.chains[i]
		if c.table != table {
			continue
		}
		for _, rules := range [][]string{c.before, l.entries[sharedName{table, c.name}], c.after} {
			for _, rule := range rules {
				in.append(c.name, rule)
			}
		}
	}
	if table == tableNAT {
		for _, c := range l.chains {
			for _, rule := range c.rules {
				in.append(c.name, rule)
			}
		}
	}
}

// staleChains returns the present chains of Services that are not part of the load, perhaps of
// kube-proxy.
func (l *load) staleChains(present *savedTable) []string {
	desired := map[string]bool{}
	for i := range l.static.chains {
		desired[l.static.chains[i].name] = true
	}
	for _, c := range l.chains {
		desired[c.name] = true
	}
	var stale []string
	for _, name := range present.chains {
		if isServiceChain(name) && !desired[name] {
			stale = append(stale, name)
		}
	}
	return stale
}

// writeJumps replaces the jumps from chains of the kernel to static chains, unless the present
// ones are the desired ones in order.
func writeJumps(in *restoreInput, table string, desired []jump, present *savedTable) {
	own := slices.DeleteFunc(slices.Clone(desired), func(j jump) bool { return j.table != table })
	// The kubelet has a jump to KUBE-FIREWALL too, which remains unless that chain is in use.
	old := slices.DeleteFunc(slices.Clone(present.jumps), func(p jump) bool {
		return !slices.ContainsFunc(own, func(j jump) bool { return j.target() == p.target() })
	})
	if slices.Equal(old, own) {
		return
	}
	for _, j := range old {
		in.deleteRule(j.from, j.rule)
	}
	for _, j := range slices.Backward(own) {
		in.insert(j.from, 1, j.rule)
	}
}

// chainNames returns the names of all chains of a table.
func (l *load) chainNames(table string) []string {
	var names []string
	for i := range l.static.chains {
		if c := &l.static.chains[i]; c.table == table {
			names = append(names, c.name)
		}
	}
	if table == tableNAT {
		for _, c := range l.chains {
			names = append(names, c.name)
		}
	}
	return names
}
