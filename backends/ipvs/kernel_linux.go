// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	moby "github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/localsink"
)

// A linuxKernel is the kernel of one network namespace, over sockets that belong to it.
type linuxKernel struct {
	cfg      *Config
	ipvs     *moby.Handle
	routes   *netlink.Handle
	events   *nl.NetlinkSocket // changes of addresses
	sets     *nl.SocketHandle
	iptables iptables
	device   netlink.Link // nil until it is looked up
	families []bool       // whether IPv6, for each family that the kernel has
}

// openKernel opens the network namespace of the calling thread.
func openKernel(cfg *Config) (k *linuxKernel, err error) {
	k = &linuxKernel{cfg: cfg, families: families()}
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	if k.ipvs, err = moby.New(""); err != nil {
		return k, fmt.Errorf("ipvs: open netlink socket: %w", err)
	}
	if k.routes, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return k, fmt.Errorf("ipvs: open netlink socket: %w", err)
	}
	if k.events, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR); err != nil {
		return k, fmt.Errorf("ipvs: subscribe to changes of addresses: %w", err)
	}
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return k, fmt.Errorf("ipvs: open netlink socket: %w", err)
	}
	k.sets = &nl.SocketHandle{Socket: socket}
	return k, nil
}

func (k *linuxKernel) close() {
	if k.ipvs != nil {
		k.ipvs.Close()
	}
	if k.routes != nil {
		k.routes.Close()
	}
	if k.events != nil {
		k.events.Close()
	}
	if k.sets != nil {
		k.sets.Close()
	}
}

// Flags of virtual servers in the kernel.
const (
	flagPersistent = 0x0001
	flagHashed     = 0x0002 // set by the kernel
)

// mobyService converts a virtual server.
func mobyService(key serverKey, o serverOptions) *moby.Service {
	s := &moby.Service{SchedName: o.scheduler, Flags: uint32(o.flags), Timeout: o.affinity, AddressFamily: unix.AF_INET, Netmask: 0xffffffff}
	if o.affinity > 0 {
		s.Flags |= flagPersistent
	}
	if key.isIPv6 || key.addr.Addr().Is6() {
		s.AddressFamily, s.Netmask = unix.AF_INET6, 128
	}
	if s.FWMark = key.mark; key.mark == 0 {
		s.Address, s.Port, s.Protocol = key.addr.Addr().AsSlice(), key.addr.Port(), uint16(key.protocol)
	}
	return s
}

func serverError(action string, key serverKey, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ipvs: %s virtual server %v: %w", action, key, err)
}

func (k *linuxKernel) Servers() (map[serverKey]serverOptions, error) {
	list, err := k.ipvs.GetServices()
	if err != nil {
		return nil, fmt.Errorf("ipvs: list virtual servers: %w", err)
	}
	all := make(map[serverKey]serverOptions, len(list))
	for _, s := range list {
		options := serverOptions{scheduler: s.SchedName, flags: schedulerFlags(s.Flags &^ (flagPersistent | flagHashed))}
		if s.Flags&flagPersistent != 0 {
			options.affinity = unknownAffinity
		}
		key := serverKey{mark: s.FWMark, isIPv6: s.FWMark != 0 && s.AddressFamily == unix.AF_INET6}
		if s.FWMark == 0 {
			addr, _ := netip.AddrFromSlice(s.Address)
			key = serverKey{addr: netip.AddrPortFrom(addr, s.Port), protocol: localsink.Protocol(s.Protocol)}
		}
		all[key] = options
	}
	return all, nil
}

func (k *linuxKernel) AddServer(key serverKey, o serverOptions) error {
	return serverError("add", key, k.ipvs.NewService(mobyService(key, o)))
}

func (k *linuxKernel) UpdateServer(key serverKey, o serverOptions) error {
	return serverError("update", key, k.ipvs.UpdateService(mobyService(key, o)))
}

func (k *linuxKernel) DeleteServer(key serverKey) error {
	err := k.ipvs.DelService(mobyService(key, serverOptions{}))
	if errors.Is(err, syscall.ESRCH) {
		err = nil // another program has deleted it
	}
	return serverError("delete", key, err)
}

func (k *linuxKernel) Destinations(key serverKey) ([]destinationState, error) {
	list, err := k.ipvs.GetDestinations(mobyService(key, serverOptions{}))
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return nil, serverError("list destinations of", key, err)
	}
	all := make([]destinationState, 0, len(list))
	for _, d := range list {
		addr, _ := netip.AddrFromSlice(d.Address)
		all = append(all, destinationState{
			destination{netip.AddrPortFrom(addr, d.Port), uint32(d.Weight)}, d.ActiveConnections + d.InactiveConnections,
		})
	}
	return all, nil
}

func mobyDestination(d destination) *moby.Destination {
	return &moby.Destination{Address: d.addr.Addr().AsSlice(), Port: d.addr.Port(), Weight: int(d.weight), ConnectionFlags: moby.ConnectionFlagMasq}
}

func (k *linuxKernel) AddDestination(key serverKey, d destination) error {
	return destinationError("add", key, d.addr, k.ipvs.NewDestination(mobyService(key, serverOptions{}), mobyDestination(d)))
}

func (k *linuxKernel) UpdateDestination(key serverKey, d destination) error {
	return destinationError("update", key, d.addr, k.ipvs.UpdateDestination(mobyService(key, serverOptions{}), mobyDestination(d)))
}

func (k *linuxKernel) DeleteDestination(key serverKey, addr netip.AddrPort) error {
	err := k.ipvs.DelDestination(mobyService(key, serverOptions{}), mobyDestination(destination{addr: addr}))
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESRCH) {
		err = nil // another program has deleted it
	}
	return destinationError("delete", key, addr, err)
}

func destinationError(action string, key serverKey, addr netip.AddrPort, err error) error {
	if err == nil {
		return nil
	}
	return serverError(fmt.Sprintf("%s destination %v of", action, addr), key, err)
}

// Addresses lists all addresses at once, because the kernel lists those of all interfaces in any
// case.
func (k *linuxKernel) Addresses() (device, node []netip.Addr, err error) {
	k.AddressesChanged()
	index := 0 // no interface has it
	if link, err := k.routes.LinkByName(k.cfg.Device); err == nil {
		index = link.Attrs().Index
	} else if !errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil, fmt.Errorf("ipvs: find interface %s: %w", k.cfg.Device, err)
	}
	list, err := k.routes.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, nil, fmt.Errorf("ipvs: list addresses: %w", err)
	}
	for _, a := range list {
		addr, ok := netip.AddrFromSlice(a.IP)
		switch addr = addr.Unmap(); {
		case !ok || addr.Is6() && addr.IsLinkLocalUnicast(): // the kernel's own; each new interface has one
		case a.LinkIndex != index:
			node = append(node, addr)
		default:
			device = append(device, addr)
		}
	}
	slices.SortFunc(node, netip.Addr.Compare)
	return device, slices.Compact(node), nil
}

func (k *linuxKernel) CreateDevice() error {
	name := k.cfg.Device
	link, err := k.routes.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = name
		if err := k.routes.LinkAdd(&netlink.Dummy{LinkAttrs: attributes}); err != nil {
			return fmt.Errorf("ipvs: create dummy interface %s (kernel module dummy): %w", name, err)
		}
		link, err = k.routes.LinkByName(name)
	}
	if err != nil {
		return fmt.Errorf("ipvs: find interface %s: %w", name, err)
	}
	if link.Type() != "dummy" {
		return fmt.Errorf("ipvs: Config.Device: interface %s is of type %s, want dummy", name, link.Type())
	}
	k.device = link
	return nil
}

func deviceAddr(addr netip.Addr) *netlink.Addr {
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())},
		Flags: unix.IFA_F_NODAD,
	}
}

func (k *linuxKernel) AddAddress(addr netip.Addr) error {
	err := k.routes.AddrAdd(k.device, deviceAddr(addr))
	if err == nil || errors.Is(err, syscall.EEXIST) {
		return nil
	}
	for _, refusal := range []error{syscall.EADDRNOTAVAIL, syscall.EINVAL, syscall.EACCES, syscall.EOPNOTSUPP, syscall.EAFNOSUPPORT} {
		if errors.Is(err, refusal) {
			err = fmt.Errorf("%w: %w", errAddressRefused, err)
		}
	}
	return fmt.Errorf("ipvs: add address %v to %s: %w", addr, k.cfg.Device, err)
}

func (k *linuxKernel) DeleteAddress(addr netip.Addr) error {
	if err := k.routes.AddrDel(k.device, deviceAddr(addr)); err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("ipvs: delete address %v of %s: %w", addr, k.cfg.Device, err)
	}
	return nil
}

// AddressesChanged receives all pending notifications.
func (k *linuxKernel) AddressesChanged() bool {
	changed := false
	buffer := make([]byte, 1<<16)
	for {
		_, _, err := unix.Recvfrom(k.events.GetFd(), buffer, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return changed
		case err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR):
			return true // compare, to be sure
		}
		changed = true
	}
}

// timeouts sets the timeouts of connections.
func (k *linuxKernel) timeouts() error {
	cfg := k.cfg
	if cmp.Or(cfg.TCPTimeout, cfg.TCPFinTimeout, cfg.UDPTimeout) == 0 {
		return nil
	}
	err := k.ipvs.SetConfig(&moby.Config{TimeoutTCP: cfg.TCPTimeout, TimeoutTCPFin: cfg.TCPFinTimeout, TimeoutUDP: cfg.UDPTimeout})
	if err != nil {
		return fmt.Errorf("ipvs: set timeouts of connections: %w", err)
	}
	return nil
}
