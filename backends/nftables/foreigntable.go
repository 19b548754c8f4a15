// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import "fmt"

// A ForeignTable is what a table of another program contains, such as a table of
// iptables-nft. A program that removes what another one left reads it with
// [ReadForeignTable].
type ForeignTable struct {
	// IPv6 selects the family ip6 instead of ip.
	IPv6 bool
	Name string
	// Chains are in the order of the kernel; empty if there is no such table.
	Chains []ForeignChain
}

// A ForeignChain is a chain of a [ForeignTable].
type ForeignChain struct {
	Name string
	// Base reports whether packets enter the table at this chain.
	Base  bool
	Rules []ForeignRule
}

// A ForeignRule is a rule of a [ForeignChain].
type ForeignRule struct {
	// Handle is the kernel's number of the rule in its table.
	Handle uint64
	// Targets lists the chains that the rule jumps or goes to. Verdict maps are not
	// considered.
	Targets []string
}

// A ForeignEdit lists what [ForeignTable.Apply] removes.
type ForeignEdit struct {
	// DeleteRules lists rules by chain and handle.
	DeleteRules map[string][]uint64
	// Flush lists the chains that lose all rules, Delete those that are deleted with all
	// rules.
	Flush, Delete []string
}

// A ChainInUseError means that a chain cannot be deleted because something refers to it.
type ChainInUseError struct{ Table, Chain string }

// Error names the chain.
func (e *ChainInUseError) Error() string {
	return fmt.Sprintf("nftables: table %s: chain %s is in use", e.Table, e.Chain)
}
