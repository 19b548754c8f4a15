// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"crypto/sha256"
	"encoding/base32"
	"net/netip"
	"strings"

	"sigs.k8s.io/kpng/localsink"
)

// Names of chains. Those of kube-proxy's iptables mode have the same purpose here. kube-proxy
// deletes chains with the prefix of dispatch chains when it takes over.
const (
	chainServices         = "KUBE-SERVICES"
	chainNodePorts        = "KUBE-NODEPORTS"
	chainPostrouting      = "KUBE-POSTROUTING"
	chainMarkMasq         = "KUBE-MARK-MASQ"
	chainMarkMasqRemote   = "KUBE-MARK-MASQ-REMOTE"
	chainHairpin          = "KUBE-HAIRPIN"
	chainForward          = "KUBE-FORWARD"
	chainFirewall         = "KUBE-FIREWALL"
	chainProxyFirewall    = "KUBE-PROXY-FIREWALL"
	chainExternalServices = "KUBE-EXTERNAL-SERVICES"
	chainNodePortFirewall = "KUBE-NODEPORTS-FIREWALL"
	chainNodePortVerdicts = "KUBE-NODEPORTS-VERDICTS"
	chainClusterIPs       = "KUBE-CLUSTER-IPS"
	chainReject           = "KUBE-REJECT"
	chainCanary           = "KUBE-PROXY-CANARY"
	prefixDispatch        = "KUBE-SVC-DISPATCH-"
	prefixClusterIPs      = "KUBE-CLUSTER-IPS-"

	prefixFirst    = "KUBE-SVC-" // the first pool of a port
	prefixOther    = "KUBE-SVL-" // its further pools
	prefixExternal = "KUBE-EXT-"
	prefixSources  = "KUBE-FW-"
	prefixEndpoint = "KUBE-SEP-"
)

// isServiceChain reports whether a chain of the nat table belongs to a single Service, or was
// created by kube-proxy for one.
func isServiceChain(name string) bool {
	for _, prefix := range []string{prefixFirst, prefixOther, prefixExternal, prefixSources, prefixEndpoint} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// OwnsChain reports whether only a Backend and kube-proxy's iptables mode have a chain of this name.
// KUBE-FIREWALL is not among them, because the kubelet has it too.
func OwnsChain(name string) bool {
	switch name {
	case chainMarkMasq, chainMarkMasqRemote, chainHairpin, chainNodePortFirewall, chainNodePortVerdicts, chainClusterIPs, chainReject, chainCanary:
		return true
	}
	return name != chainFirewall && isStaticChain(name) || isServiceChain(name) || strings.HasPrefix(name, prefixClusterIPs)
}

// hash returns what kube-proxy puts behind the prefix of a chain.
func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "")))
	return base32.StdEncoding.EncodeToString(sum[:])[:16]
}

// A portNames has the names of one Service port.
type portNames struct {
	port  string // such as "default/web:http"
	proto string
}

// newPortNames returns the names of the port at an index. A Service should not have two ports
// with equal name and protocol; if it does, their chains differ nevertheless.
func newPortNames(s *localsink.Service, index int) portNames {
	p := &s.Ports[index]
	n := portNames{port: s.Name.String(), proto: protocolName(p.Protocol)}
	if strings.Contains(s.Name.Name, ":") {
		n.port += ":" // so that the name of a port cannot look like the end of this name
	}
	if p.Name != "" {
		n.port += ":" + p.Name
	}
	for i := range index {
		if s.Ports[i].Name == p.Name && s.Ports[i].Protocol == p.Protocol {
			n.port += "#"
		}
	}
	return n
}

func (n portNames) pool(number int) string {
	if number == 0 {
		return prefixFirst + hash(n.port, n.proto)
	}
	return prefixOther + hash(n.port, n.proto, strings.Repeat("+", number-1))
}

// external returns the name of the chain for the frontends with one list of routes.
func (n portNames) external(number int) string {
	return prefixExternal + hash(n.port, n.proto, strings.Repeat("+", number))
}

func (n portNames) sources(number int) string {
	return prefixSources + hash(n.port, n.proto, strings.Repeat("+", number))
}

// affinityList returns the name of the list of clients that belong to an endpoint.
func (n portNames) affinityList(e netip.AddrPort) string {
	return prefixEndpoint + hash(n.port, n.proto, e.String())
}

// protocolName returns what the options -p and -m accept.
func protocolName(p localsink.Protocol) string { return strings.ToLower(p.String()) }

// maxComment is the maximum length of a comment that the kernel accepts.
const maxComment = 255

// comment returns the option that adds a comment to a rule. Characters that the parser of
// iptables-restore interprets are replaced.
func comment(text string) string {
	safe := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' || r == '\'' {
			return '?'
		}
		return r
	}, text)
	if len(safe) > maxComment {
		safe = safe[:maxComment]
	}
	return `-m comment --comment "` + safe + `"`
}
