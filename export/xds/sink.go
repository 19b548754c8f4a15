// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"

	"sigs.k8s.io/kpng/localsink"
)

// A Sink holds the resources of all Services of a node, and serves them; see [Sink.Serve]. It
// implements [localsink.Sink]; all other methods may be called concurrently.
type Sink struct {
	cfg   Config
	seed  maphash.Seed
	ready chan struct{} // closed after the first successful Sync

	// mu guards all fields below, and the subscriptions of streams.
	mu       sync.Mutex
	node     *localsink.Node // of all resources; nil before the first Sync, and after one that failed
	renderer *renderer
	table    table
	services map[localsink.ServiceName][]uint32 // the entries of their ports
	failures map[localsink.ServiceName]error    // why a Service is not, or not fully, served
	streams  map[*stream]struct{}
	stats    Stats
}

// New returns a sink without Services. Streams wait until its first Sync is complete.
func New(cfg Config) (*Sink, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	r, err := newRenderer(&cfg)
	if err != nil {
		return nil, fmt.Errorf("xds: %w", err)
	}
	return &Sink{
		cfg: cfg, seed: maphash.MakeSeed(), ready: make(chan struct{}), renderer: r, table: newTable(),
		services: map[localsink.ServiceName][]uint32{}, failures: map[localsink.ServiceName]error{}, streams: map[*stream]struct{}{},
	}, nil
}

// Ready returns a channel that is closed once there are resources to serve.
func (s *Sink) Ready() <-chan struct{} { return s.ready }

func (s *Sink) isReady() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// Unsupported implements [localsink.FeatureReporter]. Kinds of frontends and source ranges count as
// supported: clients connect to endpoints, and no frontend is involved. Consistent selection and session
// affinity count as unsupported: clients have a hash ring, which promises less.
func (*Sink) Unsupported() localsink.Features {
	return ^(localsink.FeatureIPv4 | localsink.FeatureIPv6 | localsink.FeatureTCP | localsink.FeatureSourceRanges |
		localsink.FeatureClusterIP | localsink.FeatureNodePort | localsink.FeatureExternalIP | localsink.FeatureLoadBalancer |
		localsink.FeatureWeights | localsink.FeatureSelectionLeastConnections | localsink.FeatureRefusedShare)
}

// Sync implements [localsink.Sink]: it replaces the resources of changed Services, and wakes the
// streams that have subscribed to one that differs.
func (s *Sink) Sync(ctx context.Context, u *localsink.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.node == nil || u.NodeChanged && !sameNode(s.node, u.Node)
	if u.NodeChanged { // the delta may be relative to a state that another process has acknowledged
		s.node = nil // until the end: after a Sync that ends early, the next one is for all Services
		for _, name := range slices.Collect(maps.Keys(s.services)) {
			if u.All.Get(name) == nil {
				s.remove(name)
			}
		}
	}
	for _, svc := range u.Removed {
		s.remove(svc.Name)
	}
	changed := slices.Values(u.Changed)
	if all {
		changed = u.All.All()
	}
	for svc := range changed {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.set(svc, u.Node)
	}
	s.node = u.Node
	if !s.isReady() {
		close(s.ready)
		for st := range s.streams { // they have waited
			st.notify()
		}
	}
	return nil
}

// sameNode reports whether the resources of a and b are the same.
func sameNode(a, b *localsink.Node) bool {
	return a.Name == b.Name && zoneOf(a.Extensions) == zoneOf(b.Extensions) &&
		(len(a.IPs) == 0) == (len(b.IPs) == 0) && (len(a.IPs) == 0 || a.IPs[0].Is4() == b.IPs[0].Is4())
}

// set replaces the resources of a Service.
func (s *Sink) set(svc *localsink.Service, node *localsink.Node) {
	ports := map[string]*localsink.Port{}
	var names []string // in the order of ports
	var errs []error
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if p.Protocol != localsink.ProtocolTCP {
			continue // reported as unsupported
		}
		fe := frontendOf(p, node)
		if fe == nil {
			continue // clients have no port number for it
		}
		name, err := resourceName(svc.Name, s.cfg.ClusterDomain, fe.Addr.Port())
		if err == nil && ports[name] != nil {
			err = fmt.Errorf("%s: port %q: %s is the name of port %q", svc.Name.Object(), p.Name, name, ports[name].Name)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ports[name] = p
		names = append(names, name)
	}
	var ids []uint32
	for _, name := range names {
		resources, err := s.renderer.port(name, ports[name], node)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: port %q: %w", svc.Name.Object(), ports[name].Name, err))
			continue
		}
		ids = append(ids, s.replace(name, svc.Name, resources))
	}
	s.drop(s.services[svc.Name], ids)
	s.services[svc.Name] = ids
	delete(s.failures, svc.Name)
	if err := errors.Join(errs...); err != nil {
		s.failures[svc.Name] = err
	}
}

// remove removes the resources of a Service.
func (s *Sink) remove(name localsink.ServiceName) {
	s.drop(s.services[name], nil)
	delete(s.services, name)
	delete(s.failures, name)
}

// replace sets the resources with a name and returns the identifier of their entry.
func (s *Sink) replace(name string, owner localsink.ServiceName, resources [kinds]*resource) uint32 {
	id := s.table.intern(name)
	e := s.table.entry(id)
	if e.resources[0] == nil {
		s.table.served++
	}
	e.owner = owner
	for k := range kinds {
		if old := e.resources[k]; old == nil || old.version != resources[k].version {
			e.resources[k] = resources[k]
			s.changed(k, id)
		}
	}
	return id
}

// drop removes the resources of entries, except some.
func (s *Sink) drop(ids, except []uint32) {
	for _, id := range ids {
		if slices.Contains(except, id) {
			continue
		}
		e := s.table.entry(id)
		e.resources = [kinds]*resource{}
		s.table.served--
		for k := range kinds {
			s.changed(k, id)
		}
		s.table.release(id, 0)
	}
}

// changed records that a resource has changed, for each stream that has subscribed to it.
func (s *Sink) changed(k kind, id uint32) {
	s.table.full[k] = nil
	s.table.revision++
	for st := range s.streams {
		if sub := &st.subscriptions[k]; sub.covers(id) {
			s.mark(sub, id)
			st.notify()
		}
	}
}

// mark adds a resource to those that a stream must send.
func (s *Sink) mark(sub *subscription, id uint32) {
	if sub.changed.add(id) {
		s.table.entry(id).references++
	}
}

// unmark is the reverse of mark.
func (s *Sink) unmark(sub *subscription, id uint32) {
	if sub.changed.remove(id) {
		s.table.release(id, 1)
	}
}

// NotProgrammed implements [localsink.FailureReporter]: the Services that cannot be served, and those
// of which a client that is connected has rejected a resource.
func (s *Sink) NotProgrammed() map[localsink.ServiceName]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.failures)
	for st := range s.streams {
		for k := range kinds {
			for id, err := range st.subscriptions[k].rejected {
				if e := s.table.entry(id); e.resources[k] != nil && all[e.owner] == nil {
					all[e.owner] = err
				}
			}
		}
	}
	return all
}
