// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestStatsCountTheRulesOfTheKernel makes random changes: after each one the numbers of rules are those
// of iptables-save.
func TestStatsCountTheRulesOfTheKernel(t *testing.T) {
	forVariants(t, Config{}, func(t *testing.T, b *backendInNamespace, d *sinktest.Driver) {
		rnd := rand.New(rand.NewPCG(1, 2))
		all := goldenServices()
		for range 15 {
			var some []*localsink.Service
			for _, s := range all {
				if rnd.IntN(3) > 0 {
					some = append(some, s)
				}
			}
			require.NoError(t, d.Sync(t.Context(), sinktest.NewState(some...)))
			saved := savedCounts(savedRules(t, b.ns, b.Variant()))
			for _, f := range b.Stats().Families {
				name := familyName(f.IPv6)
				for _, table := range tables() {
					require.Equal(t, saved[name+" "+table], f.Rules[table], "%s %s", name, table)
					require.LessOrEqual(t, f.LastWritten[table], f.Rules[table])
				}
				require.Zero(t, f.LoadFailures+f.ChangeFailures)
				require.EqualValues(t, 1, f.Loads)
			}
		}
	})
}

// TestStatsOfFailures has a Service whose change is refused, and then the load with it.
func TestStatsOfFailures(t *testing.T) {
	forVariants(t, Config{}, func(t *testing.T, b *backendInNamespace, d *sinktest.Driver) {
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(web("10.0.0.1:80"))))
		refused := *web("10.0.0.2:80")
		refused.Ports = []localsink.Port{refused.Ports[0]}
		refused.Ports[0].Affinity = tooLong
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(&refused)))
		f := b.Stats().Families[0]
		require.False(t, f.IPv6)
		require.EqualValues(t, 1, f.Changes)
		require.EqualValues(t, 1, f.ChangeFailures)
		require.EqualValues(t, 3, f.Loads, "the first one, one with the Service, one without")
		require.EqualValues(t, 1, f.LoadFailures)
		require.Equal(t, savedCounts(savedRules(t, b.ns, b.Variant()))["IPv4 nat"], f.Rules["nat"])
	})
}

func familyName(v6 bool) string {
	if v6 {
		return ipv6().name
	}
	return ipv4().name
}

// savedCounts returns the number of rules in the output of savedRules, by family and table.
func savedCounts(saved string) map[string]int {
	counts, section := map[string]int{}, ""
	for line := range strings.Lines(saved) {
		switch {
		case strings.HasPrefix(line, "-A "):
			counts[section]++
		case line[0] != ':':
			section = strings.TrimSpace(line)
		}
	}
	return counts
}
