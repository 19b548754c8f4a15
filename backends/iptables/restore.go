// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bytes"
	"strconv"
)

// A restoreInput is the input of iptables-restore.
type restoreInput struct {
	bytes.Buffer

	counts map[string]*ruleCount // by table
	table  *ruleCount            // of the present table
}

// A ruleCount is the number of rules of one table in a restoreInput.
type ruleCount struct{ appended, inserted, deleted int }

func (c *ruleCount) written() int { return c.appended + c.inserted }

// line adds a line of words.
func (in *restoreInput) line(words ...string) {
	for i, w := range words {
		if i > 0 {
			in.WriteByte(' ')
		}
		in.WriteString(w)
	}
	in.WriteByte('\n')
}

// begin begins the changes of a table, which iptables-restore applies all or none.
func (in *restoreInput) begin(table string) {
	in.line("*" + table)
	if in.counts[table] == nil {
		if in.counts == nil {
			in.counts = map[string]*ruleCount{}
		}
		in.counts[table] = &ruleCount{}
	}
	in.table = in.counts[table]
}

func (in *restoreInput) commit() { in.line("COMMIT") }

// declare creates a chain, or empties it.
func (in *restoreInput) declare(chain string) { in.line(":"+chain, "- [0:0]") }

func (in *restoreInput) append(chain, rule string) {
	in.line("-A", chain, rule)
	in.table.appended++
}

// insert adds a rule at a position, from 1.
func (in *restoreInput) insert(chain string, position int, rule string) {
	in.line("-I", chain, strconv.Itoa(position), rule)
	in.table.inserted++
}

func (in *restoreInput) deleteRule(chain, rule string) {
	in.line("-D", chain, rule)
	in.table.deleted++
}

func (in *restoreInput) deleteChain(chain string) { in.line("-X", chain) }
