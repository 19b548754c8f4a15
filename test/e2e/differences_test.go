// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A difference is a documented deviation of another proxy. It replaces the expected result
// of some probes of that proxy, so both an unlisted difference and a listed one that does
// not occur fail the test. docs/semantics.md has a row for each.
type difference struct {
	// id is the ID of the row.
	id string
	// probes is a regular expression that matches titles of probes, see [probe.title].
	probes string
	// want is the result of these probes, in the format of probes.
	want string
	why  string
}

// withDifference returns the probe with the expected result of the first matching difference.
func withDifference(p probe, differences []difference) probe {
	for _, d := range differences {
		if regexp.MustCompile(d.probes).MatchString(p.title()) {
			p.want, p.one, p.source, p.difference = nil, false, "", d.id
			p.expect(strings.Fields(d.want))
			return p
		}
	}
	return p
}

// iptablesDifferences returns the differences of kube-proxy's iptables mode.
func iptablesDifferences() []difference {
	return append([]difference{
		{
			id: "DP-02", want: "timeout",
			probes: `^undefined port and protocol are refused, |` +
				`^a port is renamed, step 4: \S+ \S+:80/|` +
				`^ports are added and removed, (step 1: \S+ \S+:81/|step 3: \S+ \S+:80/)|` +
				`^one of two protocols is removed, step 2: \S+ \S+/udp|` +
				`^should serve endpoints on same port and different protocol for .*, (step 2: \S+ mixed/cluster\S+/udp|step 3: \S+ mixed/cluster\S+/tcp)`,
			why: "a packet for a port that the Service does not have is routed on as if the cluster IP were a normal destination",
		},
		{
			id: "SEL-21", want: "timeout",
			probes: `^(no|unready) endpoints are refused, step 1: node \S+/(external|lb)`,
			why:    "packets from the node itself do not pass the chain that rejects",
		},
	}, nodePortDifferences("")...)
}

// ipvsDifferences returns the differences of the mode ipvs.
func ipvsDifferences() []difference {
	all := nodePortDifferences("")
	return append(all[:len(all)-1], // without loopback addresses, on which the mode serves no node ports
		difference{
			id: "DP-02", want: "refused",
			probes: `^every address, step 1: client open/external\S+:81/|` +
				`^should be able to change the type and ports of a TCP or UDP service, step 4: client change-all/lb\S+:80/`,
			why: "unused ports of external addresses are refused, because the node has these addresses while a Service does",
		},
		difference{
			id: "large-messages", want: "too-large",
			probes: `^should be able to handle large requests, step 1: node \S+/cluster6\S+/udp`,
			why:    "IPVS returns EMSGSIZE for the first datagram that exceeds the packet size of the endpoint's interface",
		})
}

// nodePortDifferences returns the differences in the addresses that serve node ports by default,
// between the modes iptables and nftables of either program. loopback is the end of the probes of
// loopback addresses: kube-proxy serves all protocols on them, this project's proxy TCP only.
func nodePortDifferences(loopback string) []difference {
	return []difference{
		{
			id: "IN-81", want: "pod1",
			probes: `^node ports answer on the primary addresses only, step 1: \S+ primary/inner`,
			why:    "node ports answer on all addresses of the node by default",
		},
		{
			id: "DP-60", want: "pod1",
			probes: `^node ports answer on the primary addresses only, step 1: node primary/loop4\S*` + loopback,
			why:    "node ports answer on IPv4 loopback addresses, because the mode sets route_localnet",
		},
	}
}

// TestComparisonReportsUnexpectedResults has one probe for each way in which two proxies
// can differ.
func TestComparisonReportsUnexpectedResults(t *testing.T) {
	at := func(from, got, difference string) result {
		return result{probe: probe{from: from, kind: "cluster", proto: "tcp", difference: difference}, got: got}
	}
	ours := []result{at("a", "refused", ""), at("b", "refused", ""), at("c", "refused", ""), at("d", "refused", ""), at("e", "refused", "")}
	theirs := []result{at("a", "refused", ""), at("b", "timeout", "X"), at("c", "timeout", ""), at("d", "refused", "X"), at("f", "refused", "")}
	c := comparison{seen: map[string]int{}}
	c.run(ours, theirs)
	require.Len(t, c.expected, 1)
	require.Contains(t, c.expected[0], " b ")
	require.Equal(t, map[string]int{"X": 1}, c.seen)
	require.Len(t, c.unexpected, 4)
	for i, from := range []string{" c ", " d ", " e ", " f "} {
		require.Contains(t, c.unexpected[i], from)
	}
}

func TestDifferenceReplacesWantOfMatchingProbes(t *testing.T) {
	probes, err := parseProbes("node loop4:80/tcp = refused\nnode loop6:80/tcp = refused", "primary")
	require.NoError(t, err)
	for i, want := range []string{"pod1:8080", "refused"} {
		p := probes[i]
		p.caseName, p.step = "node ports answer on the primary addresses only", "1"
		require.Equal(t, []string{want}, withDifference(p, iptablesDifferences()).want)
		require.Equal(t, []string{"refused"}, withDifference(p, nil).want)
	}
}
