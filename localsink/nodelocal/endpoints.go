package nodelocal

import (
	"cmp"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// A candidate is an endpoint that one Service port might use.
type candidate struct {
	addr     netip.AddrPort
	endpoint *watchers.Endpoint
	local    bool
}

// ready candidates take new connections; draining ones take them only when there
// is no ready one left.
func (c *candidate) ready() bool    { return c.endpoint.Ready }
func (c *candidate) draining() bool { return c.endpoint.Serving && c.endpoint.Terminating }

// candidates merges what all slices of a family say about one port: a slice's port
// belongs to the Service's port of the same name and protocol. The result is
// ordered by address and has each address and port once; of several reports of one
// endpoint the one that promises most counts, whatever the order of arrival.
func (v *view) candidates(list []*watchers.EndpointSlice, family watchers.IPFamily, port *watchers.ServicePort) []candidate {
	var all []candidate
	for _, slice := range list {
		if slice.Family != family {
			continue
		}
		for _, p := range slice.Ports {
			if p.Name != port.Name || p.Protocol != port.Protocol || p.Port == 0 {
				continue
			}
			all = slices.Grow(all, len(slice.Endpoints))
			for i := range slice.Endpoints {
				e := &slice.Endpoints[i]
				local := e.Node != "" && e.Node == v.node.Name
				all = append(all, candidate{netip.AddrPortFrom(e.Addr, p.Port), e, local})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(b.promise(), a.promise()))
	})
	return slices.CompactFunc(all, func(a, b candidate) bool { return a.addr == b.addr })
}

// promise orders reports of one endpoint.
func (c *candidate) promise() int {
	p := 0
	for _, good := range []bool{!c.endpoint.Terminating, c.endpoint.Ready, c.endpoint.Serving, c.local} {
		p <<= 1
		if good {
			p |= 1
		}
	}
	return p
}

// A choice is which endpoints of a port this node may use.
type choice struct {
	cluster, local []localsink.Endpoint
	// any says that some endpoint, anywhere, takes connections. When it is false
	// nobody can help the client, on this node or another.
	any bool
}

func (v *view) choose(all []candidate) choice {
	var c choice
	near := v.nearby(all)
	c.cluster = pick(all, func(e *candidate) bool { return e.ready() && near(e) })
	if c.cluster == nil {
		c.cluster = pick(all, (*candidate).draining)
	}
	c.any = c.cluster != nil
	c.local = pick(all, func(e *candidate) bool { return e.local && e.ready() })
	if c.local == nil {
		c.local = pick(all, func(e *candidate) bool { return e.local && e.draining() })
	}
	return c
}

func pick(all []candidate, want func(*candidate) bool) []localsink.Endpoint {
	n := 0
	for i := range all {
		if want(&all[i]) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	picked := make([]localsink.Endpoint, 0, n)
	for i := range all {
		if want(&all[i]) {
			picked = append(picked, localsink.Endpoint{Addr: all[i].addr, Local: all[i].local})
		}
	}
	return picked
}

// nearby returns which ready endpoints the hints leave to this node. Hints count
// only if every ready endpoint has them and one is meant for this node: half a set
// would overload the hinted ones. Hints for nodes come before hints for zones.
func (v *view) nearby(all []candidate) func(*candidate) bool {
	byNode := func(e *candidate) bool { return slices.Contains(hints(e).Nodes, v.node.Name) }
	byZone := func(e *candidate) bool { return slices.Contains(hints(e).Zones, v.zone) }
	nodesHinted, zonesHinted, forNode, forZone := true, true, false, false
	for i := range all {
		e := &all[i]
		if !e.ready() {
			continue
		}
		nodesHinted = nodesHinted && len(hints(e).Nodes) > 0
		zonesHinted = zonesHinted && len(hints(e).Zones) > 0
		forNode = forNode || byNode(e)
		forZone = forZone || byZone(e)
	}
	switch {
	case nodesHinted && forNode:
		return byNode
	case zonesHinted && forZone && v.zone != "":
		return byZone
	}
	return func(*candidate) bool { return true }
}

func hints(c *candidate) watchers.Hints {
	if c.endpoint.Hints == nil {
		return watchers.Hints{}
	}
	return *c.endpoint.Hints
}

// retained returns the serving endpoints that no pool has: policies and hints choose
// among endpoints for new connections, and leave old ones where they are.
func retained(all []candidate, pools []localsink.Pool) []netip.AddrPort {
	var out []netip.AddrPort
	for i := range all {
		pooled := slices.ContainsFunc(pools, func(p localsink.Pool) bool {
			_, found := slices.BinarySearchFunc(p.Endpoints, all[i].addr, func(e localsink.Endpoint, a netip.AddrPort) int {
				return e.Addr.Compare(a)
			})
			return found
		})
		if all[i].endpoint.Serving && !pooled {
			out = append(out, all[i].addr)
		}
	}
	return out
}

// localReady adds the addresses of this node's ready endpoints to addrs.
func localReady(all []candidate, addrs map[netip.Addr]struct{}) {
	for i := range all {
		if all[i].local && all[i].ready() {
			addrs[all[i].addr.Addr()] = struct{}{}
		}
	}
}
