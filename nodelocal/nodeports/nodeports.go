// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodeports selects the addresses of a node on which node ports are served, from
// the networks and keywords of kube-proxy's option nodePortAddresses. It is independent of
// Services, of any backend and of the system that it runs on.
//
//	entries ── Parse ──> Selection ── Networks(node IPs) ──────────────> localsink.Node.NodePortAddresses
//	                         ├─────── Addresses(node IPs, interfaces) ─> addresses that serve node ports
//	                         └─────── Loopback() ──────────────────────> localsink.Node.LoopbackNodePorts
package nodeports

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/localsink"
)

// Keywords that [Parse] accepts beside networks.
const (
	// KeywordPrimary selects the addresses of the Node object: one of each family.
	KeywordPrimary = "primary"
	// KeywordLocalhost selects the loopback networks of both families. With it, or with any
	// loopback network, [Selection.Loopback] is not empty. Alone, it disables node ports on
	// all other addresses.
	KeywordLocalhost = "localhost"
	// KeywordAll selects every address.
	KeywordAll = "all"
)

// A Selection is the parsed form of the entries. It is immutable; the zero value is that of
// no entries, which selects as [KeywordPrimary] does.
type Selection struct {
	networks []netip.Prefix
	primary  bool
}

// Parse returns the Selection of a list of networks and keywords. The error names the entry
// as NodePortAddresses[INDEX]: one that is neither a network nor a keyword, or a keyword that
// is given twice.
func Parse(entries []string) (Selection, error) {
	var s Selection
	seen := map[string]bool{}
	for i, entry := range entries {
		keyword := entry == KeywordPrimary || entry == KeywordLocalhost || entry == KeywordAll
		if keyword && seen[entry] {
			return Selection{}, fmt.Errorf("NodePortAddresses[%d]: %q is given twice", i, entry)
		}
		seen[entry] = true
		switch entry {
		case KeywordPrimary:
			s.primary = true
		case KeywordLocalhost:
			s.networks = append(s.networks, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
		case KeywordAll:
			s.networks = append(s.networks, every(true), every(false))
		default:
			p, err := netip.ParsePrefix(entry)
			if err != nil {
				return Selection{}, fmt.Errorf("NodePortAddresses[%d]: %q is neither a network nor one of %s", i, entry,
					strings.Join([]string{KeywordPrimary, KeywordLocalhost, KeywordAll}, ", "))
			}
			s.networks = append(s.networks, p.Masked())
		}
	}
	return s, nil
}

// every returns the network of all addresses of a family.
func every(v4 bool) netip.Prefix {
	if v4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// Networks returns the networks whose addresses serve node ports on a node, IPv4 first,
// sorted and without duplicates. nodeIPs are the addresses of the Node object, at most one of
// each family; only [KeywordPrimary] uses them.
//
// A family that no entry selects is open: the result has the network of all its addresses,
// as in kube-proxy. "primary" selects both families: a family in which the node has no
// address, or no known address, is closed and has no network. kube-proxy opens it.
func (s Selection) Networks(nodeIPs []netip.Addr) []netip.Prefix {
	primary := s.primary || len(s.networks) == 0
	var all []netip.Prefix
	for _, v4 := range []bool{true, false} {
		var family []netip.Prefix
		for _, p := range s.networks {
			if p.Addr().Is4() == v4 {
				family = append(family, p)
			}
		}
		switch {
		case slices.Contains(family, every(v4)) || len(family) == 0 && !primary:
			family = []netip.Prefix{every(v4)}
		case primary:
			for _, ip := range nodeIPs {
				if ip = ip.Unmap(); ip.IsValid() && ip.Is4() == v4 && !ip.IsLoopback() {
					family = append(family, netip.PrefixFrom(ip, ip.BitLen()))
				}
			}
		}
		slices.SortFunc(family, netip.Prefix.Compare)
		all = append(all, slices.Compact(family)...)
	}
	return all
}

// Addresses returns those of the interfaces' addresses that serve node ports, sorted and
// without duplicates: the ones in [Selection.Networks], except loopback addresses, which
// [Selection.Loopback] returns. interfaces are all addresses of the node at this time, as
// [net.InterfaceAddrs] lists them; leave out those of interfaces that must not serve node
// ports.
//
// The result is valid until an address of the node or of an interface changes. A dataplane
// that can match networks needs only Networks, which depends on the node's addresses alone.
func (s Selection) Addresses(nodeIPs, interfaces []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(localsink.AddressesIn(s.Networks(nodeIPs), interfaces), netip.Addr.IsLoopback)
}

// Loopback returns the loopback address of each family that has a loopback network among
// the entries: 127.0.0.1 and ::1. A network that merely contains it, such as 0.0.0.0/0, does
// not count. Only TCP node ports are served on it, see [localsink.Node.LoopbackNodePorts].
func (s Selection) Loopback() []netip.Addr {
	var all []netip.Addr
	for _, a := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		if slices.ContainsFunc(s.networks, func(p netip.Prefix) bool {
			return p.Addr().IsLoopback() && p.Addr().Is4() == a.Is4()
		}) {
			all = append(all, a)
		}
	}
	return all
}
