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

// ipvsModeSets are the IP sets of kube-proxy's ipvs mode by type.
const ipvsModeSets = `hash:ip,port: CLUSTER-IP EXTERNAL-IP EXTERNAL-IP-LOCAL LOAD-BALANCER LOAD-BALANCER-LOCAL LOAD-BALANCER-FW
	NODE-PORT-SCTP-HASH NODE-PORT-LOCAL-SCTP-HASH
bitmap:port: NODE-PORT-TCP NODE-PORT-LOCAL-TCP NODE-PORT-UDP NODE-PORT-LOCAL-UDP HEALTH-CHECK-NODE-PORT
hash:ip,port,ip: LOOP-BACK LOAD-BALANCER-SOURCE-IP
hash:ip,port,net: LOAD-BALANCER-SOURCE-CIDR
hash:ip: IPVS-IPS`

func createIPVSModeSets(t *testing.T) {
	var script strings.Builder
	for line := range strings.Lines(strings.ReplaceAll(ipvsModeSets, "\n\t", " ")) {
		kind, names, _ := strings.Cut(line, ": ")
		for name := range strings.FieldsSeq(names) {
			for _, prefix := range []string{"KUBE-", "KUBE-6-"} {
				options := map[string]string{"KUBE-": " family inet", "KUBE-6-": " family inet6"}[prefix]
				if kind == "bitmap:port" {
					options = " range 0-65535"
				}
				full := prefix + name
				script.WriteString("create " + full[:min(len(full), 31)] + " " + kind + options + "\n")
			}
		}
	}
	command(t, script.String(), "ipset", "restore")
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

	createIPVSModeSets(t)
	run(t, `ip link add kube-ipvs0 type dummy
		ip address add 10.96.0.1/32 dev kube-ipvs0
		ip address add fd00:96::1/128 dev kube-ipvs0 nodad
		ipset add KUBE-NODE-PORT-TCP 30080
		ipset add KUBE-6-NODE-PORT-TCP 30081
		ipset add KUBE-NODE-PORT-UDP 30053
		ipset add KUBE-NODE-PORT-SCTP-HASH 192.0.2.1,sctp:30099
		ipset add KUBE-CLUSTER-IP 10.96.0.1,tcp:443
		ipvsadm -A -t 10.96.0.1:443 -s rr
		ipvsadm -a -t 10.96.0.1:443 -r 10.244.0.5:6443 -m
		ipvsadm -A -u 10.96.0.1:53 -s rr
		ipvsadm -A -t [fd00:96::1]:443 -s rr
		ipvsadm -A -t 192.0.2.1:30080 -s rr
		ipvsadm -A -u 192.0.2.1:30053 -s rr
		ipvsadm -A --sctp-service 192.0.2.1:30099 -s rr
		ipvsadm -A -t [2001:db8::1]:30081 -s rr`)
	command(t, `*nat
:USER - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A USER -m set --match-set KUBE-LOOP-BACK dst,dst,src -j RETURN
COMMIT
`, "iptables-legacy-restore", "--noflush")

	log := cleanup(t)
	require.Contains(t, log, "iptablesChains=2 iptablesRules=1 ipvsServers=7 interfaces=1 ipSets=33")
	require.Contains(t, log, `kept="IP set KUBE-LOOP-BACK"`)
	require.Equal(t, others, command(t, "", "ipvsadm", "-S", "-n"))
	require.NotContains(t, command(t, "", "ip", "link"), "kube-ipvs0")
	require.Equal(t, "KUBE-LOOP-BACK\nKUBE-SRC-ABCDEFGHIJKLMNOP\nother\n", sorted(command(t, "", "ipset", "list", "-n")))
	require.NotContains(t, save(t, "iptables-legacy"), "KUBE-SERVICES")

	run(t, `iptables-legacy -t nat -F USER`)
	require.Contains(t, cleanup(t), "ipSets=1")
	require.Empty(t, cleanup(t))
}

func sorted(text string) string {
	lines := linesWith(text, "")
	return strings.Join(lines, "\n") + "\n"
}
