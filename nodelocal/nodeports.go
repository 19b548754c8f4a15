// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Keywords that [Config.NodePortAddresses] accepts beside networks.
const (
	// KeywordPrimary selects the addresses of the Node object: one of each family.
	KeywordPrimary = "primary"
	// KeywordLocalhost selects the loopback networks of both families. With it, or with any
	// loopback network, TCP node ports are served on 127.0.0.1 or ::1 if the sink supports
	// that. Alone, it disables node ports on all other addresses.
	KeywordLocalhost = "localhost"
	// KeywordAll selects every address.
	KeywordAll = "all"
)

// nodePorts is the parsed form of [Config.NodePortAddresses].
type nodePorts struct {
	networks []netip.Prefix
	primary  bool
}

func parseNodePorts(entries []string) (nodePorts, error) {
	var np nodePorts
	if len(entries) == 0 {
		return nodePorts{primary: true}, nil
	}
	seen := map[string]bool{}
	for i, entry := range entries {
		keyword := entry == KeywordPrimary || entry == KeywordLocalhost || entry == KeywordAll
		if keyword && seen[entry] {
			return np, fmt.Errorf("NodePortAddresses[%d]: %q is given twice", i, entry)
		}
		seen[entry] = true
		switch entry {
		case KeywordPrimary:
			np.primary = true
		case KeywordLocalhost:
			np.networks = append(np.networks, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
		case KeywordAll:
			np.networks = append(np.networks, allIPv4(), allIPv6())
		default:
			p, err := netip.ParsePrefix(entry)
			if err != nil {
				return np, fmt.Errorf("NodePortAddresses[%d]: %q is neither a network nor one of %s", i, entry,
					strings.Join([]string{KeywordPrimary, KeywordLocalhost, KeywordAll}, ", "))
			}
			np.networks = append(np.networks, p.Masked())
		}
	}
	return np, nil
}

func allIPv4() netip.Prefix { return netip.PrefixFrom(netip.IPv4Unspecified(), 0) }
func allIPv6() netip.Prefix { return netip.PrefixFrom(netip.IPv6Unspecified(), 0) }

// permitted returns the networks whose addresses serve node ports on a node with the given
// addresses.
//
// A family that no entry selects is open, as in kube-proxy. "primary" selects both
// families: a family in which the node has no address, or no known address, is closed.
func (np nodePorts) permitted(ips []netip.Addr) []netip.Prefix {
	var all []netip.Prefix
	for _, v4 := range []bool{true, false} {
		every := allIPv6()
		if v4 {
			every = allIPv4()
		}
		var family []netip.Prefix
		for _, p := range np.networks {
			if p.Addr().Is4() == v4 {
				family = append(family, p)
			}
		}
		switch {
		case slices.Contains(family, every) || len(family) == 0 && !np.primary:
			family = []netip.Prefix{every}
		case np.primary:
			for _, ip := range ips {
				if ip.Is4() == v4 && !ip.IsLoopback() {
					family = append(family, netip.PrefixFrom(ip, ip.BitLen()))
				}
			}
		}
		slices.SortFunc(family, netip.Prefix.Compare)
		all = append(all, slices.Compact(family)...)
	}
	return all
}

// loopback returns the loopback address of each family that has a loopback network among
// the entries. A network that merely contains it, such as 0.0.0.0/0, does not count.
func (np nodePorts) loopback() []netip.Addr {
	var all []netip.Addr
	for _, a := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		if slices.ContainsFunc(np.networks, func(p netip.Prefix) bool {
			return p.Addr().IsLoopback() && p.Addr().Is4() == a.Is4()
		}) {
			all = append(all, a)
		}
	}
	return all
}
