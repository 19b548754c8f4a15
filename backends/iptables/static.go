// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// static is everything that does not depend on Services.
type static struct {
	chains []sharedChain
	jumps  []jump
	index  map[sharedName]int // of chains
}

// chain returns a chain of a table.
func (s *static) chain(table, name string) *sharedChain {
	return &s.chains[s.index[sharedName{table, name}]]
}

// newStatic returns what a node needs without Services.
func newStatic(f *family, n *localsink.Node, cfg *Config) *static {
	m := newNodeMatches(f, n, cfg)
	s := &static{jumps: jumps(m.loopback.IsValid()), index: map[sharedName]int{}}
	s.add(tableNAT, chainServices, dispatchRules(f), nodePortJumps(f, n, &m, chainNodePorts))
	for i := range buckets {
		s.add(tableNAT, bucketChain(prefixDispatch, i), nil, nil)
	}
	s.add(tableNAT, chainNodePorts, nil, nil)
	s.add(tableNAT, chainMarkMasq, []string{fmt.Sprintf("-j MARK --set-xmark %#x/%#x", cfg.MasqueradeMark, cfg.MasqueradeMark)}, nil)
	s.add(tableNAT, chainMarkMasqRemote, markMasqRemoteRules(&m), nil)
	s.add(tableNAT, chainHairpin, nil, nil)
	s.add(tableNAT, chainPostrouting, postroutingRules(f, n, &m, cfg), nil)

	s.add(tableFilter, chainProxyFirewall, nil, nodePortJumps(f, n, &m, chainNodePortFirewall))
	s.add(tableFilter, chainExternalServices, nil, nodePortJumps(f, n, &m, chainNodePortVerdicts))
	s.add(tableFilter, chainServices, nil, unusedAddressRules(f, n))
	s.add(tableFilter, chainNodePorts, nil, nil)
	s.add(tableFilter, chainNodePortFirewall, nil, nil)
	s.add(tableFilter, chainNodePortVerdicts, nil, nil)
	s.add(tableFilter, chainClusterIPs, clusterIPRules(f), nil)
	for i := range buckets {
		s.add(tableFilter, bucketChain(prefixClusterIPs, i), nil, nil)
	}
	s.add(tableFilter, chainReject, rejectRules(), nil)
	s.add(tableFilter, chainForward, forwardRules(cfg), nil)
	if m.loopback.IsValid() {
		s.add(tableFilter, chainFirewall, []string{
			"! -s 127.0.0.0/8 -d 127.0.0.0/8 " + comment("block incoming localnet connections") + " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
		}, nil)
	}
	for _, table := range tables() {
		s.add(table, chainCanary, canaryRules(), nil)
	}
	return s
}

// canaryRules are the rules of a chain that no packet reaches. If they are missing, another program
// has removed all rules of the table.
func canaryRules() []string { return []string{"-j RETURN"} }

// tables returns the tables of the backend in the order in which a full load writes them.
func tables() []string { return []string{tableMangle, tableFilter, tableNAT} }

func (s *static) add(table, name string, before, after []string) {
	s.index[sharedName{table, name}] = len(s.chains)
	s.chains = append(s.chains, sharedChain{table: table, name: name, before: before, after: after})
}

// jumps returns the rules in the kernel's chains, in order. They are those of kube-proxy, in
// another order: a packet that is to be refused must not meet KUBE-FORWARD before, which accepts
// packets with the masquerade mark.
func jumps(loopback bool) []jump {
	const newConnections = "-m conntrack --ctstate NEW"
	firewall := join(newConnections, comment("kubernetes load balancer firewall"), "-j", chainProxyFirewall)
	external := join(newConnections, comment("kubernetes externally-visible service portals"), "-j", chainExternalServices)
	services := join(newConnections, comment("kubernetes service portals"), "-j", chainServices)
	portals := join(comment("kubernetes service portals"), "-j", chainServices)
	all := []jump{
		{tableFilter, hookInput, firewall},
		{tableFilter, hookInput, join(comment("kubernetes health check service ports"), "-j", chainNodePorts)},
		{tableFilter, hookInput, external},
		{tableFilter, hookInput, services},
		{tableFilter, hookForward, firewall},
		{tableFilter, hookForward, external},
		{tableFilter, hookForward, services},
		{tableFilter, hookForward, join(comment("kubernetes forwarding rules"), "-j", chainForward)},
		{tableFilter, hookOutput, firewall},
		{tableFilter, hookOutput, external},
		{tableFilter, hookOutput, services},
		{tableNAT, hookPrerouting, portals},
		{tableNAT, hookOutput, portals},
		{tableNAT, hookPostrouting, join(comment("kubernetes postrouting rules"), "-j", chainPostrouting)},
	}
	if loopback {
		all = append(all, jump{tableFilter, hookInput, "-j " + chainFirewall}, jump{tableFilter, hookOutput, "-j " + chainFirewall})
	}
	return all
}

// dispatchRules distributes packets over the dispatch chains.
func dispatchRules(f *family) []string {
	rules := make([]string, buckets)
	for i := range rules {
		rules[i] = join(f.bucketMatch(i), "-j", bucketChain(prefixDispatch, i))
	}
	return rules
}

// nodePortJumps returns rules for packets that no frontend with an exact address matches.
func nodePortJumps(f *family, n *localsink.Node, m *nodeMatches, target string) []string {
	note := comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
	var rules []string
	if m.loopback.IsValid() {
		rules = append(rules, join("-d", host(m.loopback), "-p tcp", note, "-j", target))
	}
	rules = append(rules, join("-d", f.loopback.String(), "-j RETURN"))
	for _, p := range f.networks(n.NodePortAddresses) {
		rules = append(rules, join(inNetwork("-d", p), note, "-m addrtype --dst-type LOCAL -j", target))
	}
	return rules
}

// inNetwork returns the option that matches a network; the network of all addresses needs none.
func inNetwork(option string, p netip.Prefix) string {
	if p.Bits() == 0 {
		return ""
	}
	return option + " " + p.String()
}

// markMasqRemoteRules sets the masquerade mark on packets that do not come from pods of this node.
func markMasqRemoteRules(m *nodeMatches) []string {
	var rules []string
	for _, pods := range m.from(localsink.FromLocalPods) {
		rules = append(rules, join(pods, "-j RETURN"))
	}
	return append(rules, "-j "+chainMarkMasq)
}

func postroutingRules(f *family, n *localsink.Node, m *nodeMatches, cfg *Config) []string {
	mark := fmt.Sprintf("%#x", cfg.MasqueradeMark)
	rules := []string{"-m conntrack --ctstate DNAT -j " + chainHairpin}
	if m.loopback.IsValid() {
		rules = append(rules, join("-s", f.loopback.String(), "-m conntrack --ctstate DNAT --ctorigdst", host(m.loopback), "-j MASQUERADE --random-fully"))
	}
	rules = append(rules,
		"-m mark ! --mark "+mark+"/"+mark+" -j RETURN",
		"-j MARK --set-xmark "+mark+"/0x0",
	)
	for _, p := range f.networks(n.NoMasquerade) {
		rules = append(rules, join(inNetwork("-s", p), "-j RETURN"))
	}
	return append(rules, join(comment("kubernetes service traffic requiring SNAT"), "-j MASQUERADE --random-fully"))
}

// unusedAddressRules refuses packets to cluster IPs that no frontend matches, and drops packets
// to addresses that belong to no Service. Connections with an endpoint skip them.
func unusedAddressRules(f *family, n *localsink.Node) []string {
	rules := []string{"-m conntrack --ctstate DNAT -j RETURN", "-j " + chainClusterIPs}
	for _, p := range f.networks(n.ServiceNetworks) {
		rules = append(rules, join(inNetwork("-d", p), "-m addrtype ! --dst-type LOCAL -j DROP"))
	}
	return rules
}

// rejectRules refuses a packet. Senders of TCP packets over IPv6 get a reset, because the kernel limits
// the rate of ICMPv6 errors, and clients do not give up at the first one.
func rejectRules() []string { return []string{"-p tcp -j REJECT --reject-with tcp-reset", "-j REJECT"} }

func clusterIPRules(f *family) []string {
	rules := make([]string, buckets)
	for i := range rules {
		rules[i] = join(f.bucketMatch(i), "-j", bucketChain(prefixClusterIPs, i))
	}
	return rules
}

func forwardRules(cfg *Config) []string {
	var rules []string
	if !cfg.KeepInvalidPackets {
		rules = append(rules, "-m conntrack --ctstate INVALID -j DROP")
	}
	return append(rules,
		join(comment("kubernetes forwarding rules"), fmt.Sprintf("-m mark --mark %#x/%#x -j ACCEPT", cfg.MasqueradeMark, cfg.MasqueradeMark)),
		join(comment("kubernetes forwarding conntrack rule"), "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"))
}

// equal reports whether both have the same rules.
func (s *static) equal(o *static) bool {
	return slices.Equal(s.jumps, o.jumps) && slices.EqualFunc(s.chains, o.chains, func(a, b sharedChain) bool {
		return a.table == b.table && a.name == b.name && slices.Equal(a.before, b.before) && slices.Equal(a.after, b.after)
	})
}
