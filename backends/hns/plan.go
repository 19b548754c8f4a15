// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// An action is a kind of operation.
type action uint8

const (
	createEndpoint action = iota
	modifyEndpoint        // its provider address
	deleteEndpoint
	deleteBalancer
	modifyBalancer
	createBalancer
)

// String returns the name of the action.
func (a action) String() string {
	return [...]string{"create endpoint", "modify endpoint", "delete endpoint", "delete", "modify", "create"}[a]
}

// An operation is one call that writes.
type operation struct {
	action action
	key    frontendKey   // of a load balancer
	addr   netip.Addr    // of an endpoint
	id     string        // of what is modified or deleted
	keys   []frontendKey // of a stale load balancer, in place of key
	remote bool          // the endpoint of a pod or of a cluster IP, not the source VIP
}

// String describes an operation without IDs.
func (o operation) String() string {
	switch {
	case o.addr.IsValid():
		return fmt.Sprint(o.action, " ", o.addr)
	case o.keys != nil:
		return fmt.Sprint(o.action, " stale ", o.keys)
	}
	return fmt.Sprint(o.action, " ", o.key)
}

// plan returns the operations that bring what HNS has to the desired state, for the changed
// frontends and addresses of d. There is none for what is equal.
//
// Endpoints are created before load balancers that refer to them and deleted after them. Load
// balancers that nothing needs are deleted first, so that ports are free. A frontend whose
// endpoints alone change is modified if Windows can; otherwise its load balancer is deleted and
// created, without other operations in between.
func plan(d *desiredState, o *observedState, canModify bool) []operation {
	ops := planEndpoints(d, o)
	created := map[netip.Addr]bool{}
	for _, op := range ops {
		created[op.addr] = op.action == createEndpoint
	}
	for _, id := range slices.Sorted(maps.Keys(o.stale)) {
		ops = append(ops, operation{action: deleteBalancer, id: id, keys: o.stale[id]})
	}
	var writes []operation
	for _, key := range slices.SortedFunc(maps.Keys(d.changedKeys), compareKeys) {
		current, desired := o.balancers[key], d.balancers[key].balancer
		if desired == nil || !hasEndpoints(desired, o, created) {
			if current != nil {
				ops = append(ops, operation{action: deleteBalancer, key: key, id: current.id})
			}
			continue
		}
		writes = append(writes, planBalancer(key, desired, current, o, created, canModify)...)
	}
	ops = append(ops, writes...)
	return append(ops, planRemovals(d, o)...)
}

// hasEndpoints reports whether a load balancer has an endpoint, or will have one.
func hasEndpoints(b *balancer, o *observedState, created map[netip.Addr]bool) bool {
	return slices.ContainsFunc(b.targets, func(t target) bool { return o.endpointOf(t) != "" || !t.local && created[t.addr] })
}

// planBalancer returns the operations for one desired load balancer; current may be nil.
func planBalancer(key frontendKey, desired *balancer, current *hostBalancer, o *observedState, created map[netip.Addr]bool, canModify bool) []operation {
	if current == nil {
		return []operation{{action: createBalancer, key: key}}
	}
	ids, missing := o.resolve(desired.targets)
	isNew := missing > 0 && slices.ContainsFunc(desired.targets, func(t target) bool { return !t.local && created[t.addr] })
	if !isNew && current.same(desired.settings, ids) {
		return nil
	}
	if canModify && current.same(desired.settings, current.endpoints) {
		return []operation{{action: modifyBalancer, key: key, id: current.id}}
	}
	return []operation{{action: deleteBalancer, key: key, id: current.id}, {action: createBalancer, key: key}}
}

// planEndpoints returns the operations that precede those of load balancers.
func planEndpoints(d *desiredState, o *observedState) (ops []operation) {
	for _, addr := range slices.SortedFunc(maps.Keys(d.changedAddrs), netip.Addr.Compare) {
		kind, e := d.needs[addr].kind(), o.endpoints[addr]
		switch {
		case kind == endpointNone || kind == endpointLocal:
		case e == nil:
			ops = append(ops, operation{action: createEndpoint, addr: addr, remote: true})
		case e.owned && o.network.overlay && e.provider != d.compiler.providerOf(addr, kind):
			ops = append(ops, operation{action: modifyEndpoint, addr: addr, id: e.id, remote: true})
		}
	}
	if vip := d.compiler.cfg.SourceVIP; o.network.overlay && o.endpoints[vip] == nil {
		ops = append(ops, operation{action: createEndpoint, addr: vip})
	}
	return ops
}

// planRemovals returns the operations that follow those of load balancers: endpoints of this
// backend that nothing needs, and remote ones in the place of a local one.
func planRemovals(d *desiredState, o *observedState) (ops []operation) {
	for _, addr := range slices.SortedFunc(maps.Keys(d.changedAddrs), netip.Addr.Compare) {
		kind, e := d.needs[addr].kind(), o.endpoints[addr]
		if e != nil && e.owned && (kind == endpointNone || kind == endpointLocal) {
			ops = append(ops, operation{action: deleteEndpoint, addr: addr, id: e.id, remote: true})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(o.surplus)) {
		ops = append(ops, operation{action: deleteEndpoint, addr: o.surplus[id], id: id, remote: true})
	}
	return ops
}

// providerOf returns the address of the node to which packets for a remote endpoint of an overlay
// network are sent: this one for a cluster IP, and for addresses outside of the network.
func (c *compiler) providerOf(addr netip.Addr, kind endpointKind) netip.Addr {
	if kind == endpointPod {
		if provider := c.network.provider(addr); provider.IsValid() {
			return provider
		}
	}
	if own := nodeAddr(c.node, addr.Is6()); own.IsValid() {
		return own
	}
	return nodeAddr(c.node, addr.Is4())
}
