// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// interfaceName is the dummy interface that holds the addresses of Services.
const interfaceName = "kube-ipvs0"

// Remove removes what kube-proxy left from the network namespace of the calling thread. It
// loads no kernel modules. It continues after errors and returns all of them.
func Remove(ctx context.Context) (result Result, errs []error) {
	fail := func(err error) { errs = append(errs, fmt.Errorf("ipvs: %w", err)) }
	device, owned, err := findInterface()
	if err != nil {
		fail(err)
	}
	ports, err := nodePorts()
	if err != nil {
		fail(err)
	}
	if device != nil || len(ports) > 0 {
		servers, err := listServers()
		if err != nil {
			fail(err)
		}
		local, err := localAddresses()
		if err != nil {
			fail(err)
		}
		for _, s := range servers {
			if !owned[s.addr] && (!ports[portKey{s.protocol, s.port, s.addr.Is6()}] || !local[s.addr]) {
				continue
			}
			if err := s.delete(); err != nil {
				fail(err)
				continue
			}
			result.Servers++
		}
	}
	if len(errs) > 0 {
		// Interface and sets are needed to recognize the virtual servers next time.
		return result, errs
	}
	if device != nil {
		if err := netlink.LinkDel(device); err != nil {
			fail(fmt.Errorf("delete interface %s: %w", interfaceName, err))
		} else {
			result.Interfaces++
		}
	}
	if result.Sets, result.Kept, err = destroySets(ctx); err != nil {
		fail(err)
	}
	return result, errs
}

// RemoveSets removes the IP sets of kube-proxy only.
func RemoveSets(ctx context.Context) (result Result, errs []error) {
	var err error
	if result.Sets, result.Kept, err = destroySets(ctx); err != nil {
		errs = append(errs, fmt.Errorf("ipvs: %w", err))
	}
	return result, errs
}

// findInterface returns kube-ipvs0 and its addresses, or nil.
func findInterface() (netlink.Link, map[netip.Addr]bool, error) {
	link, err := netlink.LinkByName(interfaceName)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("find interface %s: %w", interfaceName, err)
	}
	if link.Type() != "dummy" {
		return nil, nil, fmt.Errorf("interface %s is of type %s, want dummy: it is not kube-proxy's", interfaceName, link.Type())
	}
	addresses, err := addressesOf(link)
	return link, addresses, err
}

func localAddresses() (map[netip.Addr]bool, error) { return addressesOf(nil) }

// maxListings is the maximum number of attempts to list addresses that change meanwhile.
const maxListings = 5

// addressesOf returns the addresses of an interface; of all interfaces if link is nil.
func addressesOf(link netlink.Link) (map[netip.Addr]bool, error) {
	for try := 1; ; try++ {
		list, err := netlink.AddrList(link, unix.AF_UNSPEC)
		if errors.Is(err, netlink.ErrDumpInterrupted) && try < maxListings {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		addresses := make(map[netip.Addr]bool, len(list))
		for _, a := range list {
			if addr, ok := netip.AddrFromSlice(a.IP); ok && !addr.IsLinkLocalUnicast() {
				addresses[addr.Unmap()] = true
			}
		}
		return addresses, nil
	}
}
