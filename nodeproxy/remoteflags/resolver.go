// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package remoteflags

import (
	"flag"
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// resolverFlags are the flags of how Services are resolved, for all nodes.
type resolverFlags struct {
	proxyName, clusterCIDR, nodePortAddresses string
	nodeCIDR, masqueradeAll                   bool
	ignoreExternalIPs                         bool
	noMasquerade, frontendKinds, families     string
}

func (f *resolverFlags) define(fs *flag.FlagSet) {
	fs.StringVar(&f.proxyName, "proxy-name", "",
		"`name` of this proxy: serve only Services with this value of the label service.kubernetes.io/service-proxy-name (default: Services without the label)")
	fs.StringVar(&f.clusterCIDR, "cluster-cidr", "", "`networks` of all pods (comma-separated), at most one of each address family")
	fs.BoolVar(&f.nodeCIDR, "node-cidr", false, "detect pods of a node by the networks of its Node object (spec.podCIDRs)")
	fs.StringVar(&f.nodePortAddresses, "nodeport-addresses", "",
		"`networks` and keywords (primary, localhost, all; comma-separated) of the addresses that serve node ports (default primary)")
	fs.BoolVar(&f.masqueradeAll, "masquerade-all", false, "masquerade all traffic to cluster IPs")
	fs.BoolVar(&f.ignoreExternalIPs, "ignore-external-ips", false,
		"ignore spec.externalIPs of all Services, as kube-proxy does with the feature gate AllowServiceExternalIPs=false")
	fs.StringVar(&f.noMasquerade, "no-masquerade-cidrs", "",
		"`networks` of clients (comma-separated) that are masqueraded only to reach themselves or through loopback node ports")
	fs.StringVar(&f.frontendKinds, "frontend-kinds", "",
		"`kinds` of addresses to serve (comma-separated: ClusterIP, NodePort, ExternalIP, LoadBalancer; default all); others are left to another proxy")
	fs.StringVar(&f.families, "ip-families", "",
		"address `families` to serve (comma-separated: IPv4, IPv6; default both); others are left to another proxy")
}

// scope sets the fields of cfg that limit what is served, and the masquerade exceptions.
func (f *resolverFlags) scope(cfg *nodelocal.MultiNodeConfig) error {
	for _, text := range command.SplitList(f.noMasquerade) {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("%w: -no-masquerade-cidrs: %q is not a network", command.ErrUsage, text)
		}
		cfg.NoMasquerade = append(cfg.NoMasquerade, network)
	}
	kinds := []localsink.FrontendKind{localsink.KindClusterIP, localsink.KindNodePort, localsink.KindExternalIP, localsink.KindLoadBalancer}
	for _, text := range command.SplitList(f.frontendKinds) {
		i := slices.IndexFunc(kinds, func(k localsink.FrontendKind) bool { return k.String() == text })
		if i < 0 {
			return fmt.Errorf("%w: -frontend-kinds: %q is not one of %v", command.ErrUsage, text, kinds)
		}
		cfg.Scope.FrontendKinds = append(cfg.Scope.FrontendKinds, kinds[i])
	}
	families := map[string]watchers.IPFamily{"IPv4": watchers.FamilyIPv4, "IPv6": watchers.FamilyIPv6}
	for _, text := range command.SplitList(f.families) {
		family, found := families[text]
		if !found {
			return fmt.Errorf("%w: -ip-families: %q is not IPv4 or IPv6", command.ErrUsage, text)
		}
		cfg.Scope.Families = append(cfg.Scope.Families, family)
	}
	return nil
}

// config returns the Config of a resolver. The error names each invalid flag.
func (f *resolverFlags) config() (nodelocal.MultiNodeConfig, error) {
	cfg := nodelocal.MultiNodeConfig{
		ProxyName: f.proxyName, NodePortAddresses: command.SplitList(f.nodePortAddresses),
		MasqueradeAll: f.masqueradeAll, IgnoreExternalIPs: f.ignoreExternalIPs,
	}
	cfg.LocalPods.NodeCIDR = f.nodeCIDR
	if err := f.scope(&cfg); err != nil {
		return cfg, err
	}
	if err := (kubeapi.Filter{ProxyName: f.proxyName}).Validate(); err != nil {
		return cfg, fmt.Errorf("%w: %w", command.ErrUsage, command.ReplaceInError(err, "ProxyName", "-proxy-name"))
	}
	ipv4, ipv6 := 0, 0
	for _, text := range command.SplitList(f.clusterCIDR) {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return cfg, fmt.Errorf("%w: -cluster-cidr: %q is not a network", command.ErrUsage, text)
		}
		cfg.LocalPods.ClusterCIDRs = append(cfg.LocalPods.ClusterCIDRs, network)
		if network.Addr().Is4() {
			ipv4++
		} else {
			ipv6++
		}
	}
	if err := command.Conflicts(map[string]bool{
		"-cluster-cidr and -node-cidr":              f.nodeCIDR && ipv4+ipv6 > 0,
		"-cluster-cidr: more than one IPv4 network": ipv4 > 1,
		"-cluster-cidr: more than one IPv6 network": ipv6 > 1,
	}); err != nil {
		return cfg, err
	}
	if err := cfg.Validate(); err != nil {
		return cfg, fmt.Errorf("%w: %w", command.ErrUsage, command.ReplaceInError(err, "nodelocal: invalid Config: ", "", "NodePortAddresses", "-nodeport-addresses"))
	}
	return cfg, nil
}
