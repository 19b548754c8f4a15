// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/backendtest"
	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/internal/umltest"
	"sigs.k8s.io/kpng/backends/ipvs"
	"sigs.k8s.io/kpng/localsink"
)

// ipvsEnv is the pattern of the behaviours that TestConformanceIPVS checks, as of -run; all checks
// all behaviours.
const ipvsEnv = "KPNG_IPVS_BEHAVIOURS"

// TestConformanceIPVS runs itself on a kernel in user mode, whatever that of the machine has.
func TestConformanceIPVS(t *testing.T) {
	if umltest.Inside() {
		checkIPVS(t)
		return
	}
	repository, err := filepath.Abs("../..")
	require.NoError(t, err)
	guest := umltest.Guest{
		Flags:   []string{"-test.v", "-test.parallel=1", "-test.run=^TestConformanceIPVS$/.*/" + cmp.Or(os.Getenv(ipvsEnv), quickIPVS)},
		Modules: []string{"ipv6", "ip_vs", "nf_conntrack", "nf_conntrack_netlink", "veth", "dummy"}, // not sctp: the kit has its own
		Env:     []string{"UPDATE_CONFORMANCE=" + os.Getenv("UPDATE_CONFORMANCE")},
		Memory:  1024, TimeLimit: 40 * time.Minute,
	}
	if os.Getenv("UPDATE_CONFORMANCE") == "1" {
		guest.Writable = repository
	}
	umltest.Run(t, guest)
}

// quickIPVS are behaviours that take about a minute in user mode.
const quickIPVS = "^(DP-01|DP-22|SEL-11|OP-16)$"

func checkIPVS(t *testing.T) {
	report := backendtest.Run(t, backendtest.Backend{
		Name: "ipvs and conntrack",
		New: func(context.Context, backendtest.Namespace) (localsink.Sink, error) {
			servers, err := ipvs.New(ipvs.Config{IPTables: "legacy"})
			if err != nil {
				return nil, err
			}
			flows, err := conntrack.New(conntrack.Config{})
			return localsink.Chain(servers, flows), err
		},
		AffinityPerFrontend: true, // persistence of IPVS belongs to a virtual server
		Exceptions:          ipvsExceptions(),
		Drift:               func() error { return exec.Command("ipvsadm", "-C").Run() },
		TimeLimits: backendtest.TimeLimits{
			Answer: 30 * time.Second, Refusal: 15 * time.Second, Silence: 1500 * time.Millisecond, Sync: 5 * time.Minute,
		},
	})
	t.Log(report.Text())
	checkTable(t, "ipvs", report)
}

// ipvsExceptions are properties of the kernel's IPVS.
func ipvsExceptions() map[string]string {
	const kept = "affinity lasts while the kernel keeps connections of the client"
	const tooLarge = "EMSGSIZE for the first datagram that exceeds the packet size of the endpoint's interface, from a process on the node"
	return map[string]string{
		"DP-41": kept, "DP-44": kept,
		"large-messages IPv4 UDP": tooLarge, "large-messages IPv6 UDP": tooLarge,
		"large-messages IPv4 SCTP": tooLarge, "large-messages IPv6 SCTP": tooLarge,
	}
}
