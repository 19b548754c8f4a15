// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"net/netip"
	"slices"
	"strconv"

	"sigs.k8s.io/kpng/localsink"
)

// A family has what differs between IPv4 and IPv6.
type family struct {
	name     string
	v6       bool
	loopback netip.Prefix
}

func ipv4() *family { return &family{name: "IPv4", loopback: netip.MustParsePrefix("127.0.0.0/8")} }

func ipv6() *family {
	return &family{name: "IPv6", v6: true, loopback: netip.MustParsePrefix("::1/128")}
}

func (f *family) has(a netip.Addr) bool { return a.IsValid() && a.Is4() != f.v6 }

// networks returns those of all that belong to the family.
func (f *family) networks(all []netip.Prefix) []netip.Prefix {
	var own []netip.Prefix
	for _, p := range all {
		if f.has(p.Addr()) {
			own = append(own, p.Masked())
		}
	}
	return own
}

// buckets is the number of chains over which rules for addresses are distributed by the low
// bits of the address, so that no packet passes the rules of all Services.
const buckets = 64

// bucket returns the number of the chain that has the rules for an address.
func bucket(a netip.Addr) int {
	b := a.AsSlice()
	return int(b[len(b)-1]) % buckets
}

// bucketMatch returns the option that matches the addresses of a bucket.
func (f *family) bucketMatch(number int) string {
	if f.v6 {
		return "-d ::" + strconv.FormatInt(int64(number), 16) + "/::" + strconv.FormatInt(buckets-1, 16)
	}
	return "-d 0.0.0." + strconv.Itoa(number) + "/0.0.0." + strconv.Itoa(buckets-1)
}

// bucketChain returns the name of a chain for a bucket.
func bucketChain(prefix string, number int) string {
	if number < 10 {
		return prefix + "0" + strconv.Itoa(number)
	}
	return prefix + strconv.Itoa(number)
}

// host returns an address as iptables-save prints it.
func host(a netip.Addr) string {
	if a.Is4() {
		return a.String() + "/32"
	}
	return a.String() + "/128"
}

// A nodeMatches has the properties of a node that rules for Services depend on.
type nodeMatches struct {
	localPods []string // one option for each alternative
	// loopback is the address that accepts traffic to TCP node ports; invalid if none does.
	loopback netip.Addr
}

func newNodeMatches(f *family, n *localsink.Node, cfg *Config) nodeMatches {
	var m nodeMatches
	for _, p := range f.networks(n.LocalPods.Networks) {
		m.localPods = append(m.localPods, "-s "+p.String())
	}
	if n.LocalPods.Interface != "" {
		m.localPods = append(m.localPods, "-i "+n.LocalPods.Interface)
	}
	if n.LocalPods.InterfacePrefix != "" {
		m.localPods = append(m.localPods, "-i "+n.LocalPods.InterfacePrefix+"+")
	}
	for _, a := range n.LoopbackNodePorts {
		if cfg.LocalhostNodePorts && !f.v6 && f.has(a) {
			m.loopback = a
		}
	}
	return m
}

// from returns the options that match a set of clients, one for each alternative.
func (m *nodeMatches) from(from localsink.From) []string {
	switch from {
	case localsink.FromLocalPods:
		return m.localPods
	case localsink.FromThisNode:
		return []string{"-m addrtype --src-type LOCAL"}
	case localsink.FromAny:
	}
	return []string{""}
}

func (m *nodeMatches) equal(o *nodeMatches) bool {
	return m.loopback == o.loopback && slices.Equal(m.localPods, o.localPods)
}
