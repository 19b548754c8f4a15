// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"net/netip"
	"strings"

	"sigs.k8s.io/kpng/localsink"
)

// Chains of iptables.
const (
	chainMarks          = "KPNG-MARKS"
	chainMarksPods      = "KPNG-MARKS-PODS"
	chainMarksNode      = "KPNG-MARKS-NODE"
	chainMarksPodOnNode = "KPNG-MARKS-POD-ON-NODE"
	chainUnmark         = "KPNG-UNMARK"
	chainReject         = "KPNG-REJECT"
	chainNetworks       = "KPNG-NETWORKS"
	chainMasquerade     = "KPNG-MASQUERADE"
)

// A table is a table of iptables with the chains of the backend.
type table struct {
	name   string
	chains []chain
	// jumps are the chains of the kernel that lead to chains of the backend.
	jumps []jump
}

type chain struct {
	name  string
	rules []string
}

// A jump has a match with a set. So the number of rules that use the sets shows if another program
// has removed it.
type jump struct{ from, match, to string }

// rule returns the rule without the command, as iptables-save prints it.
func (j jump) rule() string { return j.from + " " + j.match + " -j " + j.to }

// A ruleWriter writes the rules for one address family and node.
type ruleWriter struct {
	cfg    *Config
	node   *localsink.Node
	isIPv6 bool
}

// set returns the name of a set in the family.
func (w ruleWriter) set(s setName) string { return familySet(s, w.isIPv6) }

// familySet returns the name of a set of a family.
func familySet(s setName, isIPv6 bool) string {
	if isIPv6 {
		return strings.Replace(s.String(), "KPNG-", "KPNG-6-", 1)
	}
	return s.String()
}

// inFamily returns the networks of the family.
func (w ruleWriter) inFamily(networks []netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, n := range networks {
		if n.Addr().Is6() == w.isIPv6 {
			all = append(all, n)
		}
	}
	return all
}

// tables returns all rules. Their number depends on the node only.
func (w ruleWriter) tables() []table {
	return []table{w.mangle(), w.filter(), w.nat()}
}

const (
	handled  = "-m ipvs --ipvs -j RETURN" // IPVS has selected the destination already
	notFirst = "-m conntrack ! --ctstate NEW -j RETURN"
)

// mangle applies source ranges and marks the first packets of connections, before IPVS receives
// them. It removes the marks that select virtual servers from packets that leave.
func (w ruleWriter) mangle() table {
	marks := []string{handled, notFirst,
		fmt.Sprintf("-m set --match-set %s dst,dst -m set ! --match-set %s dst,dst,src -j DROP", w.set(setRestricted), w.set(setSources)),
		fmt.Sprintf("-j MARK --set-xmark 0x0/%#x", w.cfg.ServiceMarks), // of other programs
		"-m addrtype --src-type LOCAL -g " + chainMarksNode,
	}
	pods := w.pods()
	for _, match := range pods {
		marks = append(marks, match+" -g "+chainMarksPods)
	}
	node := make([]string, 0, len(pods))
	for _, match := range pods {
		node = append(node, match+" -g "+chainMarksPodOnNode)
	}
	return table{"mangle",
		[]chain{
			{chainMarks, append(marks, w.setMark(setServices)...)},
			{chainMarksPods, w.setMark(setPods)},
			{chainMarksNode, append(node, w.setMark(setNode)...)},
			{chainMarksPodOnNode, w.setMark(setPodsAndNode)},
			{chainUnmark, []string{fmt.Sprintf("%s -m ipvs --ipvs -j MARK --set-xmark 0x0/%#x", w.elsewhere(), w.cfg.ServiceMarks)}},
		},
		[]jump{{"INPUT", w.toFrontend(), chainMarks}, {"OUTPUT", w.toFrontend(), chainMarks}, {"POSTROUTING", w.elsewhere(), chainUnmark}},
	}
}

// toFrontend, toService and elsewhere match packets to frontends, to addresses on the dummy
// interface, and to other addresses.
func (w ruleWriter) toFrontend() string {
	return "-m set --match-set " + w.set(setServices) + " dst,dst"
}
func (w ruleWriter) toService() string { return "-m set --match-set " + w.set(setAddresses) + " dst" }
func (w ruleWriter) elsewhere() string { return "-m set ! --match-set " + w.set(setAddresses) + " dst" }

// setMark returns the rules that set the mark that a set has for the destination, and drop the
// packet if the mark requires that.
func (w ruleWriter) setMark(s setName) []string {
	return []string{
		fmt.Sprintf("-j SET --map-set %s dst,dst --map-mark", w.set(s)),
		fmt.Sprintf("-m mark --mark %#x -j DROP", w.cfg.ServiceMarks),
	}
}

// pods returns the matches of packets from pods of the node.
func (w ruleWriter) pods() []string {
	var matches []string
	pods := &w.node.LocalPods
	for _, network := range w.inFamily(pods.Networks) {
		matches = append(matches, "-s "+network.String())
	}
	if pods.Interface != "" {
		matches = append(matches, "-i "+pods.Interface)
	}
	if pods.InterfacePrefix != "" {
		matches = append(matches, "-i "+pods.InterfacePrefix+"+")
	}
	return matches
}

// filter refuses connections to unused ports of addresses on the dummy interface, and drops those
// to unused addresses of the networks of Services.
func (w ruleWriter) filter() table {
	networks := []string{handled, notFirst}
	for _, network := range w.inFamily(w.node.ServiceNetworks) {
		networks = append(networks, fmt.Sprintf("-d %s %s -m addrtype ! --dst-type LOCAL -j DROP", network, w.elsewhere()))
	}
	return table{"filter",
		[]chain{
			{chainReject, []string{handled, notFirst,
				fmt.Sprintf("-m set --match-set %s dst,dst -j RETURN", w.set(setServices)),
				"-p tcp -j REJECT --reject-with tcp-reset",
				"-p udp -j REJECT",
				"-p sctp -j REJECT",
			}},
			{chainNetworks, networks},
		},
		[]jump{
			{"INPUT", w.toService(), chainReject}, {"OUTPUT", w.toService(), chainReject},
			{"FORWARD", w.elsewhere(), chainNetworks}, {"OUTPUT", w.elsewhere(), chainNetworks},
		},
	}
}

// Programs of the classic packet filter that compare the source address with the destination.
const (
	sourceIsDestination4 = "6,32 0 0 12,7 0 0 0,32 0 0 16,29 0 1 0,6 0 0 65535,6 0 0 0"
	sourceIsDestination6 = "18," +
		"32 0 0 8,7 0 0 0,32 0 0 24,29 0 13 0," +
		"32 0 0 12,7 0 0 0,32 0 0 28,29 0 9 0," +
		"32 0 0 16,7 0 0 0,32 0 0 32,29 0 5 0," +
		"32 0 0 20,7 0 0 0,32 0 0 36,29 0 1 0," +
		"6 0 0 65535,6 0 0 0"
)

// nat masquerades connections that IPVS forwards: to the endpoint that they originate from, of
// processes that have not chosen a source address, and those with the mark.
func (w ruleWriter) nat() table {
	hairpin := sourceIsDestination4
	if w.isIPv6 {
		hairpin = sourceIsDestination6
	}
	rules := []string{
		"-m ipvs ! --ipvs -j RETURN",
		fmt.Sprintf("-m bpf --bytecode %q -j MASQUERADE", hairpin),
		fmt.Sprintf("-m set --match-set %s src -j MASQUERADE", w.set(setAddresses)),
		fmt.Sprintf("-m mark ! --mark %#x/%#x -j RETURN", w.cfg.MasqueradeMark, w.cfg.MasqueradeMark),
		fmt.Sprintf("-j MARK --set-xmark 0x0/%#x", w.cfg.MasqueradeMark),
	}
	for _, network := range w.inFamily(w.node.NoMasquerade) {
		rules = append(rules, fmt.Sprintf("-s %s -j RETURN", network))
	}
	return table{"nat", []chain{{chainMasquerade, append(rules, "-j MASQUERADE")}}, []jump{{"POSTROUTING", w.elsewhere(), chainMasquerade}}}
}

// restoreText returns the input of iptables-restore --noflush that replaces the chains, and adds
// the jumps that the output of iptables-save does not contain.
func restoreText(tables []table, saved string) string {
	present := map[string]bool{}
	current := ""
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "*"); ok {
			current = name
		}
		present[current+" "+line] = true
	}
	var b strings.Builder
	for _, t := range tables {
		fmt.Fprintf(&b, "*%s\n", t.name)
		for _, c := range t.chains {
			fmt.Fprintf(&b, ":%s - [0:0]\n", c.name)
		}
		for _, j := range t.jumps {
			if !present[t.name+" -A "+j.rule()] {
				fmt.Fprintf(&b, "-I %s\n", j.rule())
			}
		}
		for _, c := range t.chains {
			for _, rule := range c.rules {
				fmt.Fprintf(&b, "-A %s %s\n", c.name, rule)
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// removeText returns the input of iptables-restore --noflush that removes the jumps and chains
// that the output of iptables-save contains.
func removeText(tables []table, saved string) string {
	var b strings.Builder
	for _, t := range tables {
		_, section, _ := strings.Cut("\n"+saved, "\n*"+t.name+"\n")
		section, _, _ = strings.Cut(section, "\nCOMMIT")
		var flush, remove strings.Builder
		for _, c := range t.chains {
			if strings.Contains("\n"+section, "\n:"+c.name+" ") {
				fmt.Fprintf(&flush, ":%s - [0:0]\n", c.name)
				fmt.Fprintf(&remove, "-X %s\n", c.name)
			}
		}
		for _, j := range t.jumps {
			if strings.Contains(section+"\n", "\n-A "+j.rule()+"\n") {
				fmt.Fprintf(&flush, "-D %s\n", j.rule())
			}
		}
		if flush.Len() > 0 {
			fmt.Fprintf(&b, "*%s\n%s%sCOMMIT\n", t.name, flush.String(), remove.String())
		}
	}
	return b.String()
}
