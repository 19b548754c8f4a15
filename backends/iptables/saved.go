// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bufio"
	"bytes"
	"strings"
)

// A savedTable is what a load needs to know about the present content of a table.
type savedTable struct {
	chains []string // those of users
	jumps  []jump   // from chains of the kernel to static chains of the backend or kube-proxy
	rules  int      // in user chains with the prefix of Kubernetes
}

// isStaticChain reports whether a chain, other than those of single Services, is the backend's or
// was created by kube-proxy or for both.
func isStaticChain(name string) bool {
	switch name {
	case chainServices, chainNodePorts, chainPostrouting, chainForward, chainFirewall, chainProxyFirewall, chainExternalServices:
		return true
	}
	return false
}

// parseSaved parses the output of iptables-save for one table.
func parseSaved(table string, output []byte) (*savedTable, error) {
	t := &savedTable{}
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, ":"):
			if name, rest, _ := strings.Cut(line[1:], " "); strings.HasPrefix(rest, "- ") {
				t.chains = append(t.chains, name)
			}
		case strings.HasPrefix(line, "-A "):
			t.addRule(table, line)
		}
	}
	return t, lines.Err()
}

func (t *savedTable) addRule(table, line string) {
	chain, rule, _ := strings.Cut(strings.TrimPrefix(line, "-A "), " ")
	if strings.HasPrefix(chain, "KUBE-") {
		t.rules++
		return
	}
	if j := (jump{table, chain, rule}); strings.Contains(rule, "-j ") && isKernelChain(chain) && isStaticChain(j.target()) {
		t.jumps = append(t.jumps, j)
	}
}

// isKernelChain reports whether a chain exists without any user.
func isKernelChain(name string) bool {
	switch name {
	case hookPrerouting, hookInput, hookForward, hookOutput, hookPostrouting:
		return true
	}
	return false
}
