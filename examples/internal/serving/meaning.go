// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"flag"
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/examples/internal/cli"
	"sigs.k8s.io/kpng/nodelocal"
)

// A meaning is what flags say of how Services are understood.
type meaning struct {
	clusterCIDR, nodePorts string
	nodeCIDR, masquerade   bool
}

// define defines the flags.
func (m *meaning) define(fs *flag.FlagSet) {
	fs.StringVar(&m.clusterCIDR, "cluster-cidr", "", "the pods' `networks`, comma separated, one of each family")
	fs.BoolVar(&m.nodeCIDR, "node-cidr", false, "tell local pods by the networks of their Node (spec.podCIDRs)")
	fs.StringVar(&m.nodePorts, "nodeport-addresses", "", "`networks` and keywords (primary, localhost, all), comma separated, that answer on node ports")
	fs.BoolVar(&m.masquerade, "masquerade-all", false, "masquerade all clients of cluster IPs")
}

// config returns it. The error names the flags that are wrong.
func (m *meaning) config() (nodelocal.MultiNodeConfig, error) {
	cfg := nodelocal.MultiNodeConfig{NodePortAddresses: cli.List(m.nodePorts), MasqueradeAll: m.masquerade}
	cfg.LocalPods.NodeCIDR = m.nodeCIDR
	families := map[bool]int{}
	for _, s := range cli.List(m.clusterCIDR) {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return cfg, fmt.Errorf("%w: -cluster-cidr: %q is not a network", cli.ErrUsage, s)
		}
		cfg.LocalPods.ClusterCIDRs = append(cfg.LocalPods.ClusterCIDRs, p)
		families[p.Addr().Is4()]++
	}
	if err := cli.Refuse(map[string]bool{
		"-cluster-cidr and -node-cidr":              m.nodeCIDR && len(families) > 0,
		"-cluster-cidr: more than one IPv4 network": families[true] > 1,
		"-cluster-cidr: more than one IPv6 network": families[false] > 1,
	}); err != nil {
		return cfg, err
	}
	// Only the library knows what it takes.
	if err := cfg.Validate(); err != nil {
		return cfg, fmt.Errorf("%w: %w", cli.ErrUsage, cli.InFlags(err, "nodelocal: invalid Config: ", "", "NodePortAddresses", "-nodeport-addresses"))
	}
	return cfg, nil
}
