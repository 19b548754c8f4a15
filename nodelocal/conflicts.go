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

// A claim is what only one Service of a node can have.
type claim struct {
	addr     netip.AddrPort
	protocol localsink.Protocol
}

// A claimant is a Service that asks for a claim.
type claimant struct {
	name    localsink.ServiceName
	created time.Time
	// assigned says that the address is the Service's cluster IP: the API server
	// gave it to this Service alone, so nobody takes it by naming it elsewhere.
	assigned bool
}

// compare orders claimants, the rightful one first: whom the address was assigned
// to, then who was there first. The order does not depend on the order of events.
func (c claimant) compare(o claimant) int {
	if c.assigned != o.assigned {
		if c.assigned {
			return -1
		}
		return 1
	}
	return cmp.Or(c.created.Compare(o.created), c.name.Compare(o.name))
}

// claims knows who asks for which address. Nearly every address has one claimant;
// only contested ones pay for a list.
type claims struct {
	holders map[claim]claimant
	waiting map[claim][]claimant // in order, without the holder
	made    map[localsink.ServiceName][]claim
}

func newClaims() *claims {
	return &claims{
		holders: map[claim]claimant{},
		waiting: map[claim][]claimant{},
		made:    map[localsink.ServiceName][]claim{},
	}
}

// set replaces all claims of a Service by those that want makes, nil for none, and
// yields the other Services that win or lose an address by it.
func (c *claims) set(name localsink.ServiceName, created time.Time, want *ResolvedService) []localsink.ServiceName {
	var affected []localsink.ServiceName
	old := c.made[name]
	var now []claim
	asked := map[claim]claimant{}
	if want != nil {
		for key, fe := range frontends(want) {
			now = append(now, key)
			asked[key] = claimant{name, created, fe.Kind == localsink.KindClusterIP}
		}
		for _, key := range listeners(want) {
			if _, twice := asked[key]; !twice {
				now = append(now, key)
				asked[key] = claimant{name, created, false}
			}
		}
	}
	for _, key := range old {
		if as, ok := asked[key]; ok && c.has(key, as) {
			delete(asked, key)
			continue
		}
		affected = append(affected, c.drop(key, name)...)
	}
	for key, as := range asked {
		affected = append(affected, c.add(key, as)...)
	}
	if now == nil {
		delete(c.made, name)
	} else {
		c.made[name] = now
	}
	return affected
}

func (c *claims) has(key claim, as claimant) bool {
	return c.holders[key] == as || slices.Contains(c.waiting[key], as)
}

// add returns the Service that loses the address.
func (c *claims) add(key claim, as claimant) []localsink.ServiceName {
	holder, held := c.holders[key]
	if !held {
		c.holders[key] = as
		return nil
	}
	c.waiting[key] = append(c.waiting[key], as)
	if as.compare(holder) > 0 {
		slices.SortFunc(c.waiting[key], claimant.compare)
		return nil
	}
	c.holders[key] = as
	line := c.waiting[key]
	line[len(line)-1] = holder
	slices.SortFunc(line, claimant.compare)
	return names(line)
}

// drop returns the Services whose report changes: the new holder, and all who now
// lose to it.
func (c *claims) drop(key claim, name localsink.ServiceName) []localsink.ServiceName {
	line := c.waiting[key]
	if c.holders[key].name != name {
		line = slices.DeleteFunc(line, func(w claimant) bool { return w.name == name })
		c.wait(key, line)
		return nil
	}
	delete(c.holders, key)
	if len(line) == 0 {
		return nil
	}
	affected := names(line)
	c.holders[key] = line[0]
	c.wait(key, line[1:])
	return affected
}

func (c *claims) wait(key claim, line []claimant) {
	if len(line) == 0 {
		delete(c.waiting, key)
		return
	}
	c.waiting[key] = line
}

func names(line []claimant) []localsink.ServiceName {
	out := make([]localsink.ServiceName, len(line))
	for i := range line {
		out[i] = line[i].name
	}
	return out
}

// settle takes from m the frontends that belong to others, and says so in its
// problems. m must not be shared yet.
func (c *claims) settle(m *ResolvedService) {
	for i := range m.ports {
		p := &m.ports[i]
		p.Frontends = slices.DeleteFunc(p.Frontends, func(fe overlay.Frontend) bool {
			holder := c.holders[claim{fe.Addr, p.Protocol}].name
			if holder == m.name {
				return false
			}
			m.problems = append(m.problems, localsink.Problem{
				Object: "Service " + m.name.String(),
				Field:  field(&fe, &p.Port),
				Message: fmt.Sprintf("%s %s %s belongs to Service %s; ignored",
					fe.Kind, fe.Addr, p.Protocol, holder),
			})
			return true
		})
	}
	c.settleHealthCheck(m)
	m.ports = slices.DeleteFunc(m.ports, func(p meaningPort) bool { return len(p.Frontends) == 0 })
	if len(m.ports) == 0 {
		m.healthCheckPort = 0 // load balancers must not be told of what is not served
	}
}

// settleHealthCheck takes from m its health check when another Service has the port,
// or when it is one of its own node ports: packets would go to the endpoints.
func (c *claims) settleHealthCheck(m *ResolvedService) {
	for _, key := range listeners(m) {
		wrong := ""
		if holder := c.holders[key].name; holder != m.name {
			wrong = fmt.Sprintf("TCP port %d belongs to Service %s; ignored", key.addr.Port(), holder)
		}
		for taken := range frontends(m) {
			if taken == key {
				wrong = fmt.Sprintf("%d is a node port of this Service; ignored", key.addr.Port())
			}
		}
		if wrong != "" {
			m.healthCheckPort = 0
			m.problems = append(m.problems, localsink.Problem{
				Object: "Service " + m.name.String(), Field: "spec.healthCheckNodePort", Message: wrong})
			return
		}
	}
}

// listeners are the claims of a Service's health check: a port on the node's addresses
// of both families, as node ports are.
func listeners(m *ResolvedService) []claim {
	if m.healthCheckPort == 0 {
		return nil
	}
	var all []claim
	for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		all = append(all, claim{netip.AddrPortFrom(any, m.healthCheckPort), localsink.ProtocolTCP})
	}
	return all
}

// field names where a Service asks for a frontend.
func field(fe *overlay.Frontend, p *overlay.Port) string {
	switch fe.Kind {
	case localsink.KindNodePort:
		return fmt.Sprintf("spec.ports[name=%q].nodePort", p.Name)
	case localsink.KindExternalIP:
		return externalIPsField
	case localsink.KindLoadBalancer:
		return ingressField
	}
	return clusterIPsField
}

// frontends yields each frontend of a Service with the claim it makes.
func frontends(m *ResolvedService) func(yield func(claim, *overlay.Frontend) bool) {
	return func(yield func(claim, *overlay.Frontend) bool) {
		for i := range m.ports {
			p := &m.ports[i]
			for j := range p.Frontends {
				if !yield(claim{p.Frontends[j].Addr, p.Protocol}, &p.Frontends[j]) {
					return
				}
			}
		}
	}
}
