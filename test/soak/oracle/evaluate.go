// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxDepth is the maximum number of nested jumps; the kernel permits 16.
const maxDepth = 16

// A verdict is the end of a packet's way through a chain.
type verdict string

const (
	verdictContinue verdict = "" // the calling chain continues
	verdictAccept   verdict = "accept"
	verdictDrop     verdict = outcomeDrop
	verdictReject   verdict = outcomeReject
	verdictDNAT     verdict = "dnat"
	verdictSNAT     verdict = "masquerade"
)

// errNoMatch ends a rule whose condition does not hold.
var errNoMatch = errors.New("no match")

// A packet is the first packet of a connection on its way through a table.
type packet struct {
	table          *table
	local          []netip.Addr // addresses of the node
	source         netip.Addr
	to             destination
	mark, priority uint64
	translated     bool // after DNAT
	endpoint       netip.AddrPort
	affinity       time.Duration
	// entries has the elements that the packet has added to maps, by map.
	entries map[string]uint64

	// choices has the random numbers of this way, and limits how many there are for each.
	choices, limits []int
	chosen          int
}

// outcome returns what the rules do with a probe, over all random numbers.
func (r *Ruleset) outcome(node *Node, d destination, c client) (string, error) {
	t := r.tables["ip"]
	if d.addr.Addr().Is6() {
		t = r.tables["ip6"]
	}
	if t == nil {
		return outcomeNone, nil
	}
	hook := "prerouting"
	if slices.Contains(node.Addrs, c.addr) {
		hook = "output"
	}
	endpoints, masquerade := map[netip.AddrPort]bool{}, map[bool]bool{}
	affinity := time.Duration(0)
	others := map[string]bool{}
	for choices := []int{}; choices != nil; {
		p := &packet{table: t, local: node.Addrs, source: c.addr, to: d, entries: map[string]uint64{}, choices: choices}
		v, err := p.hook(hook)
		if err != nil {
			return "", fmt.Errorf("%v from %s: %w", d, c.addr, err)
		}
		switch v {
		case verdictDNAT:
			endpoints[p.endpoint], affinity = true, p.affinity
			after, err := p.afterDNAT()
			if err != nil {
				return "", fmt.Errorf("%v from %s: %w", d, c.addr, err)
			}
			masquerade[after == verdictSNAT] = true
		case verdictAccept, verdictContinue:
			others[outcomeNone] = true
		default:
			others[string(v)] = true
		}
		choices = p.nextChoices()
	}
	if len(masquerade) > 1 {
		others["masqueraded to some endpoints"] = true
	}
	words := slices.Sorted(maps.Keys(others))
	if len(endpoints) > 0 {
		words = append(words, reached(slices.Collect(maps.Keys(endpoints)), masquerade[true], affinity))
	}
	return strings.Join(words, " or "), nil
}

// nextChoices returns the random numbers of the next way, nil after the last.
func (p *packet) nextChoices() []int {
	next := slices.Concat(p.choices, make([]int, len(p.limits)))[:len(p.limits)]
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] < p.limits[i] {
			return next[:i+1]
		}
	}
	return nil
}

// random returns a number below limit.
func (p *packet) random(limit int) uint64 {
	choice := 0
	if p.chosen < len(p.choices) {
		choice = p.choices[p.chosen]
	}
	p.limits = append(p.limits, limit)
	p.chosen++
	return uint64(choice)
}

// masqueradesItself reports whether a connection from an endpoint to itself is masqueraded.
func (r *Ruleset) masqueradesItself(addr netip.Addr) (bool, error) {
	t := r.tables["ip"]
	if addr.Is6() {
		t = r.tables["ip6"]
	}
	if t == nil {
		return false, nil
	}
	p := &packet{table: t, source: addr, to: destination{netip.AddrPortFrom(addr, 1), "TCP"}, translated: true}
	v, err := p.hook("postrouting")
	return v == verdictSNAT, err
}

// afterDNAT returns the verdict of the hook postrouting.
func (p *packet) afterDNAT() (verdict, error) {
	p.to.addr, p.translated = p.endpoint, true
	return p.hook("postrouting")
}

// hook runs the base chains of a hook, until one translates or ends the packet.
func (p *packet) hook(name string) (verdict, error) {
	for _, c := range p.table.base(name) {
		v, err := p.run(c, 0)
		if err != nil || v != verdictContinue && v != verdictAccept {
			return v, err
		}
	}
	return verdictAccept, nil
}

func (p *packet) run(c *chain, depth int) (verdict, error) {
	if depth > maxDepth {
		return "", fmt.Errorf("more than %d nested jumps", maxDepth)
	}
	for _, rule := range c.rules {
		v, ends, err := p.rule(rule, depth)
		if ends || err != nil {
			return v, err
		}
	}
	return verdictContinue, nil
}

// rule applies a rule. ends reports whether the chain ends.
func (p *packet) rule(statements []any, depth int) (v verdict, ends bool, err error) {
	for _, s := range statements {
		v, ends, err = p.statement(s, depth)
		if errors.Is(err, errNoMatch) {
			return verdictContinue, false, nil
		}
		if ends || err != nil {
			return v, ends, err
		}
	}
	return verdictContinue, false, nil
}

// statement executes a statement of a rule.
func (p *packet) statement(s any, depth int) (v verdict, ends bool, err error) {
	if text, isText := s.(string); isText {
		return verdictContinue, false, p.changeEntry(text)
	}
	for name, body := range s.(map[string]any) { //nolint:forcetypeassert // of nft's JSON; there is one name
		switch name {
		case "match":
			return verdictContinue, false, p.match(body)
		case "mangle":
			return verdictContinue, false, p.mangle(body)
		case "vmap":
			data, err := p.lookUp(field(body, "key"), field(body, "data"))
			if err != nil {
				return "", true, err
			}
			return p.statement(data, depth)
		case "jump", "goto":
			next := p.table.chains[fmt.Sprint(field(body, "target"))]
			if next == nil {
				return "", true, fmt.Errorf("chain %v does not exist", field(body, "target"))
			}
			v, err := p.run(next, depth+1)
			return v, name == "goto" || v != verdictContinue, err
		case "return":
			return verdictContinue, true, nil
		case "accept":
			return verdictAccept, true, nil
		case "drop":
			return verdictDrop, true, nil
		case "reject":
			return verdictReject, true, nil
		case "masquerade":
			return verdictSNAT, true, nil
		case "dnat":
			return verdictDNAT, true, p.dnat(body)
		}
		return "", true, fmt.Errorf("unknown statement %q", name)
	}
	return verdictContinue, false, nil
}

// changeEntry executes a statement that changes an affinity entry. nft 1.0.6 has no JSON for it.
func (p *packet) changeEntry(text string) error {
	m := regexp.MustCompile(`^(update|delete) @(\S+) \{ ip6? saddr : (?:numgen random mod (\d+)|(meta priority)) \}$`).FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("unknown statement %q", text)
	}
	if m[1] == "delete" {
		delete(p.entries, m[2])
		return nil
	}
	s := p.table.sets[m[2]]
	if s == nil {
		return fmt.Errorf("map %s does not exist", m[2])
	}
	value := p.priority
	if m[4] == "" {
		limit := 0
		if _, err := fmt.Sscan(m[3], &limit); err != nil {
			return err
		}
		value = p.random(limit)
	}
	p.affinity = s.timeout
	if _, found := p.entries[m[2]]; !found {
		p.entries[m[2]] = value
	}
	return nil
}
