// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodeports_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodelocal/nodeports"
)

func parse(t *testing.T, entries ...string) nodeports.Selection {
	s, err := nodeports.Parse(entries)
	require.NoError(t, err)
	return s
}

func addrs(list string) (all []netip.Addr) {
	for s := range strings.FieldsSeq(list) {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

// pool has addresses of which each entry below selects some.
const pool = "10.0.0.1 10.1.2.3 192.0.2.1 192.0.2.2 127.0.0.1 127.0.1.1 ::1 2001:db8::1 2001:db8::2 fd00::1 fe80::1"

// TestLawsOfSelections: random entries, addresses of the node and addresses of interfaces.
func TestLawsOfSelections(t *testing.T) {
	entries := strings.Fields("primary localhost all 10.0.0.0/8 192.0.2.0/24 192.0.2.2/32 127.0.0.0/8 0.0.0.0/0 ::/0 2001:db8::/64 ::1/128 fe80::/10")
	random := rand.New(rand.NewPCG(1, 2))
	some := func(all []netip.Addr) []netip.Addr {
		return slices.DeleteFunc(slices.Clone(all), func(netip.Addr) bool { return random.IntN(2) == 0 })
	}
	opened, closed := 0, 0
	for range 5000 {
		chosen := slices.DeleteFunc(slices.Clone(entries), func(string) bool { return random.IntN(4) > 0 })
		s := parse(t, chosen...)
		var nodeIPs []netip.Addr
		for _, ip := range addrs("192.0.2.1 2001:db8::1") {
			if random.IntN(3) > 0 {
				nodeIPs = append(nodeIPs, ip)
			}
		}
		interfaces := some(addrs(pool))
		got := s.Addresses(nodeIPs, interfaces)

		for _, a := range interfaces {
			require.Equal(t, expected(chosen, nodeIPs, a), slices.Contains(got, a), "%q on %v: %v", chosen, nodeIPs, a)
			if slices.Contains(got, a) {
				opened++
			} else {
				closed++
			}
		}
		for _, a := range got {
			require.Contains(t, interfaces, a, "no address that the node does not have")
		}
		require.True(t, slices.IsSortedFunc(got, netip.Addr.Compare))

		shuffled := append(slices.Clone(interfaces), interfaces...)
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		random.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		require.Equal(t, got, parse(t, chosen...).Addresses(nodeIPs, shuffled), "order and duplicates make no difference")
		more := s.Addresses(nodeIPs, append(slices.Clone(interfaces), addrs("192.0.2.77 fd00::77")...))
		for _, a := range got {
			require.Contains(t, more, a, "a further interface takes no address away")
		}
	}
	require.Greater(t, opened, 1000)
	require.Greater(t, closed, 1000)
}

// expected reports whether node ports are served on an address of an interface, computed
// from the definition for one address instead of with lists of networks.
func expected(entries []string, nodeIPs []netip.Addr, a netip.Addr) bool {
	if a.IsLoopback() {
		return false
	}
	selectsFamily, matches := len(entries) == 0, len(entries) == 0 && slices.Contains(nodeIPs, a)
	for _, entry := range entries {
		switch entry {
		case "all":
			return true
		case "primary":
			selectsFamily = true
			matches = matches || slices.Contains(nodeIPs, a)
		case "localhost":
			selectsFamily = true
		default:
			network := netip.MustParsePrefix(entry)
			selectsFamily = selectsFamily || network.Addr().Is4() == a.Is4()
			matches = matches || network.Contains(a)
		}
	}
	return matches || !selectsFamily
}

// TestIN83SelectedAddresses has the rows of kube-proxy's test of addresses, as far as they
// concern interfaces, and the forms in which systems list addresses.
func TestIN83SelectedAddresses(t *testing.T) {
	const host = "10.20.30.51 100.200.201.1 2001:db8::1 ::1 127.0.0.1"
	for _, row := range []struct{ id, entries, nodeIPs, interfaces, want string }{
		{"6.7 NodePortAddresses IN-80 network", "10.20.30.0/24", "", host, "10.20.30.51 2001:db8::1"},
		{"6.7 NodePortAddresses IN-80 single address", "10.20.30.51/32 ::/0", "", host, "10.20.30.51 2001:db8::1"},
		{"6.7 NodePortAddresses IN-82 zero network", "0.0.0.0/0", "", host, "10.20.30.51 100.200.201.1 2001:db8::1"},
		{"6.7 NodePortAddresses IN-82 several, one zero", "0.0.0.0/0 100.200.201.0/24", "", host, "10.20.30.51 100.200.201.1 2001:db8::1"},
		{"6.7 NodePortAddresses IN-82 IPv6 networks", "::1/128 2001:db8::/32", "", host, "10.20.30.51 100.200.201.1 2001:db8::1"},
		{"6.7 NodePortAddresses IN-82 none matches", "10.0.0.0/24 ::1/128", "", host, ""},
		{"6.7 NodePortAddresses IN-84 loopback network", "127.0.0.0/8 ::1/128", "", host + " 127.0.1.1", ""},
		{"IN-81 no entries", "", "100.200.201.1", host, "100.200.201.1"},
		{"IN-82 primary, unknown address", "primary", "", host, ""},
		{"IN-83 primary, address without an interface", "primary", "203.0.113.1", host, ""},
		{"IN-83 no interfaces", "all", "10.20.30.51", "", ""},
		{"IPv4 in IPv6 form", "primary 100.200.0.0/16", "::ffff:10.20.30.51", "::ffff:10.20.30.51 ::ffff:100.200.201.1 10.20.30.51", "10.20.30.51 100.200.201.1"},
		{"link-local address with a zone", "fe80::/10 localhost", "", "fe80::1%eth0 fe80::1%eth1 2001:db8::1", "fe80::1%eth0 fe80::1%eth1"},
	} {
		t.Run(row.id, func(t *testing.T) {
			got := parse(t, strings.Fields(row.entries)...).Addresses(addrs(row.nodeIPs), addrs(row.interfaces))
			require.Equal(t, fmt.Sprint(addrs(row.want)), fmt.Sprint(got))
		})
	}
	require.Equal(t, addrs("192.0.2.1"), nodeports.Selection{}.Addresses(addrs("192.0.2.1"), addrs(host+" 192.0.2.1")), "the zero value is primary")
	require.Empty(t, parse(t).Networks([]netip.Addr{{}}), "an invalid address of the node is none")
}

// TestInvalidEntries expects an error that names the entry.
func TestInvalidEntries(t *testing.T) {
	for entries, want := range map[string]string{
		"primary 10.0.0.0/8 primary": `NodePortAddresses[2]: "primary" is given twice`,
		"10.0.0.0/8 everything":      `NodePortAddresses[1]: "everything" is neither a network nor one of primary, localhost, all`,
		"10.0.0.1":                   `NodePortAddresses[0]: "10.0.0.1" is neither a network nor one of primary, localhost, all`,
	} {
		s, err := nodeports.Parse(strings.Fields(entries))
		require.EqualError(t, err, want)
		require.Zero(t, s)
	}
}

// TestIN84LoopbackNodePorts: node ports are served on the loopback address of a family only
// if a loopback network of that family is listed.
func TestIN84LoopbackNodePorts(t *testing.T) {
	for _, row := range []struct{ entries, want string }{
		{"", ""},
		{"primary", ""},
		{"all", ""},
		{"0.0.0.0/0 ::/0", ""},
		{"localhost", "127.0.0.1 ::1"},
		{"primary localhost", "127.0.0.1 ::1"},
		{"all localhost", "127.0.0.1 ::1"},
		{"127.0.0.0/8", "127.0.0.1"},
		{"0.0.0.0/0 127.0.0.1/32", "127.0.0.1"},
		{"::1/128 10.0.0.0/8", "::1"},
		{"126.0.0.0/7", ""},
	} {
		require.Equal(t, addrs(row.want), parse(t, strings.Fields(row.entries)...).Loopback(), "%q", row.entries)
	}
}
