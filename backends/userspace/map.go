// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"sigs.k8s.io/kpng/localsink"
)

// A Map returns the local addresses at which a frontend is served; none if it is not served.
// Port 0 stands for a free port that the system selects once and that the frontend keeps. A Map
// returns the same addresses for equal arguments. It is called by Sync.
type Map func(f Frontend) []netip.AddrPort

// A Frontend is the argument of a [Map].
type Frontend struct {
	Node *localsink.Node
	// NodeAddrs lists the addresses of the node's interfaces.
	NodeAddrs []netip.Addr
	Service   localsink.ServiceName
	Port      *localsink.Port
	Frontend  *localsink.Frontend // of Port
}

// primary reports whether the frontend is the first cluster IP of its port, or the first
// frontend of a port without one.
func (f Frontend) primary() bool {
	i := slices.IndexFunc(f.Port.Frontends, func(fe localsink.Frontend) bool { return fe.Kind == localsink.KindClusterIP })
	return f.Frontend == &f.Port.Frontends[max(i, 0)]
}

// Identity serves each frontend at its own address, which an interface of the node must have.
// A node port is served at the addresses in Node.NodePortAddresses that the node has, and over
// TCP at those in Node.LoopbackNodePorts.
func Identity(f Frontend) []netip.AddrPort {
	if f.Frontend.Kind != localsink.KindNodePort {
		return []netip.AddrPort{f.Frontend.Addr}
	}
	addrs := slices.DeleteFunc(localsink.AddressesIn(f.Node.NodePortAddresses, f.NodeAddrs), netip.Addr.IsLoopback)
	var all []netip.AddrPort
	for _, a := range addrs {
		if a.Is4() == f.Frontend.Addr.Addr().Is4() {
			all = append(all, netip.AddrPortFrom(a, f.Frontend.Addr.Port()))
		}
	}
	return append(all, LoopbackNodePorts(f)...)
}

// LoopbackNodePorts serves only TCP node ports, at the addresses in Node.LoopbackNodePorts.
func LoopbackNodePorts(f Frontend) []netip.AddrPort {
	if f.Frontend.Kind != localsink.KindNodePort || f.Port.Protocol != localsink.ProtocolTCP {
		return nil
	}
	var all []netip.AddrPort
	for _, a := range f.Node.LoopbackNodePorts {
		if a.Is4() == f.Frontend.Addr.Addr().Is4() {
			all = append(all, netip.AddrPortFrom(a, f.Frontend.Addr.Port()))
		}
	}
	return all
}

// PortMap serves the ports of Services at given addresses. Its keys are
// "NAMESPACE/NAME:PORT", where PORT is the name or the number of the port, or
// "NAMESPACE/NAME" for the first port.
func PortMap(ports map[string]netip.AddrPort) Map {
	return func(f Frontend) []netip.AddrPort {
		if !f.primary() {
			return nil
		}
		service := f.Service.String()
		for _, key := range []string{service + ":" + f.Port.Name, service + ":" + strconv.Itoa(int(f.Frontend.Addr.Port())), service} {
			if a, ok := ports[key]; ok {
				return []netip.AddrPort{a}
			}
		}
		return nil
	}
}

// FreePorts serves each port of a Service at an address, with a free port that the system
// selects.
func FreePorts(addr netip.Addr) Map {
	return func(f Frontend) []netip.AddrPort {
		if !f.primary() {
			return nil
		}
		return []netip.AddrPort{netip.AddrPortFrom(addr, 0)}
	}
}

// LoopbackAliases serves each Service at an IPv4 address of its own in a network such as
// 127.64.0.0/16, with the port numbers of its cluster IP. The address depends on the name of
// the Service, and on others if two names have the same hash. Linux and Windows have all
// addresses of 127.0.0.0/8; macOS needs an alias of lo0 for each.
func LoopbackAliases(network netip.Prefix) (Map, error) {
	network = network.Masked()
	if !network.Addr().Is4() || !network.Addr().IsLoopback() || network.Bits() > 24 {
		return nil, fmt.Errorf("userspace: LoopbackAliases: %s is not a network in 127.0.0.0/8 of at least 256 addresses", network)
	}
	a := &aliases{network: network, names: map[netip.Addr]localsink.ServiceName{}, addrs: map[localsink.ServiceName]netip.Addr{}}
	return func(f Frontend) []netip.AddrPort {
		if !f.primary() {
			return nil
		}
		if addr, ok := a.of(f.Service); ok {
			return []netip.AddrPort{netip.AddrPortFrom(addr, f.Frontend.Addr.Port())}
		}
		return nil
	}, nil
}

// An aliases assigns addresses of a network to Services, for the life of the process.
type aliases struct {
	network netip.Prefix
	mu      sync.Mutex
	names   map[netip.Addr]localsink.ServiceName
	addrs   map[localsink.ServiceName]netip.Addr
}

// of returns the address of a Service: the first free one from its hash on. It returns false if
// the network is full.
func (a *aliases) of(name localsink.ServiceName) (netip.Addr, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if addr, ok := a.addrs[name]; ok {
		return addr, true
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name.String())) // never fails
	size := uint32(1) << (32 - a.network.Bits())
	first := a.network.Addr().As4()
	for i := range size - 2 {
		// Neither the first address of the network nor the last is used.
		host := 1 + (h.Sum32()%(size-2)+i)%(size-2)
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(first[:])+host)
		addr := netip.AddrFrom4(b)
		if _, taken := a.names[addr]; !taken {
			a.names[addr], a.addrs[name] = name, addr
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// FirstOf returns the result of the first of the maps that returns an address.
func FirstOf(maps ...Map) Map {
	return func(f Frontend) []netip.AddrPort {
		for _, m := range maps {
			if all := m(f); len(all) > 0 {
				return all
			}
		}
		return nil
	}
}
