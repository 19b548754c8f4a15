// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A serviceChange is the desired state of a Service that may differ from the table.
type serviceChange struct {
	name    localsink.ServiceName
	desired *localsink.Service // nil to remove the Service
	// frontends is computed by tableState.
	frontends []desiredFrontend
}

// apply brings some Services, each listed once, to their desired state. get returns the
// desired state of other Services.
func (st *tableState) apply(changes []serviceChange, get func(localsink.ServiceName) *localsink.Service) {
	changes = st.withConflicts(changes, get)
	for i := range changes {
		c := &changes[i]
		c.frontends = st.desiredFrontends(c)
	}
	st.reuseTables(changes)
	for i := range changes {
		st.release(&changes[i])
	}
	for i := range changes {
		st.claim(&changes[i])
	}
	for _, f := range st.change.released {
		st.replace(&f, nil)
	}
	clear(st.change.released)
	st.removeUnreferenced()
	st.dropUnusedTables()
}

// load adds a Service that the state does not hold.
func (st *tableState) load(s *localsink.Service) {
	c := serviceChange{name: s.Name, desired: s}
	c.frontends = st.desiredFrontends(&c)
	st.claim(&c)
}

// withConflicts adds the Services with conflicts to changes, because any change may free the
// frontend that they need.
func (st *tableState) withConflicts(changes []serviceChange, get func(localsink.ServiceName) *localsink.Service) []serviceChange {
	if len(st.conflicts) == 0 {
		return changes
	}
	listed := map[localsink.ServiceName]bool{}
	for _, c := range changes {
		listed[c.name] = true
	}
	changes = slices.Clip(changes)
	for _, name := range sortedNames(st.conflicts) {
		if !listed[name] {
			changes = append(changes, serviceChange{name: name, desired: get(name)})
		}
	}
	return changes
}

// release frees the frontends that a Service no longer has, so that other Services of the
// same change can claim them.
func (st *tableState) release(c *serviceChange) {
	r := st.records.Get(c.name)
	if r == nil {
		return
	}
	r.frontends = slices.DeleteFunc(r.frontends, func(f programmedFrontend) bool {
		if indexOfDesired(c.frontends, f.key, 0) >= 0 {
			return false
		}
		st.change.released[f.key] = f
		delete(st.owners, f.key)
		return true
	})
	if len(r.frontends) == 0 {
		st.records.Delete(c.name)
	}
}

// claim brings the frontends of a Service to their desired state. A frontend that another
// Service has stays with that Service.
func (st *tableState) claim(c *serviceChange) {
	delete(st.conflicts, c.name)
	if len(c.frontends) == 0 {
		return
	}
	r := st.records.Get(c.name)
	if r == nil {
		r = &serviceRecord{name: c.name}
		st.records.Set(r)
	}
	frontends := make([]programmedFrontend, 0, len(c.frontends))
	for i := range c.frontends {
		desired := &c.frontends[i]
		owner := st.owners[desired.key]
		if owner != nil && owner != r || indexOfFrontend(frontends, desired.key, 0) >= 0 {
			st.reportConflict(c, desired.key, owner)
			continue
		}
		old := (*programmedFrontend)(nil)
		if at := indexOfFrontend(r.frontends, desired.key, i); at >= 0 {
			old = &r.frontends[at]
		} else if f, ok := st.change.released[desired.key]; ok {
			old = &f
			delete(st.change.released, desired.key)
		}
		f := st.newFrontend(desired, old, c.frontends[:i], frontends)
		st.replace(old, &f)
		st.owners[f.key] = r
		frontends = append(frontends, f)
	}
	r.frontends = frontends
	if len(frontends) == 0 {
		st.records.Delete(c.name)
	}
}

// reportConflict notes that the Service of c needs a frontend of owner; a nil owner is the
// Service itself.
func (st *tableState) reportConflict(c *serviceChange, k frontendKey, owner *serviceRecord) {
	holder := c.name
	if owner != nil {
		holder = owner.name
	}
	st.conflicts[c.name] = true
	st.addProblem(c.name, "frontends", fmt.Sprintf("%v belongs to Service %v; ignored", k, holder))
}

func (st *tableState) addProblem(name localsink.ServiceName, field, message string) {
	st.problems[name] = append(st.problems[name], localsink.Problem{
		Object: name.Object(), Field: field, Message: message,
	})
}

// newFrontend returns the programmed form of a desired frontend: endpoints keep the slots
// that they have in old, which may be nil. earlier and frontends are the preceding frontends
// of the Service, desired and programmed.
func (st *tableState) newFrontend(
	desired *desiredFrontend, old *programmedFrontend, earlier []desiredFrontend, frontends []programmedFrontend,
) programmedFrontend {
	f := programmedFrontend{key: desired.key, clusterIP: desired.clusterIP}
	if desired.restricted {
		f.firewall = st.ensureFirewallChain(desired.sources)
	}
	for i, pool := range desired.pools {
		if pool < 0 {
			break
		}
		if id := desired.dispatch.affinityID; id != "" {
			st.updateAffinityPort(id, desired)
			continue
		}
		if isConsistent(desired.selection) && len(desired.portPools[pool].Endpoints) > 1 {
			continue // in a table
		}
		if shared := findSharedSlots(desired, i, earlier, frontends); shared != "" {
			f.slots[i] = shared
			continue
		}
		var held slotList
		if old != nil {
			held = old.slots[i]
		}
		f.slots[i] = assignSlots(held, desired.portPools[pool].Endpoints)
	}
	f.chain = st.ensureDispatchChain(st.withTables(desired))
	return f
}

// findSharedSlots returns the slots of an earlier frontend of the same port that has the same
// pool at index i, or none. Frontends that share slots share memory.
func findSharedSlots(desired *desiredFrontend, i int, earlier []desiredFrontend, frontends []programmedFrontend) slotList {
	for j := len(earlier) - 1; j >= 0 && earlier[j].port == desired.port; j-- {
		if earlier[j].pools[i] == desired.pools[i] {
			if at := indexOfFrontend(frontends, earlier[j].key, j); at >= 0 {
				return frontends[at].slots[i]
			}
		}
	}
	return ""
}

// indexOfFrontend returns the index of the frontend with the key, or -1. It looks at guess
// first.
func indexOfFrontend(frontends []programmedFrontend, k frontendKey, guess int) int {
	if guess < len(frontends) && frontends[guess].key == k {
		return guess
	}
	return slices.IndexFunc(frontends, func(f programmedFrontend) bool { return f.key == k })
}

// replace writes the difference between two states of one frontend. Either may be nil: the
// frontend does not exist.
func (st *tableState) replace(old, desired *programmedFrontend) {
	var before, after programmedFrontend
	if old != nil {
		before = *old
	}
	if desired != nil {
		after = *desired
	} else {
		after.key = before.key
	}
	verdicts, firewalls := st.serviceIPs, st.firewallIPs
	if after.key.matchKind() == matchNodePort {
		verdicts, firewalls = st.nodePorts, st.firewallNodePorts
	}
	for i := range maxPools {
		st.replaceSlots(after.key, uint8(i+1), before.slots[i], after.slots[i])
	}
	st.replaceChain(firewalls, after.key, before.firewall, after.firewall)
	st.replaceChain(verdicts, after.key, before.chain, after.chain)
	if before.clusterIP != after.clusterIP {
		st.countReference(st.clusterIPs, st.clusterIPRefs, element{key: after.key}, after.clusterIP)
	}
}

func (st *tableState) replaceChain(s *set, k frontendKey, old, desired *chain) {
	if old == desired {
		return
	}
	if old != nil {
		st.remove(s, element{key: k, chain: old.name})
		st.releaseChain(old)
	}
	if desired != nil {
		st.add(s, element{key: k, chain: desired.name})
		desired.refs++
		for t := range desired.tables {
			t.users++
		}
		delete(st.unused, desired)
	}
}

// replaceSlots changes only the slots that differ, unless the new slots belong in another
// endpoint map.
func (st *tableState) replaceSlots(k frontendKey, pool uint8, old, desired slotList) {
	if old == desired {
		return
	}
	before, after := old.len(), desired.len()
	from, to := st.endpointMapOf(k, pool, before), st.endpointMapOf(k, pool, after)
	for i := range max(before, after) {
		if from == to && i < before && i < after && old.slot(i) == desired.slot(i) {
			continue
		}
		if i < before {
			st.removeSlot(from, k, i, old.at(i), from == to && i < after)
		}
		if i < after {
			st.addSlot(to, k, i, desired.at(i))
		}
	}
}

// endpointMapOf returns the map for a pool with a number of slots, or nil if there are none.
func (st *tableState) endpointMapOf(k frontendKey, pool uint8, slots int) *set {
	if slots == 0 {
		return nil
	}
	return st.ensureEndpointMap(endpointMap{k.matchKind(), pool, endpointMapLimit(slots)})
}

func (st *tableState) addSlot(s *set, k frontendKey, slot int, e localsink.Endpoint) {
	st.add(s, element{key: k, slot: uint32(slot), value: e.Addr})
	st.countHairpin(e, true)
}

// removeSlot removes a slot. If refilled is false, no new endpoint takes the slot, and its
// removal waits for the cleanup.
func (st *tableState) removeSlot(s *set, k frontendKey, slot int, e localsink.Endpoint, refilled bool) {
	r := removal{s, element{key: k, slot: uint32(slot), value: e.Addr}}
	if refilled {
		st.remove(s, r.element)
	} else {
		st.count(s, -1)
		st.cleanup.removals = append(st.cleanup.removals, r)
	}
	st.countHairpin(e, false)
}

// countHairpin adds or removes a reference of a slot to its endpoint's address in the set of
// hairpin connections, which holds the addresses of local endpoints only.
func (st *tableState) countHairpin(e localsink.Endpoint, add bool) {
	if e.Local {
		st.countReference(st.hairpin, st.hairpinRefs, element{key: frontendKey{addr: e.Addr}}, add)
	}
}
