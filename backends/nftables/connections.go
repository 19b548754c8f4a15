// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"syscall"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// CountsConnections reports whether [Config.CountConnections] is set; see
// [localsink.ConnectionCounter].
func (b *Backend) CountsConnections() bool { return b.counting }

// FrontendConnections returns the number of new connections to each frontend of a Service, none
// if connections are not counted; see [localsink.ConnectionCounter]. It reads the counters of
// this Service only, so the time does not depend on the number of Services.
//
// It counts the first packets of connections: those that are rejected because there is no
// endpoint, and repetitions before the first response, are counted too. Counts begin with the
// process, and with the frontend. Replaced elements keep their counts, apart from connections
// in the microseconds before the replacement. If another program removes elements, the
// connections since the last call are not counted.
func (b *Backend) FrontendConnections(ctx context.Context, name localsink.ServiceName) ([]localsink.FrontendConnections, error) {
	return readConnections(ctx, b, name, (*table).frontendConnections)
}

// EndpointConnections returns the number of new connections to each endpoint of a Service, like
// [Backend.FrontendConnections]. A port with session affinity has one count for all of its
// frontends; connections that follow an affinity entry are included. An endpoint that was
// removed and returns continues its count, unless more than 32 others, and more than half as many
// as the frontend ever had at one time, were removed meanwhile.
func (b *Backend) EndpointConnections(ctx context.Context, name localsink.ServiceName) ([]localsink.EndpointConnections, error) {
	return readConnections(ctx, b, name, (*table).endpointConnections)
}

// readConnections calls read for each table and returns the results.
func readConnections[T any](ctx context.Context, b *Backend, name localsink.ServiceName, read func(*table, *localsink.Service) ([]T, error)) ([]T, error) {
	if !b.counting {
		return nil, nil
	}
	if err := b.acquire(ctx); err != nil {
		return nil, err
	}
	defer b.releaseTables()
	if b.closed.Load() {
		return nil, errClosed
	}
	if b.all == nil {
		return nil, nil
	}
	s := b.all.Get(name)
	if s == nil {
		return nil, nil
	}
	var all []T
	for _, t := range b.tables {
		counts, err := read(t, s)
		if errors.Is(err, syscall.ENOENT) {
			err = errors.New("another program has removed elements")
		}
		if err != nil {
			return nil, fmt.Errorf("nftables: table %s %s: read the counts of Service %v: %w", t.family.name, t.cfg.Table, name, err)
		}
		all = append(all, counts...)
	}
	return all, nil
}

// acquire waits until nothing else uses the tables.
func (b *Backend) acquire(ctx context.Context) error {
	select {
	case b.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Backend) releaseTables() { <-b.busy }

// A countReader reads the counters of some elements, by set.
type countReader struct {
	table *table
	keys  map[*set][]element
}

func (r *countReader) request(s *set, e element) { r.keys[s] = append(r.keys[s], e) }

// read returns the sums of the requested counters by owner and endpoint.
func (r *countReader) read() (map[countOwner]map[netip.AddrPort]uint64, error) {
	sums := map[countOwner]map[netip.AddrPort]uint64{}
	t := r.table
	for _, s := range slices.SortedFunc(maps.Keys(r.keys), func(a, b *set) int { return cmp.Compare(a.name, b.name) }) {
		var keys encodedElements
		for i := range r.keys[s] {
			keys.append(t.family, s, &r.keys[s][i], false)
		}
		for chunk := range keys.chunks(nfnl.MaxGet) {
			elements, err := t.kernel.Get(t.family.number, t.cfg.Table, s.name, chunk)
			if err != nil {
				return nil, err
			}
			for i := range elements {
				if !elements[i].Counted {
					return nil, errors.New("this kernel does not count lookups in maps")
				}
				e := newCountedElement(t.family, s, &elements[i])
				if sums[e.owner] == nil {
					sums[e.owner] = map[netip.AddrPort]uint64{}
				}
				sums[e.owner][e.endpoint] += e.packets
			}
		}
	}
	return sums, nil
}

// frontendConnections returns the counts of the frontends of a Service in this table.
func (t *table) frontendConnections(s *localsink.Service) (all []localsink.FrontendConnections, err error) {
	r := countReader{t, map[*set][]element{}}
	for _, p := range s.Ports {
		for _, fe := range p.Frontends {
			k := frontendKey{fe.Addr, p.Protocol}
			if t.programmedFrontend(s, k) == nil {
				continue
			}
			from := t.state.serviceIPs
			if k.matchKind() == matchNodePort {
				from = t.state.nodePorts
			}
			r.request(from, element{key: k})
			all = append(all, localsink.FrontendConnections{Port: p.Name, Protocol: p.Protocol, Kind: fe.Kind, Addr: fe.Addr})
		}
	}
	sums, err := r.read()
	if err != nil {
		return nil, err
	}
	for i := range all {
		owner := countOwner{frontend: frontendKey{all[i].Addr, all[i].Protocol}}
		all[i].Count = t.counts.of(owner, netip.AddrPort{}).total(sums[owner][netip.AddrPort{}])
	}
	return all, nil
}

// programmedFrontend returns a frontend that the Service has in the table, or nil.
func (t *table) programmedFrontend(s *localsink.Service, k frontendKey) *programmedFrontend {
	if t.state == nil || !t.family.has(k.addr.Addr()) {
		return nil
	}
	if r := t.state.owners[k]; r == nil || r.name != s.Name {
		return nil
	}
	return t.state.programmedFrontend(k)
}

// endpointConnections returns the counts of the endpoints of a Service in this table.
func (t *table) endpointConnections(s *localsink.Service) (all []localsink.EndpointConnections, err error) {
	r := countReader{t, map[*set][]element{}}
	var owners []countOwner // of each element of all
	add := func(p *localsink.Port, owner countOwner) {
		present, _ := t.state.endpointsOf(owner)
		for _, a := range slices.SortedFunc(maps.Keys(present), netip.AddrPort.Compare) {
			all = append(all, localsink.EndpointConnections{Port: p.Name, Protocol: p.Protocol, Frontend: owner.frontend.addr, Endpoint: a})
			owners = append(owners, owner)
		}
	}
	for i := range s.Ports {
		p, requested := &s.Ports[i], map[any]bool{} // ports and tables
		for _, fe := range p.Frontends {
			f := t.programmedFrontend(s, frontendKey{fe.Addr, p.Protocol})
			if f == nil {
				continue
			}
			r.requestEndpoints(f)
			add(p, countOwner{frontend: f.key})
			id := r.requestShared(f, requested)
			if id != "" && !requested[id] {
				requested[id] = true
				add(p, countOwner{portID: id})
			}
		}
	}
	sums, err := r.read()
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Count = t.counts.of(owners[i], all[i].Endpoint).total(sums[owners[i]][all[i].Endpoint])
	}
	return all, nil
}

// requestEndpoints requests the elements of a frontend in endpoint maps.
func (r *countReader) requestEndpoints(f *programmedFrontend) {
	for i, slots := range f.slots {
		s := r.table.state.endpointMapOf(f.key, uint8(i+1), slots.len())
		for slot := range slots.len() {
			r.request(s, element{key: f.key, slot: uint32(slot)})
		}
	}
}

// requestShared requests the elements that the frontend shares with others of its port: those of
// session affinity, and of tables that are not requested yet. It returns the port, empty if the
// frontend shares no elements.
func (r *countReader) requestShared(f *programmedFrontend, requested map[any]bool) (portID string) {
	if id := f.chain.dispatch.affinityID; id != "" {
		if !requested[id] {
			r.requestPort(r.table.state.affinityPorts[id])
		}
		return id
	}
	for t := range f.chain.tables {
		portID = t.portID
		if requested[t] {
			continue
		}
		requested[t] = true
		for _, n := range t.numbers {
			r.request(t.values, element{slot: n})
		}
	}
	return portID
}

// requestPort requests the elements of a port with affinity in endpoint maps.
func (r *countReader) requestPort(a *affinityPort) {
	for _, p := range a.pools {
		for _, slot := range p.slots {
			r.request(p.endpoints, element{slot: slot})
		}
	}
}
