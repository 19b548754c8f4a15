// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// A hook attaches a base chain to the packet path.
type hook struct {
	number   uint32
	priority int32
}

// Priorities of the base chains. Connections are refused in base chains that run after
// those that find Services; [replacementHooks] explains why.
const (
	priorityDNAT            = -100
	priorityClusterIPsCheck = -90
	prioritySNAT            = 100
)

// A chainSpec is a chain with its rules.
type chainSpec struct {
	name    string
	comment string
	hook    *hook // nil for regular chains
	rules   []rule
}

// staticChains returns the chains that each table has, each after the chains that it
// refers to; mark is the masquerade mark.
func staticChains(f *family, n *nodeMatches, mark uint32) []chainSpec {
	check := clusterIPsCheckRules(f, n)
	return append([]chainSpec{
		{name: chainReject, comment: commentReject, rules: []rule{
			{loadMeta(nfnl.MetaL4proto, word(0)), equal(word(0), []byte{byte(localsink.ProtocolTCP)}), reject(nfnl.RejectTCPReset, 0)},
			{reject(nfnl.RejectICMP, f.unreachable)},
		}},
		{name: chainDrop, comment: commentDrop, rules: []rule{{verdict(nfnl.VerdictDrop, "")}}},
		{name: chainNodePorts, comment: commentNodePorts, rules: []rule{
			verdictLookup(f, matchNodePort, mapFirewallNodePorts),
			verdictLookup(f, matchNodePort, mapServiceNodePorts),
		}},
		{name: chainServices, comment: commentServices, rules: servicesRules(f, n)},
		{name: chainMasquerading, comment: commentMasquerading, rules: masqueradingRules(f, n, mark)},
		{name: chainClusterIPsPrerouting, comment: commentClusterIPCheck, hook: &hook{nfnl.HookPrerouting, priorityClusterIPsCheck}, rules: check},
		{name: chainClusterIPsOutput, comment: commentClusterIPCheck, hook: &hook{nfnl.HookOutput, priorityClusterIPsCheck}, rules: check},
	}, natHooks()...)
}

// natHooks returns the base chains that find Services and masquerade.
func natHooks() []chainSpec {
	return []chainSpec{
		{name: chainPrerouting, comment: commentPrerouting, hook: &hook{nfnl.HookPrerouting, priorityDNAT}, rules: []rule{{jump(chainServices)}}},
		{name: chainOutput, comment: commentOutput, hook: &hook{nfnl.HookOutput, priorityDNAT}, rules: []rule{{jump(chainServices)}}},
		{name: chainPostrouting, comment: commentPostrouting, hook: &hook{nfnl.HookPostrouting, prioritySNAT}, rules: []rule{{jump(chainMasquerading)}}},
	}
}

// replacementHooks returns base chains that must be added to a table before another
// transaction replaces it, so that each packet passes one of the two tables.
//
// The kernel determines the valid generation of the rules separately for each base chain. Of two
// base chains with the same priority, the one of the new table runs first. If the new table
// became valid between the two, a packet would pass neither. The chains returned here run
// before those of the new table: a packet that is too late for them passes the new table.
//
// The same holds for lookups: elements of maps, though not of sets, become invalid together
// with their table, even for a base chain that the packet has entered already. A base chain
// that finds no Service must therefore not refuse the connection. Only base chains that run
// after those of both tables may do so.
func replacementHooks() []chainSpec {
	chains := natHooks()
	for i := range chains {
		chains[i].name += replacementSuffix
		chains[i].comment = commentReplacement
		chains[i].hook.priority--
	}
	return chains
}

// clusterIPsCheckRules refuse connections that no Service accepts. A packet may have missed
// the slot that its load-balancing chain selected, see [tableState.cleanUp]; so the rules
// look for a Service once more first.
func clusterIPsCheckRules(f *family, n *nodeMatches) []rule {
	rules := []rule{{jump(chainServices)}, {loadDaddr(f, word(0)), inSet(setClusterIPs), goTo(chainReject)}}
	for _, p := range n.serviceNetworks {
		r := within(f, f.daddrOffset, p, nfnl.CmpEq)
		rules = append(rules, r.then(addrType(nfnl.FibDaddr, nfnl.CmpNeq)...).then(goTo(chainDrop)))
	}
	return rules
}

func verdictLookup(f *family, k matchKind, set string) rule {
	loads, _ := loadKey(f, k)
	return loads.then(verdictOf(set))
}

func servicesRules(f *family, n *nodeMatches) []rule {
	rules := []rule{verdictLookup(f, matchAddress, mapFirewallIPs), verdictLookup(f, matchAddress, mapServiceIPs)}
	for _, p := range n.nodePortAddrs {
		if f.loopback.Bits() <= p.Bits() && f.loopback.Contains(p.Addr()) {
			continue
		}
		r := within(f, f.daddrOffset, p, nfnl.CmpEq)
		if p.Overlaps(f.loopback) {
			r = r.then(within(f, f.daddrOffset, f.loopback, nfnl.CmpNeq)...)
		}
		rules = append(rules, r.then(isLocal(nfnl.FibDaddr)...).then(jump(chainNodePorts)))
	}
	return rules
}

func masqueradingRules(f *family, n *nodeMatches, mark uint32) []rule {
	zero := native(0)
	rules := []rule{{
		loadStatus(word(0)), bitwise(word(0), native(nfnl.CtStatusDstNAT), zero), notEqual(word(0), zero),
		loadSaddr(f, word(0)), loadDaddr(f, word(f.addrLen/4)), inSet(setHairpinConnections), masquerade,
	}}
	clearMark := rule{
		loadMeta(nfnl.MetaMark, word(0)), bitwise(word(0), native(mark), zero), notEqual(word(0), zero),
		loadMeta(nfnl.MetaMark, word(0)), bitwise(word(0), native(^uint32(0)), native(mark)), setMeta(nfnl.MetaMark, word(0)),
	}
	for _, p := range n.noMasquerade {
		rules = append(rules, within(f, f.saddrOffset, p, nfnl.CmpEq).then(clearMark...).then(verdict(nfnl.VerdictReturn, "")))
	}
	return append(rules, clearMark.then(masquerade))
}
