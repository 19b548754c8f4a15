// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"strings"

	backend "sigs.k8s.io/kpng/backends/iptables"
	"sigs.k8s.io/kpng/nodeproxy/takeover/internal/iptables"
)

const (
	// firewallChain is kubelet's chain of the table filter, of which kube-proxy creates a
	// copy, and a chain of older ipvs modes in the table nat.
	firewallChain = "KUBE-FIREWALL"
	markChain     = "KUBE-MARK-MASQ"
)

// isKubeProxyChain reports whether kube-proxy of any release, or the iptables backend of this
// module, and no other program, creates chains with that name.
func isKubeProxyChain(table, chain string) bool {
	if backend.OwnsChain(chain) {
		return true
	}
	switch chain {
	case
		// The ipvs mode.
		"KUBE-SOURCE-RANGES-FIREWALL", "KUBE-NODE-PORT", "KUBE-LOAD-BALANCER", "KUBE-IPVS-FILTER", "KUBE-IPVS-OUT-FILTER",
		// The userspace mode, which ended with release 1.26.
		"KUBE-PORTALS-CONTAINER", "KUBE-PORTALS-HOST", "KUBE-NODEPORT-CONTAINER", "KUBE-NODEPORT-HOST", "KUBE-NODEPORT-NON-LOCAL":
		return true
	case firewallChain:
		return table == "nat"
	}
	return strings.HasPrefix(chain, "KUBE-XLB-") // of releases before 1.24, one for each Service port
}

// hasKubelet reports whether the kubelet has created chains.
func hasKubelet(all iptables.Names) bool {
	return all.Has("KUBE-IPTABLES-HINT") || all.Has("KUBE-KUBELET-CANARY")
}

// A chainOwner decides which chains are removed in one removal.
type chainOwner struct {
	// keep is [Config.KeepChain].
	keep func(variant, table, chain string) bool
	// disableRouteLocalnet makes loopback addresses safe without KUBE-FIREWALL; it returns
	// an error if it cannot.
	disableRouteLocalnet func() error
	// err is the error of disableRouteLocalnet, valid if called.
	called bool
	err    error
}

func (o *chainOwner) owns(variant, table, chain string, all iptables.Names) bool {
	if o.keep(variant, table, chain) {
		return false
	}
	if chain != firewallChain || table != "filter" {
		return isKubeProxyChain(table, chain)
	}
	if hasKubelet(all) {
		return false
	}
	if o.keepsFirewall() {
		return true // the chain of the other variant protects loopback addresses
	}
	if !o.called {
		o.called, o.err = true, o.disableRouteLocalnet()
	}
	return o.err == nil
}

// keepsFirewall reports whether the new proxy uses the chain KUBE-FIREWALL of a variant.
func (o *chainOwner) keepsFirewall() bool {
	return o.keep(iptables.VariantNFT, "filter", firewallChain) || o.keep(iptables.VariantLegacy, "filter", firewallChain)
}

// keepsRules reports whether a chain that other rules use keeps its rules: to mark a packet
// for masquerading has the same effect with other proxies.
func keepsRules(_, chain string) bool { return chain == markChain }
