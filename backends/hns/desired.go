// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns

import (
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A desiredState is the set of load balancers and endpoints of all Services.
type desiredState struct {
	compiler  *compiler
	records   map[localsink.ServiceName]*record
	balancers map[frontendKey]claim
	needs     map[netip.Addr]need
	// invalid has what cannot be programmed of Services.
	invalid map[localsink.ServiceName]error
	// contested are Services with a frontend that another one has, in violation of the contract.
	contested map[localsink.ServiceName]*localsink.Service

	// changedKeys and changedAddrs changed since forgetChanges.
	changedKeys  map[frontendKey]bool
	changedAddrs map[netip.Addr]bool
}

// A claim is the load balancer of a frontend and its Service.
type claim struct {
	*balancer

	owner localsink.ServiceName
}

// A need counts what requires an endpoint with an address. The endpoint exists as long as one does.
type need struct {
	local  int // load balancers with it as a local endpoint
	remote int // load balancers with it as a remote endpoint
	vip    int // Services with it as a cluster IP of an overlay network
}

// newDesiredState returns an empty state that will have about the given number of Services.
func newDesiredState(c *compiler, services int) *desiredState {
	return &desiredState{
		compiler: c, records: make(map[localsink.ServiceName]*record, services), balancers: make(map[frontendKey]claim, services),
		needs: make(map[netip.Addr]need, services), invalid: map[localsink.ServiceName]error{},
		contested: map[localsink.ServiceName]*localsink.Service{}, changedKeys: make(map[frontendKey]bool, services),
		changedAddrs: make(map[netip.Addr]bool, services),
	}
}

// forgetChanges replaces the maps: to clear them takes as long as they were large.
func (d *desiredState) forgetChanges() {
	d.changedKeys, d.changedAddrs = map[frontendKey]bool{}, map[netip.Addr]bool{}
}

// update removes and changes Services. Frontends may move between those of one call.
func (d *desiredState) update(removed, changed []*localsink.Service) {
	for _, list := range [][]*localsink.Service{removed, changed} {
		for _, svc := range list {
			delete(d.contested, svc.Name)
		}
	}
	for _, svc := range d.contested {
		changed = append(slices.Clip(changed), svc)
	}
	clear(d.contested)
	for _, svc := range removed {
		d.remove(svc.Name, d.records[svc.Name], nil)
		delete(d.records, svc.Name)
		delete(d.invalid, svc.Name)
	}
	for _, svc := range changed {
		previous := d.records[svc.Name]
		d.records[svc.Name] = d.compiler.compile(svc)
		d.remove(svc.Name, previous, d.records[svc.Name])
	}
	for _, svc := range changed {
		d.add(svc, d.records[svc.Name])
	}
}

// remove removes what the record of a Service has and the next one has not.
func (d *desiredState) remove(name localsink.ServiceName, r, next *record) {
	if r == nil {
		return
	}
	for key := range r.balancers {
		c, exists := d.balancers[key]
		if !exists || c.owner != name || next != nil && next.balancers[key] != nil {
			continue
		}
		d.count(c.balancer, -1)
		delete(d.balancers, key)
		d.changedKeys[key] = true
	}
	for _, vip := range r.vips {
		d.require(vip, need{vip: -1})
	}
}

// add adds what the record of a Service has.
func (d *desiredState) add(svc *localsink.Service, r *record) {
	err := r.err
	for key, b := range r.balancers {
		switch c, exists := d.balancers[key]; {
		case exists && c.owner != svc.Name:
			d.contested[svc.Name] = svc
			err = fmt.Errorf("%v: %v has it; ignored", key, c.owner.Object())
		case exists && c.equal(b):
		default:
			if exists {
				d.count(c.balancer, -1)
			}
			d.count(b, 1)
			d.balancers[key] = claim{b, svc.Name}
			d.changedKeys[key] = true
		}
	}
	for _, vip := range r.vips {
		d.require(vip, need{vip: 1})
	}
	if err == nil {
		delete(d.invalid, svc.Name)
	} else {
		d.invalid[svc.Name] = err
	}
}

// count adds n references to the endpoints of a load balancer.
func (d *desiredState) count(b *balancer, n int) {
	for _, t := range b.targets {
		switch {
		case !t.addr.IsValid():
		case t.local:
			d.require(t.addr, need{local: n})
		default:
			d.require(t.addr, need{remote: n})
		}
	}
}

// require adds to the needs of an address.
func (d *desiredState) require(addr netip.Addr, more need) {
	before := d.needs[addr]
	after := need{before.local + more.local, before.remote + more.remote, before.vip + more.vip}
	if after == (need{}) {
		delete(d.needs, addr)
	} else {
		d.needs[addr] = after
	}
	if before.kind() != after.kind() {
		d.changedAddrs[addr] = true
	}
}

// An endpointKind is which endpoint an address needs.
type endpointKind uint8

const (
	endpointNone  endpointKind = iota
	endpointLocal              // that the CNI plugin creates
	endpointPod                // a remote one
	endpointOfVIP              // a remote one for a cluster IP
)

func (n need) kind() endpointKind {
	switch {
	case n.local > 0:
		return endpointLocal
	case n.remote > 0:
		return endpointPod
	case n.vip > 0:
		return endpointOfVIP
	}
	return endpointNone
}
