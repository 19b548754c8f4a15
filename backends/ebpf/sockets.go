// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"context"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// removedSockets are connected UDP sockets that must be closed: those of the frontends of a port
// to one of the endpoints. Sockets do not move to another endpoint by themselves.
type removedSockets struct {
	frontends []frontendKey
	endpoints []endpointKey
}

// addUDP notes the endpoints of a port whose sockets remain open.
func (svc *service) addUDP(id portID, p *localsink.Port) {
	var all []endpointKey
	for _, pool := range p.Pools {
		for _, e := range pool.Endpoints {
			all = append(all, newEndpointKey(e.Addr))
		}
	}
	for _, a := range p.Draining {
		all = append(all, newEndpointKey(a))
	}
	if svc.udp == nil {
		svc.udp = map[portID][]endpointKey{}
	}
	svc.udp[id] = all
}

// noteRemovedSockets notes the sockets that a change of a Service must close.
func (s *state) noteRemovedSockets(old, next *service) {
	for id, before := range old.udp {
		after := next.udp[id]
		r := removedSockets{endpoints: slices.DeleteFunc(slices.Clone(before), func(e endpointKey) bool { return slices.Contains(after, e) })}
		if len(r.endpoints) == 0 {
			continue
		}
		for _, k := range old.frontends {
			if localsink.Protocol(k[18]) == localsink.ProtocolUDP && (s.frontends[k].port == id || s.frontends[k].port == portID{}) {
				r.frontends = append(r.frontends, k)
			}
		}
		s.removed = append(s.removed, r)
	}
}

// A closer closes sockets in a goroutine, so that Sync need not wait for it.
type closer struct {
	kernel kernel
	jobs   chan []removedSockets // has room for one
	failed func(error)
}

// add adds sockets to those to be closed.
func (c *closer) add(removed []removedSockets) {
	for {
		select {
		case c.jobs <- removed:
			return
		case earlier := <-c.jobs:
			removed = append(earlier, removed...)
		}
	}
}

// run closes sockets until ctx ends.
func (c *closer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case removed := <-c.jobs:
			endpoints := map[frontendKey][]endpointKey{}
			for _, r := range removed {
				for _, k := range r.frontends {
					endpoints[k] = append(slices.Clip(endpoints[k]), r.endpoints...)
				}
			}
			_, err := c.kernel.closeSockets(ctx, func(f frontendKey, e endpointKey) bool {
				return slices.Contains(endpoints[f], e) || slices.Contains(endpoints[f.nodePort()], e)
			})
			if err != nil && ctx.Err() == nil {
				c.failed(err)
			}
		}
	}
}
