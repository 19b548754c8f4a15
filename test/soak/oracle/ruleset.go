// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Ruleset holds the tables of one name, of both families.
type Ruleset struct{ tables map[string]*table }

// A table is a table of one address family.
type table struct {
	chains map[string]*chain
	sets   map[string]*set
}

// A chain is a chain with its rules; hook is empty for one that is not a base chain.
type chain struct {
	hook     string
	priority int
	rules    [][]any
}

// A set is a set or map.
type set struct {
	keyTypes, dataTypes []string
	timeout             time.Duration
	elements            map[string]any // data by key; nil for a set
}

// listing is the output of nft.
type listing struct {
	NFTables []struct {
		Chain *listedChain `json:"chain"`
		Rule  *listedRule  `json:"rule"`
		Set   *listedSet   `json:"set"`
		Map   *listedSet   `json:"map"`
	} `json:"nftables"`
}

type listedChain struct {
	Family   string `json:"family"`
	Table    string `json:"table"`
	Name     string `json:"name"`
	Hook     string `json:"hook"`
	Priority int    `json:"prio"`
}

type listedRule struct {
	Family string `json:"family"`
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	Expr   []any  `json:"expr"`
}

type listedSet struct {
	Family  string `json:"family"`
	Table   string `json:"table"`
	Name    string `json:"name"`
	Type    any    `json:"type"`
	Map     any    `json:"map"`
	Timeout int64  `json:"timeout"`
	Elem    []any  `json:"elem"`
}

// ParseRuleset decodes the output of "nft -j list ruleset" and returns the tables of a name.
func ParseRuleset(data []byte, name string) (*Ruleset, error) {
	var l listing
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("output of nft: %w", err)
	}
	r := &Ruleset{tables: map[string]*table{}}
	for _, o := range l.NFTables {
		switch {
		case o.Chain != nil && o.Chain.Table == name:
			r.table(o.Chain.Family).chains[o.Chain.Name] = &chain{hook: o.Chain.Hook, priority: o.Chain.Priority}
		case o.Set != nil && o.Set.Table == name:
			if err := r.addSet(o.Set); err != nil {
				return nil, err
			}
		case o.Map != nil && o.Map.Table == name:
			if err := r.addSet(o.Map); err != nil {
				return nil, err
			}
		}
	}
	for _, o := range l.NFTables {
		if o.Rule == nil || o.Rule.Table != name {
			continue
		}
		c := r.table(o.Rule.Family).chains[o.Rule.Chain]
		if c == nil {
			return nil, fmt.Errorf("output of nft: rule of unknown chain %s", o.Rule.Chain)
		}
		c.rules = append(c.rules, o.Rule.Expr)
	}
	return r, nil
}

func (r *Ruleset) table(family string) *table {
	if r.tables[family] == nil {
		r.tables[family] = &table{chains: map[string]*chain{}, sets: map[string]*set{}}
	}
	return r.tables[family]
}

func (r *Ruleset) addSet(l *listedSet) error {
	s := &set{keyTypes: types(l.Type), dataTypes: types(l.Map), timeout: time.Duration(l.Timeout) * time.Second, elements: map[string]any{}}
	for _, e := range l.Elem {
		var data any
		if pair, isPair := e.([]any); isPair && len(pair) == 2 {
			e, data = pair[0], pair[1]
		}
		text, err := s.key(e)
		if err != nil {
			return fmt.Errorf("set %s: %w", l.Name, err)
		}
		s.elements[text] = data
	}
	r.table(l.Family).sets[l.Name] = s
	return nil
}

func types(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return strings.Split(v, " . ")
	case []any:
		for _, t := range v {
			all = append(all, fmt.Sprint(t))
		}
	}
	return all
}

// key returns the key of an element as text.
func (s *set) key(v any) (string, error) {
	if wrapped := field(v, "elem"); wrapped != nil { // an element with a timeout
		v = field(wrapped, "val")
	}
	values, err := constants(v, s.keyTypes)
	return strings.Join(values, " . "), err
}

// constants returns the text of a constant, or of each part of a concatenation.
func constants(v any, types []string) (texts []string, err error) {
	parts, isConcatenation := field(v, "concat").([]any)
	if !isConcatenation {
		parts = []any{v}
	}
	if len(parts) != len(types) {
		return nil, fmt.Errorf("%v has %d parts, want %d", v, len(parts), len(types))
	}
	for i, p := range parts {
		text, err := constant(p, types[i])
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// constant returns the text of a constant of a type of nft.
func constant(v any, dataType string) (string, error) {
	switch v := v.(type) {
	case float64:
		return strconv.FormatInt(int64(v), 10), nil
	case string:
		switch dataType {
		case "classid":
			return classID(v)
		case "ipv4_addr", "ipv6_addr":
			a, err := netip.ParseAddr(v)
			return a.String(), err
		}
		return v, nil
	}
	return "", fmt.Errorf("%v is not a constant", v)
}

// classID returns the number that nft prints as a packet priority.
func classID(text string) (string, error) {
	switch text {
	case "none":
		return "0", nil
	case "root":
		return "4294967295", nil
	}
	major, minor, found := strings.Cut(text, ":")
	if !found {
		return "", fmt.Errorf("%q is not a packet priority", text)
	}
	high, errHigh := strconv.ParseUint("0"+major, 16, 16)
	low, errLow := strconv.ParseUint("0"+minor, 16, 16)
	return strconv.FormatUint(high<<16|low, 10), errors.Join(errHigh, errLow)
}

// field returns a field of a JSON object, or nil.
func field(v any, name string) any {
	object, _ := v.(map[string]any)
	return object[name]
}

// base returns the base chains of a hook in the order of their priorities.
func (t *table) base(hook string) (all []*chain) {
	for _, c := range t.chains {
		if c.hook == hook {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *chain) int { return a.priority - b.priority })
	return all
}

// destinations returns the destinations in the keys of maps and sets: address, protocol and port, or
// protocol and port, at any address of the node.
func (r *Ruleset) destinations(node *Node) (all []destination, err error) {
	for familyName, t := range r.tables {
		unspecified := "0.0.0.0"
		if familyName == "ip6" {
			unspecified = "::"
		}
		for _, s := range t.sets {
			for key := range s.elements {
				parts := strings.Split(key, " . ")
				if len(parts) >= 2 && s.keyTypes[0] == "inet_proto" {
					parts = append([]string{unspecified}, parts...)
				}
				switch {
				case len(parts) >= 3:
					d, err := parseDestination(parts[0], parts[1], parts[2])
					if err != nil {
						return nil, err
					}
					all = append(all, onNode(d, node)...)
				case len(parts) == 1 && len(s.dataTypes) == 0:
					addr, err := netip.ParseAddr(key)
					if err != nil {
						return nil, err
					}
					all = append(all, unusedPort(addr))
				}
			}
		}
	}
	return all, nil
}

func parseDestination(addr, protocol, port string) (destination, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return destination{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return destination{netip.AddrPortFrom(a, uint16(n)), strings.ToUpper(protocol)}, err
}
