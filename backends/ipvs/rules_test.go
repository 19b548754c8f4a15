// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func testTables(t *testing.T, isIPv6 bool) []table {
	t.Helper()
	cfg, err := Config{}.withDefaults()
	require.NoError(t, err)
	return ruleWriter{&cfg, &localsink.Node{
		LocalPods: localsink.PodSources{
			Networks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24"), netip.MustParsePrefix("fd00:244::/64")}, Interface: "cni0", InterfacePrefix: "veth",
		},
		ServiceNetworks: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112")},
		NoMasquerade:    []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}, isIPv6}.tables()
}

// TestRules compares all rules with the golden files.
func TestRules(t *testing.T) {
	for path, isIPv6 := range map[string]bool{"testdata/iptables.txt": false, "testdata/ip6tables.txt": true} {
		got := restoreText(testTables(t, isIPv6), "")
		if os.Getenv("UPDATE_GOLDEN") == "1" {
			require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err, "UPDATE_GOLDEN=1 writes the file")
		require.Equal(t, string(want), got, "if the new text is right, run with UPDATE_GOLDEN=1")
	}
}

func TestPresentJumpsStay(t *testing.T) {
	tables := testTables(t, false)
	all := restoreText(tables, "")
	require.Equal(t, 8, strings.Count(all, "\n-I "))
	saved := "*mangle\n-A INPUT -m set --match-set KPNG-SERVICES dst,dst -j KPNG-MARKS\nCOMMIT\n*nat\n-A OUTPUT -m set --match-set KPNG-SERVICES dst,dst -j KPNG-MARKS\nCOMMIT\n"
	require.Equal(t, 7, strings.Count(restoreText(tables, saved), "\n-I "))
}

func TestRemovedRulesAreThoseThatExist(t *testing.T) {
	tables := testTables(t, false)
	require.Empty(t, removeText(tables, "*nat\n:OTHER - [0:0]\n-A OUTPUT -j OTHER\nCOMMIT\n"))
	require.Equal(t, "*mangle\n:KPNG-UNMARK - [0:0]\n-D INPUT -m set --match-set KPNG-SERVICES dst,dst -j KPNG-MARKS\n-X KPNG-UNMARK\nCOMMIT\n",
		removeText(tables, "# x\n*mangle\n:KPNG-UNMARK - [0:0]\n-A INPUT -m set --match-set KPNG-SERVICES dst,dst -j KPNG-MARKS\nCOMMIT\n*nat\n-A OUTPUT -m set --match-set KPNG-SERVICES dst,dst -j KPNG-MARKS\nCOMMIT\n"))
}
