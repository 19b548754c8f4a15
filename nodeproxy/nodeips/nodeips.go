// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodeips determines the addresses of the node that it runs on, for a proxy whose
// Node object is absent or has no addresses. It is independent of Services and clients.
//
//	addresses of the host name  ─┐
//	source of the default route ─┼─> one address of each family, of an interface of the node
//	the only address            ─┘
package nodeips

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// lookupTimeout bounds the look-up of the host name: the name server may be a Service that
// this proxy does not serve yet.
const lookupTimeout = time.Second

// A Source is where an address comes from.
type Source string

// The sources, in the order in which they are used.
const (
	SourceHostname     Source = "hostname"
	SourceDefaultRoute Source = "default route"
	SourceOnlyAddress  Source = "only address"
)

// An Address is an address of this node, and how it was determined.
type Address struct {
	IP     netip.Addr
	Source Source
}

// String returns "ADDRESS (SOURCE)".
func (a Address) String() string { return a.IP.String() + " (" + string(a.Source) + ")" }

// A host answers what Determine needs to know.
type host struct {
	interfaces func() ([]net.Addr, error)
	lookup     func(ctx context.Context, name string) ([]netip.Addr, error)
	// source returns the source address of packets to a distant address.
	source func(ctx context.Context, network, to string) (netip.Addr, error)
}

func thisHost() host {
	return host{
		interfaces: net.InterfaceAddrs,
		lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		},
		source: func(ctx context.Context, network, to string) (netip.Addr, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, to) // sends no packet
			if err != nil {
				return netip.Addr{}, err
			}
			defer func() { _ = conn.Close() }()
			local, ok := conn.LocalAddr().(*net.UDPAddr)
			if !ok {
				return netip.Addr{}, errors.New("not an address of UDP")
			}
			return local.AddrPort().Addr(), nil
		},
	}
}

// Determine returns at most one address of each family, IPv4 first: the first of these that
// an interface of this node has.
//
//   - an address of the host name;
//   - the source address of packets that take the default route;
//   - the only address of the family, besides loopback and link-local ones.
//
// A family without such an address has none. The error is that of the list of interfaces.
// It takes at most a second.
func Determine(ctx context.Context, hostname string) ([]Address, error) {
	return thisHost().determine(ctx, hostname)
}

func (h host) determine(ctx context.Context, hostname string) ([]Address, error) {
	all, err := h.interfaces()
	if err != nil {
		return nil, err
	}
	own := routable(all)
	if len(own) == 0 {
		return nil, nil
	}
	lookupCtx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	named, _ := h.lookup(lookupCtx, hostname) // many nodes have no record
	var out []Address
	for _, family := range []struct {
		is4         bool
		network, to string
	}{{true, "udp4", "192.0.2.1:9"}, {false, "udp6", "[2001:db8::1]:9"}} {
		candidates := slices.DeleteFunc(slices.Clone(own), func(a netip.Addr) bool { return a.Is4() != family.is4 })
		if len(candidates) == 0 {
			continue
		}
		use := func(a netip.Addr, source Source) bool {
			if a = a.Unmap(); !slices.Contains(candidates, a) {
				return false
			}
			out = append(out, Address{a, source})
			return true
		}
		if slices.ContainsFunc(named, func(a netip.Addr) bool { return use(a, SourceHostname) }) {
			continue
		}
		if a, err := h.source(ctx, family.network, family.to); err == nil && use(a, SourceDefaultRoute) {
			continue
		}
		if len(candidates) == 1 {
			use(candidates[0], SourceOnlyAddress)
		}
	}
	return out, nil
}

// routable returns the addresses by which other machines can reach an interface.
func routable(all []net.Addr) (out []netip.Addr) {
	for _, a := range all {
		text, _, _ := strings.Cut(a.String(), "/")
		if ip, err := netip.ParseAddr(text); err == nil && ip.IsGlobalUnicast() {
			out = append(out, ip.Unmap())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// Assume waits until store is synced. If the Node of the given name is absent then, or has
// no addresses, known remembers those that [Determine] returns, and logger receives a
// warning; a nil logger is silent. It returns when ctx is done. A Node with addresses that
// appears later replaces what is assumed.
func Assume(ctx context.Context, store *watchers.Store, name string, known *nodelocal.KnownNode, logger *slog.Logger) {
	snapshot := store.Snapshot()
	for ; !snapshot.Synced(); snapshot = store.Snapshot() {
		select {
		case <-ctx.Done():
			return
		case <-snapshot.Newer():
		}
	}
	if node := snapshot.Node(name); node != nil && len(node.IPs) > 0 {
		return
	}
	addresses, err := Determine(ctx, name)
	switch {
	case logger == nil:
	case err != nil:
		logger.WarnContext(ctx, "Node has no known addresses, and they cannot be determined", "node", name, "err", err)
	case len(addresses) == 0:
		logger.WarnContext(ctx, "Node has no known addresses, and they cannot be determined; set the bind address", "node", name)
	default:
		logger.WarnContext(ctx, "Node has no known addresses; until it has, these are assumed", "node", name, "addresses", fmt.Sprint(addresses))
	}
	if len(addresses) > 0 {
		known.Remember(&watchers.Node{Name: name, IPs: ips(addresses)})
	}
}

// OfHost returns the IP addresses that [Determine] returns, for a client whose server may
// have no Node object. logger receives how they were determined, at level debug; nil is
// silent.
func OfHost(ctx context.Context, name string, logger *slog.Logger) []netip.Addr {
	addresses, err := Determine(ctx, name)
	if logger != nil {
		logger.DebugContext(ctx, "Determined addresses of this node", "node", name, "addresses", fmt.Sprint(addresses), "err", err)
	}
	return ips(addresses)
}

// ips returns the IP addresses of a list.
func ips(addresses []Address) (out []netip.Addr) {
	for _, a := range addresses {
		out = append(out, a.IP)
	}
	return out
}
