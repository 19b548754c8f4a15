// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// Keywords that [Config.NodePortAddresses] accepts beside networks.
const (
	// KeywordPrimary stands for the addresses of the Node object: one of each family.
	KeywordPrimary = "primary"
	// KeywordLocalhost stands for the loopback networks of both families. These, or any
	// network within them, let TCP node ports answer on 127.0.0.1 or ::1, where a sink can
	// do that; alone, they close node ports everywhere else.
	KeywordLocalhost = "localhost"
	// KeywordAll stands for every address.
	KeywordAll = "all"
)

// A PodDetection says how to recognise packets that come from pods of this node. At
// most one field is set; the zero value recognises none.
type PodDetection struct {
	// ClusterCIDRs are the networks of all pods; the first of each family counts.
	// Pods of other nodes are recognised too when their packets arrive as sent.
	ClusterCIDRs []netip.Prefix
	// NodeCIDR uses the pod networks that the Node object gives this node.
	NodeCIDR bool
	// Interface is the name of the bridge that all local pods are behind.
	Interface string
	// InterfacePrefix begins the name of each local pod's interface.
	InterfacePrefix string
}

func (d *PodDetection) validate() error {
	for i, p := range d.ClusterCIDRs {
		if !p.IsValid() {
			return fmt.Errorf("LocalPods.ClusterCIDRs[%d]: is no network", i)
		}
	}
	set := 0
	for _, on := range []bool{len(d.ClusterCIDRs) > 0, d.NodeCIDR, d.Interface != "", d.InterfacePrefix != ""} {
		if on {
			set++
		}
	}
	if set > 1 {
		return errors.New("LocalPods: more than one way of detection is set")
	}
	return nil
}

// sources returns what d means on a node.
func (d *PodDetection) sources(node *watchers.Node) localsink.PodSources {
	src := localsink.PodSources{Interface: d.Interface, InterfacePrefix: d.InterfacePrefix}
	networks := d.ClusterCIDRs
	if d.NodeCIDR && node != nil {
		networks = node.PodCIDRs
	}
	for _, p := range networks {
		sameFamily := func(q netip.Prefix) bool { return q.Addr().Is4() == p.Addr().Is4() }
		if d.NodeCIDR || !slices.ContainsFunc(src.Networks, sameFamily) {
			src.Networks = append(src.Networks, p.Masked())
		}
	}
	return src
}

// nodePorts are parsed NodePortAddresses.
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

// permitted returns the networks whose addresses answer on node ports.
//
// A family that no entry speaks of is open, as it always was in kube-proxy. But
// "primary" speaks of both families: where the node has no address of one, or none
// is known yet, that family stays closed.
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

// loopback returns the loopback address of each family of which loopback addresses are
// asked for by name: that all addresses are does not count.
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

// nodeIPs returns the addresses that stand for a node: at most one of each family,
// the primary first. A bind address that is a specific one overrides the Node
// object in its family and makes that family the primary one.
func nodeIPs(node *watchers.Node, bind netip.Addr) []netip.Addr {
	var candidates, ips []netip.Addr
	if bind.IsValid() && !bind.IsUnspecified() {
		candidates = append(candidates, bind.Unmap())
	}
	if node != nil {
		candidates = append(candidates, node.IPs...)
	}
	for _, ip := range candidates {
		sameFamily := func(o netip.Addr) bool { return o.Is4() == ip.Is4() }
		if !slices.ContainsFunc(ips, sameFamily) {
			ips = append(ips, ip)
		}
	}
	return ips
}

// A view is what the meaning of a Service depends on beside the Service itself.
type view struct {
	node          *localsink.Node
	zone          string
	masqueradeAll bool
}

// view returns what facts say of the node.
func (cfg *Config) view(facts watchers.Snapshot) *view {
	node := facts.Node(cfg.NodeName)
	ips := nodeIPs(node, cfg.NodeIP)
	v := &view{masqueradeAll: cfg.MasqueradeAll, node: &localsink.Node{
		Name:              cfg.NodeName,
		IPs:               ips,
		LocalPods:         cfg.LocalPods.sources(node),
		NodePortAddresses: cfg.nodePorts.permitted(ips),
		LoopbackNodePorts: cfg.nodePorts.loopback(),
		ServiceNetworks:   serviceNetworks(facts),
		Deleting:          node == nil || node.Deleting,
	}}
	if node != nil {
		v.zone = node.Zone
	}
	return v
}

// serviceNetworks returns the networks of all ServiceCIDRs, each once however many
// name it.
func serviceNetworks(facts watchers.Snapshot) []netip.Prefix {
	var all []netip.Prefix
	for c := range facts.ServiceCIDRs() {
		for _, n := range c.Networks {
			all = append(all, n.Masked())
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

func (v *view) equal(o *view) bool { return v.zone == o.zone && v.node.Equal(o.node) }
