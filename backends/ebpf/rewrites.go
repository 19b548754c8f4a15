// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"net/netip"
	"sync"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// maxRecentRewrites is the largest Config.RecentRewrites.
const maxRecentRewrites = 65536

// A Rewrite is a socket whose destination, a frontend, was replaced by an endpoint. A UDP socket that
// is not connected has one for each frontend and endpoint.
type Rewrite struct {
	Time time.Time
	// Service is the one that has the frontend now; its name is empty if there is none.
	Service  localsink.ServiceName
	Protocol localsink.Protocol
	// Frontend is the address that the process used: for a node port, that of the node.
	Frontend, Endpoint netip.AddrPort
	// Namespace is the cookie of the client's network namespace, as SO_NETNS_COOKIE returns it.
	Namespace uint64
}

// A rewrite is a Rewrite in the form of the program.
type rewrite struct {
	at        time.Time
	frontend  frontendKey
	endpoint  endpointKey
	namespace uint64
}

// A rewriteTail keeps the newest rewrites.
type rewriteTail struct {
	mu   sync.Mutex // guards the following fields
	ring []rewrite  // as long as it has rewrites
	next int        // the oldest one, once the ring has its size
	size int
}

func (t *rewriteTail) add(r rewrite) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.ring) < t.size {
		t.ring = append(t.ring, r)
		return
	}
	t.ring[t.next] = r
	t.next = (t.next + 1) % t.size
}

// all returns the rewrites, the oldest first.
func (t *rewriteTail) all() []rewrite {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(append([]rewrite(nil), t.ring[t.next:]...), t.ring[:t.next]...)
}

// RecentRewrites returns the newest rewrites, the oldest first. They are at most 100 ms behind the
// kernel; when there are more than a thousand within that time, some are missing. It returns nil
// unless Config.RecentRewrites is set.
func (b *Backend) RecentRewrites() []Rewrite {
	if b.rewrites == nil {
		return nil
	}
	all := b.rewrites.all()
	out := make([]Rewrite, len(all))
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, r := range all {
		out[i] = Rewrite{
			Time: r.at, Service: b.ownerOf(r.frontend), Protocol: localsink.Protocol(r.frontend[18]),
			Frontend: r.frontend.addrPort(), Endpoint: r.endpoint.addrPort(), Namespace: r.namespace,
		}
	}
	return out
}

// ownerOf returns the Service with a frontend. The mutex of b must be held.
func (b *Backend) ownerOf(k frontendKey) localsink.ServiceName {
	if b.state == nil {
		return localsink.ServiceName{}
	}
	p, present := b.state.frontends[k]
	if !present {
		p = b.state.frontends[k.nodePort()]
	}
	return p.owner
}
