// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// updateAddresses computes the addresses to listen on, unless it did so for the same node
// recently, and reports whether they changed. If the node's addresses cannot be listed, it
// keeps the previous ones.
func (s *Services) updateAddresses(node *localsink.Node) bool {
	if s.addressesValid && slices.Equal(s.networks, node.NodePortAddresses) && !s.addressesExpired.Swap(false) {
		return false
	}
	addresses, err := s.listenAddresses(node)
	if err != nil {
		s.cfg.Logger.Error("Cannot list node addresses", "err", err, "retryAfter", retryInterval)
		s.listTimer.Reset(retryInterval)
		return false
	}
	previous := s.addresses
	s.addressesValid, s.networks, s.addresses = true, node.NodePortAddresses, addresses
	return !slices.Equal(previous, addresses)
}

// listenAddresses returns the sorted addresses to listen on: the unspecified address for a
// network that is a whole family, otherwise the node's addresses in each network of
// NodePortAddresses. It starts listTimer if the result depends on the node's interfaces.
func (s *Services) listenAddresses(node *localsink.Node) ([]netip.Addr, error) {
	var all []netip.Addr
	s.listTimer.Stop()
	for _, n := range node.NodePortAddresses {
		switch {
		case n.Bits() == 0 || n.IsSingleIP():
			all = append(all, n.Addr())
		default:
			contained, err := s.addressesIn(n)
			if err != nil {
				return nil, err
			}
			all = append(all, contained...)
			s.listTimer.Reset(listInterval)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}

// addressesIn returns the addresses of the node's interfaces in a network.
func (s *Services) addressesIn(network netip.Prefix) ([]netip.Addr, error) {
	addrs, err := s.interfaceAddrs()
	var all []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && network.Contains(p.Addr()) {
			all = append(all, p.Addr())
		}
	}
	return all, err
}
