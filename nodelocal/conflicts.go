// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
)

// An address is what only one Service of a node can use. Node ports and health checks use
// the unspecified address of each family.
type address struct {
	addr     netip.AddrPort
	protocol localsink.Protocol
}

// A request is an address that a Service requests.
type request struct {
	address
	clusterIP bool // the API server allocated the address to this Service
}

// requestsOf returns the requests of a Service before conflicts are removed, each address
// once: those of its frontends and of its health check. A nil Service has none.
func requestsOf(svc *ResolvedService) (out []request) {
	if svc == nil {
		return nil
	}
	for address, fe := range svc.frontends() {
		out = append(out, request{address, fe.Kind == localsink.KindClusterIP})
	}
	for _, address := range healthCheckAddresses(svc.healthCheckPort) {
		if !slices.ContainsFunc(out, func(r request) bool { return r.address == address }) {
			out = append(out, request{address, false})
		}
	}
	return out
}

// A requester is a Service that requests one address.
type requester struct {
	service   localsink.ServiceName
	created   time.Time
	clusterIP bool
}

// compare orders requesters of one address, the owner first. A cluster IP precedes all
// other uses, so that no Service takes it over by listing it elsewhere; then the older
// Service wins, then the smaller name. The order does not depend on the order of events.
func (r requester) compare(o requester) int {
	if r.clusterIP != o.clusterIP {
		if r.clusterIP {
			return -1
		}
		return 1
	}
	return cmp.Or(r.created.Compare(o.created), r.service.Compare(o.service))
}

// withoutService returns a copy of requesters without the named Service. The capacity
// allows to add one requester.
func withoutService(requesters []requester, name localsink.ServiceName) []requester {
	out := make([]requester, 0, len(requesters)+1)
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
func competitorsOf(before, after []requester, name localsink.ServiceName) (out []localsink.ServiceName) {
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
	requesters map[address][]requester // ordered, never empty; the first is the owner
	requests   map[localsink.ServiceName][]request
}

func newAddressTable() *addressTable {
	return &addressTable{
		requesters: map[address][]requester{},
		requests:   map[localsink.ServiceName][]request{},
	}
}

// owner returns the Service that owns an address, or the zero name if no Service requests it.
func (t *addressTable) owner(a address) localsink.ServiceName {
	if requesters := t.requesters[a]; len(requesters) > 0 {
		return requesters[0].service
	}
	return localsink.ServiceName{}
}

// update replaces the requests of one Service, created at the given time, and returns the
// other Services that gain or lose an address, or whose problem names another owner,
// because of it.
func (t *addressTable) update(name localsink.ServiceName, created time.Time, after []request) (competitors []localsink.ServiceName) {
	before := t.requests[name]
	if slices.Equal(before, after) && (len(after) == 0 || t.has(after[0], name, created)) {
		return nil
	}
	for _, r := range after {
		next := append(withoutService(t.requesters[r.address], name), requester{name, created, r.clusterIP})
		slices.SortFunc(next, requester.compare)
		competitors = append(competitors, t.replace(r.address, next, name)...)
	}
	for _, address := range withdrawn(before, after) {
		competitors = append(competitors, t.replace(address, withoutService(t.requesters[address], name), name)...)
	}
	if len(after) == 0 {
		delete(t.requests, name)
	} else {
		t.requests[name] = after
	}
	return competitors
}

// has reports whether a request of a Service is recorded. As all requests of a Service have
// its creation time, one of them shows whether that has changed.
func (t *addressTable) has(r request, name localsink.ServiceName, created time.Time) bool {
	return slices.Contains(t.requesters[r.address], requester{name, created, r.clusterIP})
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
func (t *addressTable) replace(a address, after []requester, name localsink.ServiceName) []localsink.ServiceName {
	before := t.requesters[a]
	if len(after) == 0 {
		delete(t.requesters, a)
	} else {
		t.requesters[a] = after
	}
	return competitorsOf(before, after, name)
}

// removeConflicts removes the frontends and the health check whose address another Service
// owns, and adds a problem for each. svc must not be shared yet.
func (svc *ResolvedService) removeConflicts(owner func(address) localsink.ServiceName) {
	for i := range svc.ports {
		p := &svc.ports[i]
		p.Frontends = slices.DeleteFunc(p.Frontends, func(fe overlay.Frontend) bool {
			holder := owner(address{fe.Addr, p.Protocol})
			if holder == svc.name {
				return false
			}
			svc.addProblemf(fieldOf(&fe, &p.Port), "%s %s %s belongs to %s; ignored", fe.Kind, fe.Addr, p.Protocol, holder.Object())
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
		{netip.AddrPortFrom(netip.IPv4Unspecified(), port), localsink.ProtocolTCP},
		{netip.AddrPortFrom(netip.IPv6Unspecified(), port), localsink.ProtocolTCP},
	}
}
