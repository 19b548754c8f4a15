// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// The names of kube-proxy for the port "p80" of Service ns1/svc1 are those of its tests.
func TestChainsHaveTheNamesOfKubeProxy(t *testing.T) {
	s := service("svc1", localsink.Port{Name: "p80"})
	s.Name.Namespace = "ns1"
	n := newPortNames(s, 0)
	require.Equal(t, "KUBE-SVC-XPGD46QRK7WJZT7O", n.pool(0))
	require.Equal(t, "KUBE-SVL-XPGD46QRK7WJZT7O", n.pool(1))
	require.Equal(t, "KUBE-EXT-XPGD46QRK7WJZT7O", n.external(0))
	require.Equal(t, "KUBE-FW-XPGD46QRK7WJZT7O", n.sources(0))
	require.Equal(t, "KUBE-SEP-SXIVWICOYRO3J4NJ", n.affinityList(endpoints("10.180.0.1:80").Endpoints[0].Addr))
}

func TestNamesOfDifferentPortsDiffer(t *testing.T) {
	seen := map[string]bool{}
	colon := service("a:b", localsink.Port{Name: "c"})
	for _, s := range []*localsink.Service{colon, service("a", localsink.Port{Name: "b:c"}), service("a", localsink.Port{Name: "x"}, localsink.Port{Name: "x"})} {
		for i := range s.Ports {
			name := newPortNames(s, i).pool(0)
			require.False(t, seen[name], "%v port %d", s.Name, i)
			seen[name] = true
		}
	}
}

func TestCommentsCannotEndTheirQuotes(t *testing.T) {
	require.Equal(t, `-m comment --comment "a? -j ? DROP ??"`, comment("a\" -j \\ DROP ä\n"))
	require.Len(t, comment(strings.Repeat("x", 1000)), len(comment(""))+maxComment)
}

func TestVariantInUse(t *testing.T) {
	const (
		hint   = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"
		canary = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n"
		kube   = "*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n"
		rules  = "*nat\n-A PREROUTING -j ACCEPT\n-A OUTPUT -j ACCEPT\nCOMMIT\n"
	)
	for _, tt := range []struct {
		name, legacy, nft string
		want              Variant
	}{
		{"no rules", "", "", VariantAuto},
		{"hint of the kubelet", hint, rules, VariantLegacy},
		{"hint of the kubelet, nft", rules, hint, VariantNFT},
		{"canary of an older kubelet", canary + rules, rules, VariantLegacy},
		{"hint in one, canary in both", canary, canary + hint, VariantNFT},
		{"Services", rules, kube, VariantNFT},
		{"more rules", rules, "", VariantLegacy},
		{"more rules, nft", "", rules, VariantNFT},
		{"equal numbers of rules", rules, rules, VariantAuto},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, variantInUse([]byte(tt.legacy), []byte(tt.nft)))
		})
	}
}

func TestConfigIsValidated(t *testing.T) {
	_, err := Config{Variant: "ebtables", MasqueradeMark: 3, LockTimeout: 1, PollInterval: -1}.withDefaults()
	for _, field := range []string{"Config.Variant", "Config.MasqueradeMark", "Config.LockTimeout", "Config.PollInterval"} {
		require.ErrorContains(t, err, field)
	}
	cfg, err := Config{}.withDefaults()
	require.NoError(t, err)
	require.EqualValues(t, DefaultMasqueradeMark, cfg.MasqueradeMark)
}

func TestJumpsInOrderRemain(t *testing.T) {
	desired := jumps(false)
	kubelet := jump{tableFilter, hookInput, "-j " + chainFirewall}
	var filter []jump
	for _, j := range desired {
		if j.table == tableFilter {
			filter = append(filter, j)
		}
	}
	var in restoreInput
	in.begin(tableFilter)
	in.Reset()
	writeJumps(&in, tableFilter, desired, &savedTable{jumps: append([]jump{kubelet}, filter...)})
	require.Empty(t, in.String())

	filter[0], filter[1] = filter[1], filter[0]
	writeJumps(&in, tableFilter, desired, &savedTable{jumps: append([]jump{kubelet}, filter...)})
	require.Equal(t, 2*len(filter), strings.Count(in.String(), "\n"), "all are deleted and inserted in order")
	require.NotContains(t, in.String(), chainFirewall+"\n-")
}

func TestRefusedLine(t *testing.T) {
	for output, want := range map[string]int{
		"iptables-restore: line 12 failed":                                                 12,
		"iptables-restore v1.8.9 (legacy): unknown option\nError occurred at line: 7\nTry": 7,
		"iptables-nft-restore v1.8.9 (nf_tables): \nline 3: CHAIN_ADD failed (...)":        3,
		"cannot allocate": 0,
	} {
		require.Equal(t, want, refusedLine(output), output)
	}
}

// An entry of a frontend that stays equal must not be written, and those whose order changed must.
func TestOnlyChangedGroupsAreWritten(t *testing.T) {
	group := func(port string) entryGroup {
		return entryGroup{tableFilter, chainExternalServices, endpoints("10.0.0.1:" + port).Endpoints[0].Addr}
	}
	same, ordered, gone, fresh := group("1"), group("2"), group("3"), group("4")
	var c change
	c.addEntries(
		[]entry{{same, "a"}, {ordered, "x"}, {ordered, "y"}, {gone, "g"}},
		[]entry{{same, "a"}, {ordered, "y"}, {ordered, "x"}, {fresh, "f"}},
	)
	require.Equal(t, []entry{{ordered, "y"}, {ordered, "x"}, {fresh, "f"}}, c.added)
	require.Equal(t, []entry{{ordered, "x"}, {ordered, "y"}}, c.deleted)
	require.Equal(t, []entry{{gone, "g"}}, c.last)
}
