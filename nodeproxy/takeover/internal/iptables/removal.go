// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package iptables removes chains from the tables of iptables, of both variants: those of
// iptables-nft, which are nf_tables tables, and those of iptables-legacy, which the kernel's
// ip_tables holds. It uses the kernel's interfaces and runs no command, so it works where no
// iptables binary is installed. Rules and chains other than the removed ones keep their
// order, their content and their counters.
//
//   - removal.go decides what an edit of a table removes.
//   - nft.go applies it to iptables-nft.
//   - blob.go applies it to the binary form of a legacy table, socket_linux.go exchanges
//     that form with the kernel, lock_linux.go has the lock of the iptables commands.
package iptables

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
)

// The variants of iptables.
const (
	VariantNFT    = "nft"
	VariantLegacy = "legacy"
)

// Remover decides which chains are removed. Its functions receive the name of the table:
// nat, filter or mangle.
type Remover struct {
	// Owns reports whether a chain is to be removed. It also receives the variant and the
	// names of all chains of its three tables.
	Owns func(variant, table, chain string, all Names) bool
	// KeepsRules reports whether a chain that cannot be removed, because other rules use
	// it, keeps its own rules. Without it, the chain becomes empty.
	KeepsRules func(table, chain string) bool
	// Logger receives warnings; it must not be nil.
	Logger *slog.Logger
}

// Names are the names of chains by table.
type Names map[string][]string

// Has reports whether any of the tables has the chain.
func (n Names) Has(chain string) bool {
	for _, chains := range n {
		if slices.Contains(chains, chain) {
			return true
		}
	}
	return false
}

// A Result is what a removal did.
type Result struct {
	// Chains is the number of deleted chains, Rules that of deleted rules in other chains.
	Chains, Rules int
	// Kept lists the chains that other rules use, and which could therefore not be deleted.
	Kept []string
}

func (r *Result) add(other Result) {
	r.Chains += other.Chains
	r.Rules += other.Rules
	r.Kept = append(r.Kept, other.Kept...)
}

// tables are the tables in which chains are searched.
func tables() []string { return []string{"nat", "filter", "mangle"} }

// A chain is a chain of either variant. The targets of a rule are the chains it jumps to.
type chain struct {
	name    string
	builtin bool
	targets [][]string // by rule
}

// An edit is what to remove from a table.
type edit struct {
	rules         map[string][]int // indexes of rules by chain
	flush, delete []string
}

func (e *edit) empty() bool { return len(e.rules)+len(e.flush)+len(e.delete) == 0 }

// newEdit returns the edit of one table: owned chains are deleted, with all rules of
// built-in chains that jump to them. An owned chain that a rule of a chain which stays
// refers to, or which is in inUse, cannot be deleted; it loses its rules unless keepsRules.
func newEdit(chains []chain, owns, keepsRules func(name string) bool, inUse map[string]string) (e edit, kept []string) {
	e.rules = map[string][]int{}
	users := maps.Clone(inUse) // chains that stay, by owned chain to which they refer
	if users == nil {
		users = map[string]string{}
	}
	for _, c := range chains {
		if owns(c.name) && !c.builtin {
			continue
		}
		for i, targets := range c.targets {
			owned := slices.ContainsFunc(targets, owns)
			switch {
			case owned && c.builtin:
				e.rules[c.name] = append(e.rules[c.name], i)
			case owned:
				for _, target := range targets {
					users[target] = c.name
				}
			}
		}
	}
	for _, c := range chains {
		switch user, used := users[c.name]; {
		case !owns(c.name) || c.builtin:
		case !used:
			e.delete = append(e.delete, c.name)
		default:
			kept = append(kept, fmt.Sprintf("%s (used by %s)", c.name, user))
			if len(c.targets) > 0 && !keepsRules(c.name) {
				e.flush = append(e.flush, c.name)
			}
		}
	}
	return e, kept
}

// removeFrom removes the owned chains of one table. apply is called with at most one more
// edit for each chain that turns out to be in use.
func (r Remover) removeFrom(isIPv6 bool, variant, table string, all Names, chains []chain, apply func(edit) (inUse string, err error)) (Result, error) {
	owns := func(name string) bool { return r.Owns(variant, table, name, all) }
	keeps := func(name string) bool { return r.KeepsRules(table, name) }
	inUse := map[string]string{}
	for {
		e, kept := newEdit(chains, owns, keeps, inUse)
		result := Result{Chains: len(e.delete)}
		for _, rules := range e.rules {
			result.Rules += len(rules)
		}
		for _, name := range kept {
			result.Kept = append(result.Kept, fmt.Sprintf("%s table %s chain %s", variantName(isIPv6, variant), table, name))
		}
		if e.empty() {
			return result, nil
		}
		busy, err := apply(e)
		if err != nil {
			return Result{}, err
		}
		if busy == "" {
			return result, nil
		}
		inUse[busy] = "a rule or a verdict map"
	}
}

// Remove removes the chains from both variants and both address families, in the network
// namespace of the calling thread. It continues after errors and returns all of them.
func (r Remover) Remove(ctx context.Context) (Result, []error) {
	var total Result
	var errs []error
	for _, isIPv6 := range []bool{false, true} {
		for _, remove := range []func(context.Context, bool) (Result, []error){r.removeNFT, r.removeLegacy} {
			result, failed := remove(ctx, isIPv6)
			total.add(result)
			errs = append(errs, failed...)
		}
	}
	return total, errs
}

// variantName returns the name of the command for a variant, such as ip6tables-legacy.
func variantName(isIPv6 bool, variant string) string {
	if isIPv6 {
		return "ip6tables-" + variant
	}
	return "iptables-" + variant
}
