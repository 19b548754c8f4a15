// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A difference is something that another proxy is known to do otherwise. It changes
// what probes of that proxy must see, so one that does not occur fails as much as one
// that is not listed. docs/semantics.md has a row for each.
type difference struct {
	// id is that of its row.
	id string
	// probes is a regular expression for titles of probes, see [probe.title].
	probes string
	// sees is what these probes see instead, in the words of probes.
	sees string
	why  string
}

// differing applies the first difference that is about the probe.
func differing(p probe, differences []difference) probe {
	for _, d := range differences {
		if regexp.MustCompile(d.probes).MatchString(p.title()) {
			p.want, p.one, p.source, p.difference = nil, false, "", d.id
			p.expect(strings.Fields(d.sees))
			return p
		}
	}
	return p
}

// iptablesDifferences are those of kube-proxy's iptables mode.
func iptablesDifferences() []difference {
	return []difference{
		{
			id: "DP-02", sees: "timeout",
			probes: `^undefined port and protocol are refused, |` +
				`^a port is renamed, step 4: \S+ \S+:80/|` +
				`^ports are added and removed, (step 1: \S+ \S+:81/|step 3: \S+ \S+:80/)|` +
				`^one of two protocols is removed, step 2: \S+ \S+/udp|` +
				`^should serve endpoints on same port and different protocol for .*, (step 2: \S+ mixed/cluster\S+/udp|step 3: \S+ mixed/cluster\S+/tcp)`,
			why: "the packet for a port that the Service does not have goes on to wherever cluster IPs are routed",
		},
		{
			id: "SEL-21", sees: "timeout",
			probes: `^(no|unready) endpoints are refused, step 1: node \S+/(external|lb)`,
			why:    "the chain that refuses is not in the path of packets from the node itself",
		},
		{
			id: "IN-81", sees: "pod1",
			probes: `^node ports answer on the primary addresses only, step 1: \S+ primary/inner`,
			why:    "node ports answer on all addresses of the node unless told otherwise",
		},
		{
			id: "DP-60", sees: "pod1",
			probes: `^node ports answer on the primary addresses only, step 1: node primary/loop4`,
			why:    "node ports answer on IPv4 loopback addresses, at the price of route_localnet",
		},
	}
}

// TestComparisonFindsOut: a difference must be listed, and what is listed must differ.
func TestComparisonFindsOut(t *testing.T) {
	at := func(from, got, difference string) result {
		return result{probe: probe{from: from, kind: "cluster", proto: "tcp", difference: difference}, got: got}
	}
	ours := []result{at("a", "refused", ""), at("b", "refused", ""), at("c", "refused", ""), at("d", "refused", ""), at("e", "refused", "")}
	theirs := []result{at("a", "refused", ""), at("b", "timeout", "X"), at("c", "timeout", ""), at("d", "refused", "X"), at("f", "refused", "")}
	c := comparison{seen: map[string]int{}}
	c.run(ours, theirs)
	require.Len(t, c.right, 1)
	require.Contains(t, c.right[0], " b ")
	require.Equal(t, map[string]int{"X": 1}, c.seen)
	require.Len(t, c.wrong, 4)
	for i, from := range []string{" c ", " d ", " e ", " f "} {
		require.Contains(t, c.wrong[i], from)
	}
}

// TestDifferingProbes: a difference changes what is wanted of the probes that it is
// about.
func TestDifferingProbes(t *testing.T) {
	probes, err := parseProbes("node loop4:80/tcp = refused\nnode loop6:80/tcp = refused", "primary")
	require.NoError(t, err)
	for i, want := range []string{"pod1:8080", "refused"} {
		p := probes[i]
		p.caseName, p.step = "node ports answer on the primary addresses only", "1"
		require.Equal(t, []string{want}, differing(p, iptablesDifferences()).want)
		require.Equal(t, []string{"refused"}, differing(p, nil).want)
	}
}
