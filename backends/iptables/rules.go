// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"net/netip"
	"slices"
	"strings"
)

// The tables of iptables that the backend uses.
const (
	tableFilter = "filter"
	tableNAT    = "nat"
	tableMangle = "mangle" // for the canary only
)

// The chains of the kernel.
const (
	hookPrerouting  = "PREROUTING"
	hookInput       = "INPUT"
	hookForward     = "FORWARD"
	hookOutput      = "OUTPUT"
	hookPostrouting = "POSTROUTING"
)

// A serviceChain is a chain of the nat table that belongs to one Service. A change replaces its
// rules.
type serviceChain struct {
	name  string
	rules []string
}

func (c *serviceChain) add(options ...string) { c.rules = append(c.rules, join(options...)) }

// An entry is a rule of one Service in a chain that all Services share. A change adds or deletes
// single entries.
type entry struct {
	entryGroup
	rule string
}

// An entryGroup identifies entries in one chain whose order matters. That of groups is irrelevant,
// because no two frontends match the same packet.
type entryGroup struct {
	table, chain string
	frontend     netip.AddrPort
}

// A sharedChain is a chain with entries, between rules that do not depend on Services.
type sharedChain struct {
	table, name   string
	before, after []string
}

// A jump is a rule in a chain of the kernel that leads to a chain of the backend.
type jump struct {
	table, from string
	rule        string
}

func (j jump) target() string {
	return j.rule[strings.LastIndex(j.rule, "-j ")+len("-j "):]
}

// join joins the options of a rule that are not empty.
func join(options ...string) string {
	return strings.Join(slices.DeleteFunc(options, func(o string) bool { return o == "" }), " ")
}
