// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A state is what one load of the maps contains. After an error it must be replaced.
type state struct {
	maps     maps
	sizes    sizes
	compiler *compiler
	counting bool
	version  *uint64 // the last one, of the Backend

	records, slots, cells *arena
	services              map[localsink.ServiceName]*service
	frontends             map[frontendKey]programmed
	rangesInUse           uint32
	nextRanges            uint32
	addrs                 []netip.Addr // that accept node ports
	pods                  podRanges
	counters              counters
	buffer                []byte

	// Frontends to write, and to delete at the end.
	keys    []frontendKey
	values  []uint64
	deletes []frontendKey
	// Ranges to delete after that.
	staleRanges []staleRanges
	// Sockets to close after that.
	removed []removedSockets
}

// staleRanges are source ranges that no frontend refers to after the next commit.
type staleRanges struct {
	id       uint32
	prefixes []netip.Prefix
}

// programmed is what the maps contain for a frontend.
type programmed struct {
	owner     localsink.ServiceName
	port      portID
	host, pod record
	outside   record // follows host in the array; unused without packets
	value     uint64 // the indices of the records
	ranges    []netip.Prefix
}

// A portID identifies a port of a Service: the index distinguishes ports of equal names.
type portID struct {
	service  localsink.ServiceName
	name     string
	protocol localsink.Protocol
	index    int
}

// A poolID identifies a pool of a port.
type poolID struct {
	port  portID
	index int
}

// A service is what the maps contain for a Service.
type service struct {
	pools     map[poolID]*pool
	frontends []frontendKey
	udp       map[portID][]endpointKey // endpoints whose sockets remain open
	violation string
}

func newState(m maps, s sizes, c *compiler, counting bool, version *uint64, now func() time.Time) *state {
	return &state{
		maps: m, sizes: s, compiler: c, counting: counting, version: version,
		records: newArena(s.records, now), slots: newArena(s.slots, now), cells: newArena(s.cells, now),
		services: map[localsink.ServiceName]*service{}, frontends: map[frontendKey]programmed{},
		counters: newCounters(s.counters), nextRanges: podNetworks,
	}
}

func (s *state) nextVersion() uint64 {
	*s.version++
	return *s.version
}

// setService writes what has changed of a Service; nil removes it. commit completes the change.
func (s *state) setService(name localsink.ServiceName, svc *localsink.Service) error {
	old := s.services[name]
	if old == nil {
		old = &service{}
	}
	next := &service{pools: map[poolID]*pool{}}
	if svc != nil {
		if err := s.addPorts(svc, old, next); err != nil {
			return err
		}
	}
	for _, k := range old.frontends {
		if !slices.Contains(next.frontends, k) {
			s.removeFrontend(name, k)
		}
	}
	for id, p := range old.pools {
		if next.pools[id] != p {
			s.releasePool(p)
		}
	}
	s.noteRemovedSockets(old, next)
	if svc == nil {
		delete(s.services, name)
		s.counters.remove(name)
		return nil
	}
	s.services[name] = next
	return nil
}

func (s *state) addPorts(svc *localsink.Service, old, next *service) error {
	seen := make(map[portID]bool, len(svc.Ports))
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if !servesPort(p) {
			continue
		}
		id := portID{service: svc.Name, name: p.Name, protocol: p.Protocol}
		for seen[id] {
			id.index++
		}
		seen[id] = true
		if err := s.addPort(id, p, old, next); err != nil {
			return err
		}
	}
	return nil
}

func (s *state) addPort(id portID, p *localsink.Port, old, next *service) error {
	all, violation := s.compiler.frontends(p)
	if violation != "" {
		next.violation = violation
	}
	for i := range all {
		f := &all[i]
		rec := programmed{owner: id.service, port: id, ranges: f.sourceRanges}
		for _, side := range []struct {
			target *target
			record *record
		}{{&f.host, &rec.host}, {&f.pod, &rec.pod}, {&f.outside, &rec.outside}} {
			pool, err := s.poolFor(id, p, side.target, old, next)
			if err != nil {
				return err
			}
			*side.record = s.recordFor(id, p, f, side.target, pool)
		}
		if f.withoutPods {
			rec.pod = record{}
		}
		if err := s.putFrontend(f.key, rec); err != nil {
			return err
		}
		next.frontends = append(next.frontends, f.key)
	}
	if p.Protocol == localsink.ProtocolUDP {
		next.addUDP(id, p)
	}
	return nil
}

// poolFor returns the pool of a target, nil if it needs none.
func (s *state) poolFor(id portID, p *localsink.Port, t *target, old, next *service) (*pool, error) {
	if !t.verdict.balances() {
		return nil, nil //nolint:nilnil // no pool and no error
	}
	pid := poolID{id, t.pool}
	if present := next.pools[pid]; present != nil {
		return present, nil
	}
	endpoints := p.Pools[t.pool].Endpoints
	current := old.pools[pid]
	if current == nil || !current.is(p, endpoints) {
		var err error
		if current, err = s.addPool(id, p, endpoints); err != nil {
			return nil, err
		}
	}
	next.pools[pid] = current
	return current, nil
}

// recordFor returns the record of a target, without the identifier of its ranges.
func (s *state) recordFor(id portID, p *localsink.Port, f *frontend, t *target, pl *pool) record {
	r := record{frontend: f.key, verdict: t.verdict, denied: t.denied, empty: t.empty}
	if pl == nil {
		return r
	}
	r.base, r.count, r.total = pl.base, uint32(len(pl.endpoints)), pl.length
	r.version = pl.version
	if pl.cells > 0 {
		r.table, r.cells, r.hashing = pl.table, pl.cells, hashingOf(p.Selection)
	}
	r.refused = refusedShare(p.RefusedPerMille)
	if p.Affinity > 0 {
		r.affinity, r.tmo = affinityID(id.service, p, f.source.Addr.Addr().Is4()), uint64(p.Affinity)
	}
	r.counter = s.counterOf(id, counterID{frontend: f.source.Addr, kind: f.source.Kind})
	return r
}

// putFrontend writes new records of a frontend if they differ from the present ones.
func (s *state) putFrontend(k frontendKey, next programmed) error {
	old, present := s.frontends[k]
	sameRanges := present && slices.Equal(old.ranges, next.ranges)
	switch {
	case len(next.ranges) == 0:
	case sameRanges:
		next.setRanges(old.rangesID())
	default:
		s.nextRanges++
		next.setRanges(s.nextRanges)
		if s.rangesInUse += uint32(len(next.ranges)); s.rangesInUse > s.sizes.ranges {
			return fmt.Errorf("source ranges: %w", errFull)
		}
		if err := s.maps.addRanges(s.nextRanges, next.ranges, rangeContained); err != nil {
			return err
		}
	}
	if present && old.host == next.host && old.pod == next.pod && old.outside == next.outside {
		next.value = old.value
		s.frontends[k] = next
		return nil
	}
	if !present && len(s.frontends) >= int(s.sizes.frontends) {
		return fmt.Errorf("frontends: %w", errFull)
	}
	var host uint32
	var err error
	if s.compiler.packets {
		host, err = s.addRecord(&next.host, &next.outside)
	} else {
		host, err = s.addRecord(&next.host)
	}
	if err != nil {
		return err
	}
	pod := host
	if next.pod != next.host {
		if pod, err = s.addRecord(&next.pod); err != nil {
			return err
		}
	}
	next.value = uint64(host)<<32 | uint64(pod)
	s.frontends[k] = next
	s.keys, s.values = append(s.keys, k), append(s.values, next.value)
	if present {
		s.releaseRecords(old, !sameRanges)
	}
	return nil
}

func (p *programmed) setRanges(id uint32) {
	for _, r := range []*record{&p.host, &p.pod, &p.outside} {
		if r.verdict.balances() {
			r.ranges = id
		}
	}
}

// rangesID returns the identifier of the source ranges, 0 without.
func (p *programmed) rangesID() uint32 { return p.host.ranges | p.pod.ranges | p.outside.ranges }

// addRecord writes records, one after the other, and returns the index of the first, 0 if that is
// the empty record.
func (s *state) addRecord(all ...*record) (uint32, error) {
	if *all[0] == (record{}) {
		return 0, nil
	}
	index, err := s.records.alloc(uint32(len(all)))
	if err != nil {
		return 0, err
	}
	var data [2 * recordSize]byte
	for i, r := range all {
		r.encode(data[i*recordSize:])
	}
	return index, s.maps.write(arrayRecords, index, data[:len(all)*recordSize])
}

// releaseRecords frees the records of a frontend that is replaced or deleted by the next commit.
func (s *state) releaseRecords(p programmed, withRanges bool) {
	host, pod := uint32(p.value>>32), uint32(p.value)
	switch {
	case host == 0:
	case s.compiler.packets:
		s.records.release(host, 2)
	default:
		s.records.release(host, 1)
	}
	if pod != host && pod != 0 {
		s.records.release(pod, 1)
	}
	if id := p.rangesID(); withRanges && id != 0 {
		s.rangesInUse -= uint32(len(p.ranges))
		s.staleRanges = append(s.staleRanges, staleRanges{id, p.ranges})
	}
}

// removeFrontend deletes a frontend unless another Service has it now.
func (s *state) removeFrontend(owner localsink.ServiceName, k frontendKey) {
	old, present := s.frontends[k]
	if !present || old.owner != owner {
		return
	}
	s.releaseRecords(old, true)
	delete(s.frontends, k)
	s.deletes = append(s.deletes, k)
}

// commit makes all changes since the last commit effective, each frontend at once.
func (s *state) commit() error {
	if s.counters.full {
		return fmt.Errorf("counters: %w", errFull)
	}
	if len(s.keys) > 0 {
		if err := s.maps.putFrontends(s.keys, s.values); err != nil {
			return err
		}
	}
	deletes := slices.DeleteFunc(s.deletes, func(k frontendKey) bool {
		_, present := s.frontends[k] // another Service has it now
		return present
	})
	if len(deletes) > 0 {
		if err := s.maps.deleteFrontends(deletes); err != nil {
			return err
		}
	}
	for _, r := range s.staleRanges {
		if err := s.maps.deleteRanges(r.id, r.prefixes); err != nil {
			return err
		}
	}
	s.keys, s.values, s.deletes, s.staleRanges = s.keys[:0], s.values[:0], s.deletes[:0], nil
	return nil
}

// podRanges are the networks of pods in the maps.
type podRanges struct {
	networks []netip.Prefix
	value    rangeValue
}

// setPods replaces the networks of pods. Without networks, only the kernel's rules can recognise
// the pods by their interfaces, and clients in other network namespaces count as pods.
func (s *state) setPods(p *localsink.PodSources) error {
	next := podRanges{p.Networks, rangeContained}
	if len(p.Networks) == 0 {
		next = podRanges{[]netip.Prefix{netip.PrefixFrom(netip.IPv6Unspecified(), 0)}, rangeUnknown}
	}
	if slices.Equal(next.networks, s.pods.networks) && next.value == s.pods.value {
		return nil
	}
	if s.rangesInUse += uint32(len(next.networks)); s.rangesInUse > s.sizes.ranges {
		return fmt.Errorf("networks of pods: %w", errFull)
	}
	if err := s.maps.addRanges(podNetworks, next.networks, next.value); err != nil {
		return err
	}
	stale := slices.DeleteFunc(slices.Clone(s.pods.networks), func(n netip.Prefix) bool { return slices.Contains(next.networks, n) })
	s.rangesInUse -= uint32(len(s.pods.networks))
	s.pods = next
	return s.maps.deleteRanges(podNetworks, stale)
}

// setAddrs replaces the addresses that accept node ports.
func (s *state) setAddrs(addrs []netip.Addr) error {
	if len(addrs) > int(s.sizes.addrs) {
		return fmt.Errorf("node port addresses: %w", errFull)
	}
	without := func(all, others []netip.Addr) []netip.Addr {
		return slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return slices.Contains(others, a) })
	}
	if err := s.maps.setLocalAddrs(without(addrs, s.addrs), without(s.addrs, addrs)); err != nil {
		return err
	}
	s.addrs = addrs
	return nil
}
