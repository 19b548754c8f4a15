// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestIPVSIsRemoved runs TestInsideUserModeLinux on a kernel that has IPVS, whatever that of
// the host has: one that is a process, from the Debian package user-mode-linux.
func TestIPVSIsRemoved(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a kernel: skipped with -short")
	}
	for _, tool := range []string{"linux.uml", "ipvsadm", "ipset", "modprobe", "iptables-legacy"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s, which test/tools.sh installs on Debian for amd64: %v", tool, err)
		}
	}
	processor, err := os.ReadFile("/proc/cpuinfo")
	require.NoError(t, err)
	if strings.Contains(string(processor), " amx_tile ") {
		const reason = "Linux 6.1 in user mode does not start on a processor with AMX"
		if os.Getenv("KPNG_REQUIRE_UML") == "1" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir, err := os.Getwd()
	require.NoError(t, err)
	binary := filepath.Join(t.TempDir(), "takeover.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, ".") // the race detector needs more memory
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	uml := exec.CommandContext(ctx, "linux.uml", "mem=256M", "rootfstype=hostfs", "rootflags=/", "ro", "quiet",
		"init="+filepath.Join(dir, "testdata/uml-init.sh"), "TEST_BINARY="+binary, "TEST_DIR="+dir, "con=null", "con0=fd:0,fd:1")
	uml.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err = uml.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
	require.Contains(t, string(out), "--- PASS: TestInsideUserModeLinux")
	require.Contains(t, string(out), "RESULT rc=0")
}

// run runs commands, one a line.
func run(t *testing.T, commands string) {
	t.Helper()
	for line := range strings.Lines(commands) {
		if words := strings.Fields(line); len(words) > 0 {
			command(t, "", words[0], words[1:]...)
		}
	}
}

// loadIPVSMode creates what the real kube-proxy v1.37 created in ipvs mode, for a node with
// the addresses 192.0.2.1 and 2001:db8::1.
func loadIPVSMode(t *testing.T) {
	t.Helper()
	run(t, `ip link add kube-ipvs0 type dummy
		ip address add 10.96.0.1/32 dev kube-ipvs0
		ip address add 10.96.0.2/32 dev kube-ipvs0
		ip address add 10.96.0.3/32 dev kube-ipvs0
		ip address add 203.0.113.5/32 dev kube-ipvs0
		ip address add fd00:96::1/128 dev kube-ipvs0 nodad
		ip address add fd00:96::2/128 dev kube-ipvs0 nodad
		ip address add fd00:96::3/128 dev kube-ipvs0 nodad`)
	command(t, read(t, "testdata/kube-proxy-ipvs-sets.txt"), "ipset", "restore")
	command(t, read(t, "testdata/kube-proxy-ipvs-servers.txt"), "ipvsadm", "-R")
	for _, family := range []string{"iptables", "ip6tables"} {
		command(t, read(t, "testdata/kube-proxy-ipvs-"+family+".txt"), family+"-legacy-restore", "--noflush")
	}
}

// TestInsideUserModeLinux creates what the ipvs mode creates, beside objects of other
// programs, which stay.
func TestInsideUserModeLinux(t *testing.T) {
	if os.Getenv("KPNG_INSIDE_UML") != "1" {
		t.Skip("TestIPVSIsRemoved runs this test")
	}
	require.Empty(t, cleanup(t), "nothing to remove, on a kernel without nf_tables")
	run(t, `ip link add eth9 type dummy
		ip link set eth9 up
		ip address add 192.0.2.1/24 dev eth9
		ip address add 192.0.2.9/24 dev eth9
		ip address add 2001:db8::1/64 dev eth9 nodad
		ipset create other hash:ip
		ipset create KUBE-SRC-ABCDEFGHIJKLMNOP hash:ip
		ipvsadm -A -t 192.0.2.9:6443 -s rr
		ipvsadm -a -t 192.0.2.9:6443 -r 198.51.100.7:6443 -m
		ipvsadm -A -f 7 -s rr
		ipvsadm -A -t 203.0.113.9:30080 -s rr
		ipvsadm -A -u 192.0.2.1:30080 -s rr`)
	others := command(t, "", "ipvsadm", "-S", "-n")

	loadIPVSMode(t)
	run(t, `ipset add KUBE-NODE-PORT-SCTP-HASH 192.0.2.1,sctp:30099
		ipvsadm -A --sctp-service 192.0.2.1:30099 -s rr`)
	command(t, "*nat\n:USER - [0:0]\n-A USER -m set --match-set KUBE-LOOP-BACK dst,dst,src -j RETURN\nCOMMIT\n", "iptables-legacy-restore", "--noflush")

	log := cleanup(t)
	require.Contains(t, log, "iptablesChains=22 iptablesRules=18 ipvsServers=14 interfaces=1 ipSets=33")
	require.Contains(t, log, `kept="IP set KUBE-LOOP-BACK"`)
	require.Equal(t, others, command(t, "", "ipvsadm", "-S", "-n"))
	require.NotContains(t, command(t, "", "ip", "link"), "kube-ipvs0")
	require.Equal(t, "KUBE-LOOP-BACK\nKUBE-SRC-ABCDEFGHIJKLMNOP\nother\n", sorted(command(t, "", "ipset", "list", "-n")))
	require.Equal(t, []string{"[0:0] -A USER -m set --match-set KUBE-LOOP-BACK dst,dst,src -j RETURN"}, linesWith(save(t, "iptables-legacy"), "KUBE-"))
	require.NotContains(t, save(t, "ip6tables-legacy"), "KUBE-")

	run(t, `iptables-legacy -t nat -F USER`)
	require.Contains(t, cleanup(t), "ipSets=1")
	require.Empty(t, cleanup(t))

	loadIPVSMode(t)
	before := command(t, "", "ipvsadm", "-S", "-n")
	require.NoError(t, Cleanup(t.Context(), Config{KeepIPVS: true}))
	require.Equal(t, before, command(t, "", "ipvsadm", "-S", "-n"), "a backend that uses IPVS adopts the virtual servers")
	require.Contains(t, command(t, "", "ip", "link"), "kube-ipvs0")
	require.NotContains(t, command(t, "", "ipset", "list", "-n"), "KUBE-CLUSTER-IP")
	require.NotContains(t, save(t, "iptables-legacy"), "KUBE-")
}

func sorted(text string) string {
	lines := linesWith(text, "")
	return strings.Join(lines, "\n") + "\n"
}
