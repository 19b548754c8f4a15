// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// updateAddresses computes the addresses to listen on, unless it did so for the same
// networks recently, and reports whether they changed. If the node's addresses cannot be
// listed, it keeps the previous ones.
func (s *Server) updateAddresses() bool {
	if s.addressesCurrent() && !s.addressesExpired.Swap(false) {
		return false
	}
	addresses, err := s.listenAddresses()
	if s.addressesErr = err; err != nil {
		s.cfg.Logger.Error("Cannot list node addresses", "err", err, "retryAfter", retryInterval)
		s.listTimer.Reset(retryInterval)
		return false
	}
	previous := s.addresses
	s.addressesValid, s.listed, s.addresses = true, s.networks, addresses
	return !slices.Equal(previous, addresses)
}

// addressesCurrent reports whether addresses belongs to the desired networks. It may be
// outdated with regard to the interfaces of the node.
func (s *Server) addressesCurrent() bool {
	return s.addressesValid && slices.Equal(s.listed, s.networks)
}

// listenAddresses returns the sorted addresses to listen on: the unspecified address for a
// network that is a whole family, the address of a network that is a single one, and
// otherwise the node's addresses in the network. It starts listTimer if the result depends
// on the node's interfaces.
func (s *Server) listenAddresses() ([]netip.Addr, error) {
	s.listTimer.Stop()
	var all []netip.Addr
	var searched []netip.Prefix
	for _, n := range s.networks {
		if n.Bits() == 0 || n.IsSingleIP() {
			all = append(all, n.Addr())
		} else {
			searched = append(searched, n)
		}
	}
	if len(searched) > 0 {
		addrs, err := s.nodeAddresses()
		if err != nil {
			return nil, err
		}
		all = append(all, localsink.AddressesIn(searched, addrs)...)
		s.listTimer.Reset(listInterval)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}

// nodeAddresses returns the addresses of the node's interfaces.
func (s *Server) nodeAddresses() ([]netip.Addr, error) {
	addrs, err := s.cfg.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list node addresses: %w", err)
	}
	var all []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr())
		}
	}
	return all, nil
}
