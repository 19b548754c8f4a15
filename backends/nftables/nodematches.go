// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// A nodeMatches holds the properties of the node that the rules of one family contain.
type nodeMatches struct {
	podNetworks        []netip.Prefix
	podInterface       string
	podInterfacePrefix string
	nodePortAddrs      []netip.Prefix
	serviceNetworks    []netip.Prefix // used by Services only
	noMasquerade       []netip.Prefix // clients that keep their address; may change without a rebuild
}

// maxInterfaceName is the maximum length of an interface name in Linux, in bytes.
const maxInterfaceName = 15

// newNodeMatches extracts what concerns the family from n, which may be nil. It leaves out
// interface names that are too long to match an interface.
func newNodeMatches(f *family, n *localsink.Node) *nodeMatches {
	v := &nodeMatches{}
	if n == nil {
		return v
	}
	v.podNetworks = f.prefixes(n.LocalPods.Networks)
	v.nodePortAddrs = f.prefixes(n.NodePortAddresses)
	v.serviceNetworks = f.prefixes(n.ServiceNetworks)
	v.noMasquerade = f.prefixes(n.NoMasquerade)
	if len(n.LocalPods.Interface) <= maxInterfaceName {
		v.podInterface = n.LocalPods.Interface
	}
	if len(n.LocalPods.InterfacePrefix) <= maxInterfaceName {
		v.podInterfacePrefix = n.LocalPods.InterfacePrefix
	}
	return v
}

// equal reports whether v and o lead to the same rules, apart from noMasquerade; nil equals
// nothing.
func (v *nodeMatches) equal(o *nodeMatches) bool {
	return v != nil && o != nil && v.podInterface == o.podInterface && v.podInterfacePrefix == o.podInterfacePrefix &&
		slices.Equal(v.podNetworks, o.podNetworks) && slices.Equal(v.nodePortAddrs, o.nodePortAddrs) &&
		slices.Equal(v.serviceNetworks, o.serviceNetworks)
}

// clientMatches returns the alternative matches for packets of such clients. A match without
// steps applies to all packets.
func (v *nodeMatches) clientMatches(f *family, from localsink.From) []rule {
	switch from {
	case localsink.FromThisNode:
		return []rule{isLocal(nfnl.FibSaddr)}
	case localsink.FromLocalPods:
		var matches []rule
		for _, p := range v.podNetworks {
			matches = append(matches, within(f, f.saddrOffset, p, nfnl.CmpEq))
		}
		if v.podInterface != "" {
			name := make([]byte, maxInterfaceName+1)
			copy(name, v.podInterface)
			matches = append(matches, rule{loadMeta(nfnl.MetaIifname, word(0)), equal(word(0), name)})
		}
		if v.podInterfacePrefix != "" {
			matches = append(matches, rule{loadMeta(nfnl.MetaIifname, word(0)), equal(word(0), []byte(v.podInterfacePrefix))})
		}
		return matches
	case localsink.FromAny: // no step
	}
	return []rule{nil}
}
