// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fidelity

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEffectsOnTheNode starts each program with settings that change the process and the kernel, and
// reads them back. Each value is another one than before.
func TestEffectsOnTheNode(t *testing.T) {
	kubeProxy, here := build(t)
	m := newMachine(t)
	theirs, ours := map[string]string{}, map[string]string{}
	for seconds, program := range map[int]struct {
		path  string
		items map[string]string
	}{100: {kubeProxy, theirs}, 200: {here, ours}} {
		conntrack := fmt.Sprintf("conntrack: {maxPerCore: 0, tcpBeLiberal: true, tcpCloseWaitTimeout: %ds, tcpEstablishedTimeout: %ds, "+
			"udpStreamTimeout: %ds, udpTimeout: %dm}", seconds+1, seconds+2, seconds+3, seconds)
		r := m.start(t, program.path, configFile(t, strings.Replace(m.settings(), "conntrack: {maxPerCore: 0}", conntrack, 1)+"oomScoreAdj: 321\n"))
		read := func(path string) string {
			out, err := m.Output(t.Context(), "cat", path)
			require.NoError(t, err)
			return strings.TrimSpace(out)
		}
		program.items["oomScoreAdj"] = read(fmt.Sprintf("/proc/%d/oom_score_adj", r.PID()))
		for name, offset := range map[string]int{"tcp_timeout_close_wait": 1, "tcp_timeout_established": 2, "udp_timeout_stream": 3, "udp_timeout": 59 * seconds} {
			value := read("/proc/sys/net/netfilter/nf_conntrack_" + name)
			if value == fmt.Sprint(seconds+offset) {
				value = "as in the file"
			}
			program.items[name] = value
		}
		program.items["tcp_be_liberal"] = read("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")
		require.NoError(t, r.Kill())
		out, err := m.Output(t.Context(), "sh", "-c", "echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")
		require.NoError(t, err, out)
	}
	require.Equal(t, "321", theirs["oomScoreAdj"])
	require.Equal(t, "1", theirs["tcp_be_liberal"])
	compare(t, effectsTitle, theirs, ours)
}
