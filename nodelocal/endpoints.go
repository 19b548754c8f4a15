// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/watchers"
)

// A candidate is an endpoint that one Service port might use.
type candidate struct {
	addr     netip.AddrPort
	endpoint *watchers.Endpoint
}

// ready candidates take new connections; draining ones take them only when there
// is no ready one left.
func (c *candidate) ready() bool    { return c.endpoint.Ready }
func (c *candidate) draining() bool { return c.endpoint.Serving && c.endpoint.Terminating }

func (c *candidate) on(node string) bool { return c.endpoint.Node != "" && c.endpoint.Node == node }

func (c *candidate) forZone(zone string) bool { return slices.Contains(hints(c).Zones, zone) }
func (c *candidate) forNode(node string) bool { return slices.Contains(hints(c).Nodes, node) }

func hints(c *candidate) watchers.Hints {
	if c.endpoint.Hints == nil {
		return watchers.Hints{}
	}
	return *c.endpoint.Hints
}

// candidates merges what all slices of a family say about one port: a slice's port
// belongs to the Service's port of the same name and protocol. The result is
// ordered by address and has each address and port once; of several reports of one
// endpoint the one that promises most counts, whatever the order of arrival.
func candidates(list []*watchers.EndpointSlice, family watchers.IPFamily, port *watchers.ServicePort) []candidate {
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
				all = append(all, candidate{netip.AddrPortFrom(e.Addr, p.Port), e})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(b.promise(), a.promise()), strings.Compare(a.endpoint.Node, b.endpoint.Node))
	})
	return slices.CompactFunc(all, func(a, b candidate) bool { return a.addr == b.addr })
}

// promise orders reports of one endpoint.
func (c *candidate) promise() int {
	p := 0
	for _, good := range []bool{!c.endpoint.Terminating, c.endpoint.Ready, c.endpoint.Serving, c.endpoint.Node != ""} {
		p <<= 1
		if good {
			p |= 1
		}
	}
	return p
}

// A reach is which endpoints of one port, in one family, nodes may use: for any node,
// and the same however many ask.
type reach struct {
	all      []candidate
	anyReady bool
	// any says that some endpoint, anywhere, takes connections. When it is false
	// nobody can help the client, on this node or another.
	any bool
	// Hints count only if every ready endpoint has them: half a set would overload the
	// hinted ones.
	zonesHinted, nodesHinted bool
}

func newReach(all []candidate) reach {
	r := reach{all: all, zonesHinted: true, nodesHinted: true}
	for i := range all {
		e := &all[i]
		if !e.ready() {
			r.any = r.any || e.draining()
			continue
		}
		r.anyReady, r.any = true, true
		r.zonesHinted = r.zonesHinted && len(hints(e).Zones) > 0
		r.nodesHinted = r.nodesHinted && len(hints(e).Nodes) > 0
	}
	r.zonesHinted, r.nodesHinted = r.zonesHinted && r.anyReady, r.nodesHinted && r.anyReady
	return r
}

// divides says whether nodes of a zone use other endpoints than nodes of no zone: one
// at least must be meant for them.
func (r *reach) divides(zone string) bool {
	return zone != "" && r.zonesHinted &&
		slices.ContainsFunc(r.all, func(e candidate) bool { return e.ready() && e.forZone(zone) })
}

// cluster says which endpoints serve traffic that may leave the node, on nodes of a
// zone: those that are ready and meant for the zone; when none is ready, those that
// drain.
func (r *reach) cluster(zone string) func(*candidate) bool {
	switch {
	case !r.anyReady:
		return (*candidate).draining
	case r.divides(zone):
		return func(e *candidate) bool { return e.ready() && e.forZone(zone) }
	}
	return (*candidate).ready
}

// near says which endpoints are meant for one node alone: where there is any, it comes
// before those of the zone.
func (r *reach) near(node string) func(*candidate) bool {
	return func(e *candidate) bool { return r.nodesHinted && e.ready() && e.forNode(node) }
}

// localOf says which endpoints serve traffic that must stay on a node: the ready ones,
// or those that drain when none is ready. Hints do not matter. Only some of all
// candidates need be given, if all that are on the node are among them.
func localOf(node string, some []candidate) func(*candidate) bool {
	ready := slices.ContainsFunc(some, func(e candidate) bool { return e.on(node) && e.ready() })
	return func(e *candidate) bool { return e.on(node) && (e.ready() || !ready && e.draining()) }
}
