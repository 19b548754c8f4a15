// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ipvs removes what kube-proxy's ipvs mode left, beside its iptables chains: IPVS
// virtual servers, the interface kube-ipvs0, and IP sets.
//
// A virtual server belongs to kube-proxy if its address is one of kube-ipvs0, or if its
// protocol and port are in one of kube-proxy's sets of node ports and its address is one of
// this node. Others stay, such as those of keepalived. Interface and sets are therefore
// removed after the virtual servers.
//
//   - ipvs_linux.go decides and removes.
//   - server_linux.go lists and deletes virtual servers over generic netlink.
//   - set_linux.go lists and destroys IP sets over netlink.
package ipvs

// A Result is what a removal did.
type Result struct {
	Servers, Interfaces, Sets int
	// Kept lists the sets that other rules use, and which could therefore not be removed.
	Kept []string
}
