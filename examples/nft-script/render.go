// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// render returns two nft scripts that turn the content before into the content after.
// prepare adds chains, commit uses them: a packet that is on its way while the kernel applies
// a script finds new elements of maps, but no chains and no anonymous sets that are new in
// the same script. Without a known content before, commit replaces all elements.
func render(table string, before, after *script) (prepare, commit string) {
	var add, use strings.Builder
	fmt.Fprintf(&add, "add table inet %s\n", table)
	for _, o := range objects() {
		fmt.Fprintf(&add, "add %s inet %s %s { type %s; }\n", o.kind, table, o.name, o.keys)
		if before.elements == nil {
			fmt.Fprintf(&use, "flush %s inet %s %s\n", o.kind, table, o.name)
		}
		writeElements(&use, "delete", table+" "+o.name, before.elements[o.name], after.elements[o.name])
		writeElements(&use, "add", table+" "+o.name, after.elements[o.name], before.elements[o.name])
	}
	// A chain precedes those that refer to it; only the chain that refuses is referred to.
	fmt.Fprintf(&add, "table inet %s {\n", table)
	for _, chain := range slices.Concat([]string{after.refuse()}, slices.Sorted(maps.Keys(after.chains))) {
		if !before.chains[chain] && after.rules[chain] != "" {
			fmt.Fprintf(&add, "chain %s {\n%s}\n", chain, after.rules[chain])
			after.rules[chain] = ""
		}
	}
	add.WriteString("}\n")
	if !maps.Equal(before.dispatch, after.dispatch) {
		writeHooks(&use, table, after)
	}
	for _, chain := range slices.Sorted(maps.Keys(before.chains)) {
		if !after.chains[chain] {
			fmt.Fprintf(&use, "delete chain inet %s %s\n", table, chain)
		}
	}
	return add.String(), use.String()
}

// writeElements writes a command for the elements that are in a and not in b.
func writeElements(w *strings.Builder, command, object string, a, b map[string]bool) {
	var elements []string
	for e := range a {
		if !b[e] {
			elements = append(elements, e)
		}
	}
	if len(elements) > 0 {
		fmt.Fprintf(w, "%s element inet %s { %s }\n", command, object, strings.Join(elements, ",\n"))
	}
}

// writeHooks writes the chains through which the kernel passes packets.
func writeHooks(w *strings.Builder, table string, s *script) {
	chain := func(name, kind, hook string, priority int, rules string) {
		fmt.Fprintf(w, "add chain inet %[1]s %[2]s { type %[3]s hook %[4]s priority %[5]d; }\nflush chain inet %[1]s %[2]s\n", table, name, kind, hook, priority)
		fmt.Fprintf(w, "table inet %s {\nchain %s {\n%s}\n}\n", table, name, rules)
	}
	for _, hook := range []string{"prerouting", "output"} { // established connections continue
		chain("filter-"+hook, "filter", hook, -110, "ct state != new return\ngoto "+s.dispatch["filter"]+"\n")
		chain("nat-"+hook, "nat", hook, -100, "goto "+s.dispatch["nat"]+"\n")
	}
	chain("postrouting", "nat", "postrouting", 100, "goto "+s.dispatch["masquerade"]+"\n")
}

// An object is a map or set of the table.
type object struct{ kind, name, keys string }

// objects returns the maps and sets of the table.
func objects() (all []object) {
	for family, address := range map[string]string{ip4: "ipv4_addr", ip6: "ipv6_addr"} {
		for _, chain := range []string{"filter", "nat"} {
			all = append(all,
				object{"map", chain + "-services-" + family, address + " . inet_proto . inet_service : verdict"},
				object{"map", chain + "-nodeports-" + family, "inet_proto . inet_service : verdict"})
		}
		all = append(all, object{"set", "cluster-ips-" + family, address}, object{"set", "hairpin-" + family, address + " . " + address})
	}
	return all
}

// addMasquerade adds a chain that masquerades, and returns its name. The mark is that of routes
// that masquerade. A hairpin connection returns to its source, so it has no exception.
func (s *script) addMasquerade() string {
	var b strings.Builder
	for _, family := range []string{ip4, ip6} {
		fmt.Fprintf(&b, "ct status dnat %[1]s saddr . %[1]s daddr @hairpin-%[1]s masquerade\n", family)
		if exceptions := networks(s.node.NoMasquerade, family); exceptions != "" {
			fmt.Fprintf(&b, "%s saddr { %s } return\n", family, exceptions)
		}
	}
	b.WriteString("meta mark & 0x4000 != 0 masquerade fully-random\n")
	return s.addChain("nat", b.String())
}

// addDispatch adds a chain that finds the frontend of a packet, and returns its name. It
// depends on the node only.
func (s *script) addDispatch(kind string) string {
	var b strings.Builder
	for _, family := range []string{ip4, ip6} {
		fmt.Fprintf(&b, "%[2]s daddr . meta l4proto . th dport vmap @%[1]s-services-%[2]s\n", kind, family)
		if nodes := networks(s.node.NodePortAddresses, family); nodes != "" {
			fmt.Fprintf(&b, "%[2]s daddr { %[3]s } %[2]s daddr != %[4]s fib daddr type local meta l4proto . th dport vmap @%[1]s-nodeports-%[2]s\n",
				kind, family, nodes, map[string]string{ip4: "127.0.0.0/8", ip6: "::1"}[family])
		}
		if kind == "filter" {
			fmt.Fprintf(&b, "%[1]s daddr @cluster-ips-%[1]s goto %[2]s\n", family, s.refuse())
			if services := networks(s.node.ServiceNetworks, family); services != "" {
				fmt.Fprintf(&b, "fib daddr type != local %s daddr { %s } drop\n", family, services)
			}
		}
	}
	return s.addChain(kind, b.String())
}
