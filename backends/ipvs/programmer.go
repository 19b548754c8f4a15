// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A programmer brings the kernel to a desired state. It keeps in memory what the kernel has.
type programmer struct {
	kernel  kernel
	cfg     *Config
	servers map[serverKey]*programmedServer
	// addresses are those of the dummy interface.
	addresses map[netip.Addr]bool
	nodeAddrs []netip.Addr
	// draining are the virtual servers with destinations that are not desired.
	draining map[serverKey]bool
	// refused are the virtual servers that the kernel refuses, with the reason.
	refused map[serverKey]error
	// refusedAddresses are those that the kernel refuses, with the reason.
	refusedAddresses map[netip.Addr]error
	// references are the numbers of rules that use each set.
	references map[setName]int
}

// A programmedServer is a virtual server of the kernel.
type programmedServer struct {
	serverOptions
	protocol     localsink.Protocol        // zero if unknown
	destinations map[netip.AddrPort]uint32 // weights
}

// maxRefused is the number of refused virtual servers above which the cause is unlikely to be
// the servers themselves.
const maxRefused = 100

// read reads the kernel's state. It ignores virtual servers of other programs.
func (p *programmer) read() error {
	if err := p.kernel.CreateDevice(); err != nil {
		return err
	}
	device, node, err := p.kernel.Addresses()
	if err != nil {
		return err
	}
	all, err := p.kernel.Servers()
	if err != nil {
		return err
	}
	p.servers, p.draining, p.refused = map[serverKey]*programmedServer{}, map[serverKey]bool{}, map[serverKey]error{}
	for key, options := range all {
		if !p.owns(key) {
			continue
		}
		list, err := p.kernel.Destinations(key)
		if err != nil {
			return err
		}
		s := &programmedServer{options, key.protocol, make(map[netip.AddrPort]uint32, len(list))}
		for _, d := range list {
			s.destinations[d.addr] = d.weight
		}
		p.servers[key] = s
	}
	p.addresses, p.refusedAddresses = map[netip.Addr]bool{}, map[netip.Addr]error{}
	for _, a := range device {
		p.addresses[a] = true
	}
	p.nodeAddrs = node
	return nil
}

// owns reports whether the backend may change or remove a virtual server.
func (p *programmer) owns(key serverKey) bool {
	if key.mark != 0 {
		return key.mark&p.cfg.ServiceMarks != 0 && key.mark&^(p.cfg.ServiceMarks|p.cfg.MasqueradeMark) == 0
	}
	return !p.cfg.excludes(key.addr.Addr())
}

// replace brings a kernel with any content to the desired state. New virtual servers come before
// the rules and addresses that lead to them, and are removed after them.
func (p *programmer) replace(ctx context.Context, d *desiredState, node *localsink.Node) error {
	for key := range d.servers {
		d.changedServers[key] = true
	}
	for key := range p.servers {
		d.changedServers[key] = true
	}
	for addr := range d.devices {
		d.changedAddresses[addr] = true
	}
	for addr := range p.addresses {
		d.changedAddresses[addr] = true
	}
	if err := p.putServers(ctx, d); err != nil {
		return err
	}
	if err := p.kernel.ReplaceSets(d.elements); err != nil {
		return err
	}
	if err := p.kernel.ReplaceRules(ctx, node); err != nil {
		return err
	}
	sizes, err := p.kernel.SetSizes()
	if err != nil {
		return err
	}
	p.references = map[setName]int{}
	for set, size := range sizes {
		p.references[set] = size.references
	}
	if err := p.changeAddresses(ctx, d); err != nil {
		return err
	}
	return p.removeServers(ctx, d)
}

// update applies the changes of the desired state.
func (p *programmer) update(ctx context.Context, d *desiredState) error {
	for key := range p.refused {
		d.changedServers[key] = true
	}
	for addr := range p.refusedAddresses {
		d.changedAddresses[addr] = true
	}
	if err := p.putServers(ctx, d); err != nil {
		return err
	}
	put, removed := d.elementChanges()
	for _, set := range setNames() {
		if len(put[set]) > 0 {
			if err := p.kernel.PutElements(set, put[set], d.elements); err != nil {
				return err
			}
		}
	}
	if err := p.changeAddresses(ctx, d); err != nil {
		return err
	}
	for _, set := range slices.Backward(setNames()) {
		if len(removed[set]) > 0 {
			if err := p.kernel.DeleteElements(set, removed[set]); err != nil {
				return err
			}
		}
	}
	return p.removeServers(ctx, d)
}

// putServers adds and updates virtual servers and their destinations.
func (p *programmer) putServers(ctx context.Context, d *desiredState) error {
	for _, key := range slices.SortedFunc(maps.Keys(d.changedServers), compareServers) {
		if err := ctx.Err(); err != nil {
			return err
		}
		desired := d.servers[key]
		if current := p.servers[key]; desired == nil && current != nil && key.mark != 0 {
			desired = &server{serverOptions: current.serverOptions, protocol: current.protocol} // its connections end first
		}
		if desired == nil {
			delete(p.refused, key)
			continue
		}
		err := p.putServer(key, desired)
		if err == nil {
			delete(p.refused, key)
			continue
		}
		if p.refused[key] = err; len(p.refused) > maxRefused {
			return fmt.Errorf("ipvs: more than %d virtual servers are refused: %w", maxRefused, err)
		}
	}
	return nil
}

// putServer adds or updates one virtual server. Destinations that are not desired lose their
// weight.
func (p *programmer) putServer(key serverKey, desired *server) error {
	current := p.servers[key]
	if current == nil {
		if err := p.kernel.AddServer(key, desired.serverOptions); err != nil {
			return err
		}
		current = &programmedServer{desired.serverOptions, desired.protocol, map[netip.AddrPort]uint32{}}
		p.servers[key] = current
	} else if current.serverOptions != desired.serverOptions {
		if err := p.kernel.UpdateServer(key, desired.serverOptions); err != nil {
			return err
		}
		current.serverOptions = desired.serverOptions
	}
	current.protocol = desired.protocol
	for _, to := range desired.destinations {
		weight, found := current.destinations[to.addr]
		if found && weight == to.weight {
			continue
		}
		put := p.kernel.AddDestination
		if found {
			put = p.kernel.UpdateDestination
		}
		if err := put(key, to); err != nil {
			return err
		}
		current.destinations[to.addr] = to.weight
	}
	delete(p.draining, key)
	if len(current.destinations) == len(desired.destinations) {
		return nil
	}
	for addr, weight := range current.destinations {
		if desired.has(addr) {
			continue
		}
		p.draining[key] = true
		if weight > 0 {
			if err := p.kernel.UpdateDestination(key, destination{addr: addr}); err != nil {
				return err
			}
			current.destinations[addr] = 0
		}
	}
	return nil
}

// has reports whether addr is a destination.
func (s *server) has(addr netip.AddrPort) bool {
	_, found := slices.BinarySearchFunc(s.destinations, addr, func(d destination, a netip.AddrPort) int { return d.addr.Compare(a) })
	return found
}

// removeServers removes virtual servers, and destinations whose connections have ended.
func (p *programmer) removeServers(ctx context.Context, d *desiredState) error {
	for key := range d.changedServers {
		if d.servers[key] == nil && p.servers[key] != nil && key.mark == 0 {
			if err := p.deleteServer(key); err != nil {
				return err
			}
		}
	}
	for key := range p.draining {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.sweep(key, d.servers[key]); err != nil {
			return err
		}
	}
	for key := range d.changedServers {
		if s := p.servers[key]; d.servers[key] == nil && s != nil && len(s.destinations) == 0 {
			if err := p.deleteServer(key); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *programmer) deleteServer(key serverKey) error {
	if err := p.kernel.DeleteServer(key); err != nil {
		return err
	}
	delete(p.servers, key)
	delete(p.draining, key)
	return nil
}

// sweep deletes the destinations of a virtual server that are not desired, once they have no
// connections. Those over UDP do not end by themselves, so they must be draining to remain.
// desired is nil for a server that is removed then.
func (p *programmer) sweep(key serverKey, desired *server) error {
	list, err := p.kernel.Destinations(key)
	if err != nil {
		return err
	}
	current, remaining := p.servers[key], false
	for _, to := range list {
		if desired != nil && desired.has(to.addr) {
			continue
		}
		keeps := current.protocol != localsink.ProtocolUDP || desired != nil && slices.Contains(desired.draining, to.addr)
		if to.connections > 0 && keeps {
			remaining = true
			continue
		}
		if err := p.kernel.DeleteDestination(key, to.addr); err != nil {
			return err
		}
		delete(current.destinations, to.addr)
	}
	if !remaining {
		delete(p.draining, key)
		if desired == nil {
			return p.deleteServer(key)
		}
	}
	return nil
}

// changeAddresses adds and removes addresses of the dummy interface.
func (p *programmer) changeAddresses(ctx context.Context, d *desiredState) error {
	for _, addr := range slices.SortedFunc(maps.Keys(d.changedAddresses), netip.Addr.Compare) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.changeAddress(addr, d.devices[addr] > 0); err != nil {
			return err
		}
	}
	return nil
}

// changeAddress adds or removes an address. The others do not depend on one that the kernel refuses.
func (p *programmer) changeAddress(addr netip.Addr, desired bool) error {
	delete(p.refusedAddresses, addr)
	switch {
	case desired == p.addresses[addr]:
		return nil
	case !desired:
		if err := p.kernel.DeleteAddress(addr); err != nil {
			return err
		}
		delete(p.addresses, addr)
		return nil
	}
	err := p.kernel.AddAddress(addr)
	switch {
	case errors.Is(err, errAddressRefused):
		p.refusedAddresses[addr] = err
		if len(p.refusedAddresses) > maxRefused {
			return fmt.Errorf("ipvs: more than %d addresses are refused: %w", maxRefused, err)
		}
		return nil
	case err != nil:
		return err
	}
	p.addresses[addr] = true
	return nil
}

// compareServers orders virtual servers, so that updates are reproducible.
func compareServers(a, b serverKey) int {
	return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.mark, b.mark))
}

// errRefused joins the reasons of refused virtual servers and addresses by Service.
func (p *programmer) errRefused(d *desiredState) map[localsink.ServiceName]error {
	all := map[localsink.ServiceName]error{}
	for key, err := range p.refused {
		if name, ok := d.owner(key); ok {
			all[name] = errors.Join(all[name], err)
		}
	}
	if len(p.refusedAddresses) == 0 {
		return all
	}
	for key, claims := range d.claims {
		if err := p.refusedAddresses[key.addr.Addr()]; err != nil && len(claims) > 0 && !errors.Is(all[claims[0].name], err) {
			all[claims[0].name] = errors.Join(all[claims[0].name], err)
		}
	}
	return all
}
