// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"

	"sigs.k8s.io/kpng/localsink"
)

// A scriptSink is a sink that writes the whole state as an nft script. The kernel applies a
// script completely or not at all, so an error leaves the rules of the last one in place.
type scriptSink struct {
	table string
	// written is what the last successful Sync has written; nil after an error and before
	// the first Sync.
	written *script
}

// Unsupported implements [localsink.FeatureReporter]: Services with session affinity get a
// Problem that names this sink's limit, and are served without it. It is the complement of
// what is supported, so that it contains the features of later versions of the library.
func (*scriptSink) Unsupported() localsink.Features {
	return ^(localsink.FeatureIPv4 | localsink.FeatureIPv6 | localsink.FeatureTCP | localsink.FeatureUDP | localsink.FeatureSCTP |
		localsink.FeatureClusterIP | localsink.FeatureNodePort | localsink.FeatureExternalIP | localsink.FeatureLoadBalancer |
		localsink.FeatureSourceRanges | localsink.FeatureWeights | localsink.FeatureSelectionClient | localsink.FeatureSelectionFlow |
		localsink.FeaturePass | localsink.FeatureRefusedShare | localsink.FeatureNoMasquerade)
}

// Sync replaces the rules. It ignores the delta: its work grows with the number of Services.
func (s *scriptSink) Sync(ctx context.Context, u *localsink.Update) error {
	before := s.written
	if before == nil {
		before = &script{chains: listChains(ctx, s.table)}
	}
	s.written = nil
	after := newScript(u)
	prepare, commit := render(s.table, before, after)
	for _, text := range []string{prepare, commit} {
		cmd := exec.CommandContext(ctx, "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
	}
	s.written = after
	return nil
}

// listChains returns the chains of frontends that an earlier process has left.
func listChains(ctx context.Context, table string) map[string]bool {
	chains := map[string]bool{}
	// It fails if there is no table.
	out, _ := exec.CommandContext(ctx, "nft", "list", "table", "inet", table).Output() //nolint:gosec // the table is a constant
	for _, m := range regexp.MustCompile(`(?m)^\tchain ((?:filter|nat)-[0-9a-f]{16}) `).FindAllSubmatch(out, -1) {
		chains[string(m[1])] = true
	}
	return chains
}

// A script is the content of the table: chains of frontends, and the elements of maps and
// sets by their names.
type script struct {
	node     *localsink.Node
	chains   map[string]bool
	rules    map[string]string // of chains
	elements map[string]map[string]bool
	dispatch map[string]string // the first chains of filter, nat and masquerading
}

// newScript returns the content for an update.
func newScript(u *localsink.Update) *script {
	s := &script{node: u.Node, chains: map[string]bool{}, rules: map[string]string{}, elements: map[string]map[string]bool{}}
	for svc := range u.All.All() {
		for _, port := range svc.Ports {
			for _, frontend := range port.Frontends {
				s.addFrontend(&port, frontend)
			}
		}
	}
	s.dispatch = map[string]string{"filter": s.addDispatch("filter"), "nat": s.addDispatch("nat"), "masquerade": s.addMasquerade()}
	return s
}

// The names of the address families in nft.
const ip4, ip6 = "ip", "ip6"

// familyOf returns the name of the family of addr in nft.
func familyOf(addr netip.Addr) string {
	if addr.Is4() {
		return ip4
	}
	return ip6
}

// addFrontend adds what happens to the connections of one frontend.
func (s *script) addFrontend(port *localsink.Port, frontend localsink.Frontend) {
	family := familyOf(frontend.Addr.Addr())
	protocol := strings.ToLower(port.Protocol.String())
	filter := s.addChain("filter", s.filterRules(port, frontend))
	nat := s.addChain("nat", s.natRules(port, frontend))
	addr, key := frontend.Addr.Addr().String(), fmt.Sprintf("%s . %d", protocol, frontend.Addr.Port())
	if frontend.Kind == localsink.KindNodePort {
		s.addElement("filter-nodeports-"+family, key+" : goto "+filter)
		s.addElement("nat-nodeports-"+family, key+" : goto "+nat)
		return
	}
	s.addElement("filter-services-"+family, addr+" . "+key+" : goto "+filter)
	s.addElement("nat-services-"+family, addr+" . "+key+" : goto "+nat)
	if frontend.Kind == localsink.KindClusterIP {
		s.addElement("cluster-ips-"+family, addr)
	}
}

// addElement adds an element to a map or set.
func (s *script) addElement(name, element string) {
	if s.elements[name] == nil {
		s.elements[name] = map[string]bool{}
	}
	s.elements[name][element] = true
}

// addChain adds a chain named after its rules, unless it exists, and returns its name.
// Frontends with equal rules share a chain.
func (s *script) addChain(prefix, rules string) string {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(rules)) // never fails
	name := fmt.Sprintf("%s-%016x", prefix, hash.Sum64())
	s.chains[name], s.rules[name] = true, rules
	return name
}

// refuse returns the name of a chain that refuses a connection.
func (s *script) refuse() string {
	return s.addChain("filter", "meta l4proto tcp reject with tcp reset\nreject with icmpx port-unreachable\n")
}

// filterRules drops clients outside of the source ranges, and refuses or drops connections
// to an empty pool.
func (s *script) filterRules(port *localsink.Port, frontend localsink.Frontend) string {
	var b strings.Builder
	family := familyOf(frontend.Addr.Addr())
	if frontend.SourceRanges != nil {
		if ranges := networks(frontend.SourceRanges, family); ranges != "" {
			fmt.Fprintf(&b, "%s saddr != { %s } drop\n", family, ranges)
		} else {
			b.WriteString("drop\n")
		}
	}
	for _, route := range frontend.Routes {
		verdict := "return" // to the nat chain, or, with the verdict Pass, to other programs
		switch empty := len(port.Pools[route.Pool].Endpoints) == 0; {
		case empty && route.EmptyVerdict == localsink.VerdictReject:
			verdict = "goto " + s.refuse()
		case empty && route.EmptyVerdict == localsink.VerdictDrop:
			verdict = "drop"
		case !empty && port.RefusedPerMille > 0:
			verdict = fmt.Sprintf("numgen random mod 1000 vmap { 0-%d : goto %s }", port.RefusedPerMille-1, s.refuse())
		}
		for _, match := range s.clients(route.From, family) {
			fmt.Fprintf(&b, "%s%s\n", match, verdict)
			if verdict != "return" {
				fmt.Fprintf(&b, "%sreturn\n", match) // a connection that is not refused
			}
		}
	}
	return b.String()
}

// natRules sends each client to the pool of its route. Marked packets are masqueraded.
func (s *script) natRules(port *localsink.Port, frontend localsink.Frontend) string {
	var b strings.Builder
	family := familyOf(frontend.Addr.Addr())
	for _, route := range frontend.Routes {
		action := "return"
		if endpoints := port.Pools[route.Pool].Endpoints; len(endpoints) > 0 {
			for _, e := range endpoints {
				s.addElement("hairpin-"+family, fmt.Sprintf("%[1]s . %[1]s", e.Addr.Addr()))
			}
			action = fmt.Sprintf("meta l4proto %s dnat %s to %s", strings.ToLower(port.Protocol.String()), family, choice(port.Selection, family, endpoints))
			if route.Masquerade {
				action = "meta mark set meta mark or 0x4000 " + action
			}
		}
		for _, match := range s.clients(route.From, family) {
			fmt.Fprintf(&b, "%s%s\n", match, action)
		}
	}
	return b.String()
}

// clients returns the matches of a set of clients: a packet belongs to it if one matches.
func (s *script) clients(from localsink.From, family string) (matches []string) {
	switch from {
	case localsink.FromThisNode:
		return []string{"fib saddr type local "}
	case localsink.FromLocalPods:
		pods := s.node.LocalPods
		if in := networks(pods.Networks, family); in != "" {
			matches = append(matches, fmt.Sprintf("%s saddr { %s } ", family, in))
		}
		if pods.Interface != "" {
			matches = append(matches, fmt.Sprintf("iifname %q ", pods.Interface))
		}
		if pods.InterfacePrefix != "" {
			matches = append(matches, fmt.Sprintf("iifname %q ", pods.InterfacePrefix+"*"))
		}
		return matches
	case localsink.FromAny:
	}
	return []string{""}
}

// networks returns the elements of an nft set: the networks of one family.
func networks(all []netip.Prefix, family string) string {
	var texts []string
	for _, n := range all {
		if familyOf(n.Addr()) == family {
			texts = append(texts, n.Masked().String())
		}
	}
	return strings.Join(texts, ", ")
}
