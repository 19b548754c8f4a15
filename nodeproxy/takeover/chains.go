// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"strings"

	"sigs.k8s.io/kpng/nodeproxy/takeover/internal/iptables"
)

// kubeProxyPrefixes are those of the chains of one Service port or endpoint; a hash follows.
// kube-proxy itself deletes all chains with these prefixes, so no other program has any.
const kubeProxyPrefixes = `KUBE-SVC- KUBE-SVL- KUBE-SEP- KUBE-FW- KUBE-EXT- KUBE-XLB-`

const (
	// firewallChain is kubelet's chain of the table filter, of which kube-proxy creates a
	// copy, and a chain of older ipvs modes in the table nat.
	firewallChain = "KUBE-FIREWALL"
	markChain     = "KUBE-MARK-MASQ"
)

// isKubeProxyChain reports whether kube-proxy of any release, and no other program, creates
// chains with that name.
func isKubeProxyChain(table, chain string) bool {
	switch chain {
	case "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", markChain, "KUBE-FORWARD",
		"KUBE-PROXY-FIREWALL", "KUBE-PROXY-CANARY",
		// The ipvs mode.
		"KUBE-SOURCE-RANGES-FIREWALL", "KUBE-NODE-PORT", "KUBE-LOAD-BALANCER", "KUBE-IPVS-FILTER", "KUBE-IPVS-OUT-FILTER",
		// The userspace mode, which ended with release 1.26.
		"KUBE-PORTALS-CONTAINER", "KUBE-PORTALS-HOST", "KUBE-NODEPORT-CONTAINER", "KUBE-NODEPORT-HOST", "KUBE-NODEPORT-NON-LOCAL":
		return true
	case firewallChain:
		return table == "nat"
	}
	for prefix := range strings.FieldsSeq(kubeProxyPrefixes) {
		if strings.HasPrefix(chain, prefix) {
			return true
		}
	}
	return false
}

// hasKubelet reports whether the kubelet has created chains.
func hasKubelet(all iptables.Names) bool {
	return all.Has("KUBE-IPTABLES-HINT") || all.Has("KUBE-KUBELET-CANARY")
}

// A chainOwner decides which chains are removed in one removal.
type chainOwner struct {
	// disableRouteLocalnet makes loopback addresses safe without KUBE-FIREWALL; it returns
	// an error if it cannot.
	disableRouteLocalnet func() error
	// err is the error of disableRouteLocalnet, valid if called.
	called bool
	err    error
}

func (o *chainOwner) owns(table, chain string, all iptables.Names) bool {
	if chain != firewallChain || table != "filter" {
		return isKubeProxyChain(table, chain)
	}
	if hasKubelet(all) {
		return false
	}
	if !o.called {
		o.called, o.err = true, o.disableRouteLocalnet()
	}
	return o.err == nil
}

// keepsRules reports whether a chain that other rules use keeps its rules: to mark a packet
// for masquerading has the same effect with other proxies.
func keepsRules(_, chain string) bool { return chain == markChain }
