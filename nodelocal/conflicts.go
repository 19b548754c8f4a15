// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/internal/pointermap"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
)

// An address is what only one Service of a node can use. Node ports and health checks use
// the unspecified address of each family. It takes half the memory of a [netip.AddrPort] with a
// protocol.
type address struct {
	ip       [16]byte
	port     uint16
	protocol localsink.Protocol
	bits     uint8 // of the IP address
}

func newAddress(a netip.AddrPort, protocol localsink.Protocol) address {
	return address{a.Addr().As16(), a.Port(), protocol, uint8(a.Addr().BitLen())}
}

// A request is an address that a Service requests.
type request struct {
	address
	clusterIP bool // the API server allocated the address to this Service
}

// serviceRequests are the requests of one Service. They are immutable.
type serviceRequests struct {
	service  localsink.ServiceName
	created  time.Time
	requests []request // not empty; cluster IPs are first
}

// isClusterIP reports whether an address that the Service requests is a cluster IP of it. Other
// addresses may be thousands, so it does not visit them.
func (s *serviceRequests) isClusterIP(a address) bool {
	for i := 0; i < len(s.requests) && s.requests[i].clusterIP; i++ {
		if s.requests[i].address == a {
			return true
		}
	}
	return false
}

// requestsOf returns the requests of a Service before conflicts are removed, each address
// once, cluster IPs first: those of its frontends and of its health check. A nil Service has none.
func requestsOf(svc *ResolvedService) (out []request) {
	if svc == nil {
		return nil
	}
	for _, clusterIP := range [...]bool{true, false} {
		for address, fe := range svc.frontends() {
			if clusterIP == (fe.Kind == localsink.KindClusterIP) {
				out = append(out, request{address, clusterIP})
			}
		}
	}
	for _, address := range healthCheckAddresses(svc.healthCheckPort) {
		if !slices.ContainsFunc(out, func(r request) bool { return r.address == address }) {
			out = append(out, request{address, false})
		}
	}
	return out
}

// compareFor orders the requesters of an address, the owner first. A cluster IP precedes all
// other uses, so that no Service takes it over by listing it elsewhere; then the older
// Service wins, then the smaller name. The order does not depend on the order of events.
func (s *serviceRequests) compareFor(a address, o *serviceRequests) int {
	mine, theirs := s.isClusterIP(a), o.isClusterIP(a)
	if mine != theirs {
		if mine {
			return -1
		}
		return 1
	}
	return cmp.Or(s.created.Compare(o.created), s.service.Compare(o.service))
}

// withoutService returns a copy of requesters without the named Service. The capacity
// allows to add one requester.
func withoutService(requesters []*serviceRequests, name localsink.ServiceName) []*serviceRequests {
	out := make([]*serviceRequests, 0, len(requesters)+1)
	for _, r := range requesters {
		if r.service != name {
			out = append(out, r)
		}
	}
	return out
}

// competitorsOf returns the Services other than name that are affected when the requesters
// of an address change from before to after: all of them when the address passes from one
// owner to another, because the problem of each other requester names the owner.
func competitorsOf(before, after []*serviceRequests, name localsink.ServiceName) (out []localsink.ServiceName) {
	if len(before) == 0 || len(after) == 0 || before[0].service == after[0].service {
		return nil
	}
	for _, r := range after {
		if r.service != name {
			out = append(out, r.service)
		}
	}
	return out
}

// An addressTable records which Services request which addresses.
type addressTable struct {
	services *pointermap.Map[localsink.ServiceName, serviceRequests]
	owners   map[address]*serviceRequests
	// shared has the requesters of the addresses with several, ordered; the first is the owner.
	shared map[address][]*serviceRequests
}

func newAddressTable() *addressTable {
	return &addressTable{
		services: pointermap.New(func(s *serviceRequests) localsink.ServiceName { return s.service }),
		owners:   map[address]*serviceRequests{},
		shared:   map[address][]*serviceRequests{},
	}
}

// owner returns the Service that owns an address, or the zero name if no Service requests it.
func (t *addressTable) owner(a address) localsink.ServiceName {
	if owner := t.owners[a]; owner != nil {
		return owner.service
	}
	return localsink.ServiceName{}
}

// requesters returns the Services that request an address, the owner first.
func (t *addressTable) requesters(a address) []*serviceRequests {
	if all := t.shared[a]; all != nil {
		return all
	}
	if owner := t.owners[a]; owner != nil {
		return []*serviceRequests{owner}
	}
	return nil
}

// update replaces the requests of one Service, created at the given time, and returns the
// other Services that gain or lose an address, or whose problem names another owner,
// because of it.
func (t *addressTable) update(name localsink.ServiceName, created time.Time, requests []request) (competitors []localsink.ServiceName) {
	before, after := t.services.Get(name), &serviceRequests{name, created, requests}
	if before == nil {
		before = &serviceRequests{service: name}
	}
	if slices.Equal(before.requests, requests) && (len(requests) == 0 || before.created.Equal(created)) {
		return nil
	}
	for _, r := range requests {
		next := append(withoutService(t.requesters(r.address), name), after)
		slices.SortFunc(next, func(a, b *serviceRequests) int { return a.compareFor(r.address, b) })
		competitors = append(competitors, t.replace(r.address, next, name)...)
	}
	for _, address := range withdrawn(before.requests, requests) {
		competitors = append(competitors, t.replace(address, withoutService(t.requesters(address), name), name)...)
	}
	if len(requests) == 0 {
		t.services.Delete(name)
	} else {
		t.services.Set(after)
	}
	return competitors
}

// withdrawn returns the addresses of before that after does not have.
func withdrawn(before, after []request) (out []address) {
	if len(before) == 0 {
		return nil
	}
	requested := make(map[address]struct{}, len(after))
	for _, r := range after {
		requested[r.address] = struct{}{}
	}
	for _, r := range before {
		if _, ok := requested[r.address]; !ok {
			out = append(out, r.address)
		}
	}
	return out
}

// replace replaces the requesters of an address because of a change of the named Service,
// and returns the other Services that are affected.
func (t *addressTable) replace(a address, after []*serviceRequests, name localsink.ServiceName) []localsink.ServiceName {
	before := t.requesters(a)
	switch len(after) {
	case 0:
		delete(t.owners, a)
		delete(t.shared, a)
	case 1:
		t.owners[a] = after[0]
		delete(t.shared, a)
	default:
		t.owners[a], t.shared[a] = after[0], after
	}
	return competitorsOf(before, after, name)
}

// removeConflicts removes the frontends and the health check whose address another Service
// owns, and adds a problem for each. svc must not be shared yet.
func (svc *ResolvedService) removeConflicts(owner func(address) localsink.ServiceName) {
	for i := range svc.ports {
		p := &svc.ports[i]
		p.Frontends = slices.DeleteFunc(p.Frontends, func(fe overlay.Frontend) bool {
			holder := owner(newAddress(fe.Addr, p.Protocol))
			if holder == svc.name {
				return false
			}
			svc.addProblemf(svc.fieldOf(&fe, &p.Port), "%s %s %s belongs to %s; ignored", fe.Kind, fe.Addr, p.Protocol, holder.Object())
			return true
		})
	}
	if problem := svc.healthCheckConflict(owner); problem != "" {
		svc.healthCheckPort = 0
		svc.addProblemf(healthCheckField, "%s", problem)
	}
	svc.ports = slices.DeleteFunc(svc.ports, func(p resolvedPort) bool { return len(p.Frontends) == 0 })
	if len(svc.ports) == 0 {
		svc.healthCheckPort = 0 // load balancers must not send traffic to a Service without ports
	}
}

// healthCheckConflict returns why the health check port cannot be used, or "". A node port
// of the Service itself conflicts as well: packets would go to the endpoints.
func (svc *ResolvedService) healthCheckConflict(owner func(address) localsink.ServiceName) string {
	for _, a := range healthCheckAddresses(svc.healthCheckPort) {
		for used := range svc.frontends() {
			if used == a {
				return fmt.Sprintf("%d is a node port of this Service; ignored", svc.healthCheckPort)
			}
		}
		if holder := owner(a); holder != svc.name {
			return fmt.Sprintf("TCP port %d belongs to %s; ignored", svc.healthCheckPort, holder.Object())
		}
	}
	return ""
}

// healthCheckAddresses returns the addresses that a health check uses: a TCP port on the
// node's addresses of both families, as node ports are. Port 0 uses none.
func healthCheckAddresses(port uint16) []address {
	if port == 0 {
		return nil
	}
	return []address{
		newAddress(netip.AddrPortFrom(netip.IPv4Unspecified(), port), localsink.ProtocolTCP),
		newAddress(netip.AddrPortFrom(netip.IPv6Unspecified(), port), localsink.ProtocolTCP),
	}
}
