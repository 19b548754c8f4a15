// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"cmp"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A claim is a frontend that a Service has at an address. If several Services have the same
// address, the first claim applies.
type claim struct {
	name       localsink.ServiceName
	isNodePort bool
	frontend   *frontend
}

// compareClaims orders exact addresses before node ports, and by name.
func compareClaims(a, b claim) int {
	rank := func(c claim) int {
		if c.isNodePort {
			return 1
		}
		return 0
	}
	return cmp.Or(rank(a)-rank(b), a.name.Compare(b.name))
}

// A desiredState is what the kernel should contain. It notes what has changed since the kernel was
// updated.
type desiredState struct {
	compiler  *compiler
	records   map[localsink.ServiceName]*record
	claims    map[frontendKey][]claim // ordered
	frontends map[frontendKey]*frontend

	servers  map[serverKey]*server
	elements map[element]mark
	sizes    [setCount]int      // numbers of elements
	devices  map[netip.Addr]int // addresses of the dummy interface: numbers of frontends
	invalid  map[localsink.ServiceName]error

	changedServers   map[serverKey]bool
	changedElements  map[element]previousElement
	changedAddresses map[netip.Addr]bool
}

// A previousElement is an element as the kernel has it.
type previousElement struct {
	mark   mark
	exists bool
}

func newDesiredState(c *compiler) *desiredState {
	d := &desiredState{
		compiler: c, records: map[localsink.ServiceName]*record{}, claims: map[frontendKey][]claim{}, frontends: map[frontendKey]*frontend{},
		servers: map[serverKey]*server{}, elements: map[element]mark{}, devices: map[netip.Addr]int{},
		invalid: map[localsink.ServiceName]error{},
	}
	d.forgetChanges()
	return d
}

// forgetChanges notes that the kernel has the desired state.
func (d *desiredState) forgetChanges() {
	d.changedServers, d.changedElements, d.changedAddresses = map[serverKey]bool{}, map[element]previousElement{}, map[netip.Addr]bool{}
}

// update changes the desired state of one Service; svc is nil if it was removed.
func (d *desiredState) update(name localsink.ServiceName, svc *localsink.Service) {
	previous, next := d.records[name], &record{}
	if svc != nil {
		next = d.compiler.compile(svc)
		d.records[name] = next
	} else {
		delete(d.records, name)
	}
	if delete(d.invalid, name); next.err != nil {
		d.invalid[name] = next.err
	}
	touched := map[frontendKey]bool{}
	if previous != nil {
		for key := range previous.frontends {
			d.unclaim(key, name)
			touched[key] = true
		}
		for key := range previous.pools {
			if next.pools[key] == nil {
				d.setServer(key, nil)
				d.compiler.marks.release(key.mark & d.compiler.cfg.ServiceMarks)
			}
		}
	}
	for key, f := range next.frontends {
		d.addClaim(key, claim{name, next.nodePorts[key], f})
		touched[key] = true
	}
	for key, s := range next.pools {
		d.setServer(key, s)
	}
	for key := range touched {
		d.updateFrontend(key)
	}
}

func (d *desiredState) unclaim(key frontendKey, name localsink.ServiceName) {
	d.claims[key] = slices.DeleteFunc(d.claims[key], func(c claim) bool { return c.name == name })
	if len(d.claims[key]) == 0 {
		delete(d.claims, key)
	}
}

func (d *desiredState) addClaim(key frontendKey, c claim) {
	i, _ := slices.BinarySearchFunc(d.claims[key], c, compareClaims)
	d.claims[key] = slices.Insert(d.claims[key], i, c)
}

// updateFrontend derives servers, elements and addresses from the claims of an address.
func (d *desiredState) updateFrontend(key frontendKey) {
	previous := d.frontends[key]
	var next *frontend
	if claims := d.claims[key]; len(claims) > 0 {
		next = claims[0].frontend
	}
	if previous.equal(next) {
		return
	}
	if previous != nil {
		for e := range previous.elements(key) {
			d.setElement(e, nil)
		}
		d.countAddress(key.addr.Addr(), previous, -1)
	}
	if next == nil {
		delete(d.frontends, key)
		d.setServer(key.server(), nil)
		return
	}
	d.frontends[key] = next
	d.setServer(key.server(), next.server)
	for e, m := range next.elements(key) {
		d.setElement(e, &m)
	}
	d.countAddress(key.addr.Addr(), next, 1)
}

// countAddress adds n to the number of frontends that need an address of the dummy interface.
func (d *desiredState) countAddress(addr netip.Addr, f *frontend, n int) {
	if !f.onDevice {
		return
	}
	e := element{set: setAddresses, addr: addr}
	if d.devices[addr] += n; d.devices[addr] == 0 {
		delete(d.devices, addr)
		d.setElement(e, nil)
	} else {
		d.setElement(e, &mark{})
	}
	d.changedAddresses[addr] = true
}

// setElement changes an element of a set; m is nil if it was removed.
func (d *desiredState) setElement(e element, m *mark) {
	if _, noted := d.changedElements[e]; !noted {
		previous, exists := d.elements[e]
		d.changedElements[e] = previousElement{previous, exists}
	}
	d.sizes[e.set] -= len(d.elements)
	if m == nil {
		delete(d.elements, e)
	} else {
		d.elements[e] = *m
	}
	d.sizes[e.set] += len(d.elements)
}

// elementChanges returns the elements to add, or whose mark changed, and those to remove, by set.
func (d *desiredState) elementChanges() (put, removed [setCount][]element) {
	for e, previous := range d.changedElements {
		current, exists := d.elements[e]
		switch {
		case exists && (!previous.exists || previous.mark != current):
			put[e.set] = append(put[e.set], e)
		case !exists && previous.exists:
			removed[e.set] = append(removed[e.set], e)
		}
	}
	return put, removed
}

// setServer changes a virtual server; s is nil if it was removed.
func (d *desiredState) setServer(key serverKey, s *server) {
	if d.servers[key].equal(s) {
		return
	}
	if s == nil {
		delete(d.servers, key)
	} else {
		d.servers[key] = s
	}
	d.changedServers[key] = true
}

// owner returns the Service of a virtual server that is desired.
func (d *desiredState) owner(key serverKey) (localsink.ServiceName, bool) {
	if key.mark != 0 {
		p, ok := d.compiler.marks.used[key.mark&d.compiler.cfg.ServiceMarks]
		return p.name, ok
	}
	claims := d.claims[frontendKey{key.addr, key.protocol}]
	if len(claims) == 0 {
		return localsink.ServiceName{}, false
	}
	return claims[0].name, true
}
