// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hnstest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/backends/hns"
)

// Features implements [hns.HNS].
func (f *Fake) Features(ctx context.Context) (features hns.Features, err error) {
	err = f.call(ctx, Call{Name: "Features"}, func() error {
		features = f.features
		return nil
	})
	return features, err
}

// Network implements [hns.HNS].
func (f *Fake) Network(ctx context.Context, name string) (network *hns.Network, err error) {
	err = f.call(ctx, Call{Name: "Network"}, func() error {
		if f.network.Name != name {
			return fmt.Errorf("network %q: %w", name, hns.ErrNotFound)
		}
		n := f.network
		network = &n
		return nil
	})
	return network, err
}

// ListEndpoints implements [hns.HNS].
func (f *Fake) ListEndpoints(ctx context.Context, network string) (list []hns.Endpoint, err error) {
	err = f.call(ctx, Call{Name: "ListEndpoints"}, func() error {
		for _, id := range slices.Sorted(maps.Keys(f.endpoints)) {
			if e := *f.endpoints[id]; strings.EqualFold(e.Network, network) {
				e.ID = strings.ToUpper(e.ID)
				list = append(list, e)
			}
		}
		return nil
	})
	return list, err
}

// CreateEndpoint implements [hns.HNS].
func (f *Fake) CreateEndpoint(ctx context.Context, e *hns.Endpoint) (created *hns.Endpoint, err error) {
	err = f.call(ctx, Call{"CreateEndpoint", endpointText(e)}, func() error {
		if err := f.checkEndpoint(e); err != nil {
			return err
		}
		c := *e
		c.ID, c.Network = f.newID(), f.network.ID
		f.endpoints[c.ID] = &c
		copied := c
		created = &copied
		return nil
	})
	return created, err
}

// ModifyEndpoint implements [hns.HNS].
func (f *Fake) ModifyEndpoint(ctx context.Context, id string, policies []hns.EndpointPolicy) error {
	return f.call(ctx, Call{"ModifyEndpoint", f.endpoint(id)}, func() error {
		e := f.endpoints[strings.ToLower(id)]
		if e == nil {
			return fmt.Errorf("endpoint %s: %w", id, hns.ErrNotFound)
		}
		e.Policies = policies
		return nil
	})
}

// DeleteEndpoint implements [hns.HNS].
func (f *Fake) DeleteEndpoint(ctx context.Context, id string) error {
	return f.call(ctx, Call{"DeleteEndpoint", f.endpoint(id)}, func() error {
		id := strings.ToLower(id)
		e := f.endpoints[id]
		switch {
		case e == nil:
			return fmt.Errorf("endpoint %s: %w", id, hns.ErrNotFound)
		case e.Flags&hns.EndpointRemote == 0:
			return fmt.Errorf("endpoint %s: %w: belongs to a container", id, errInvalid)
		}
		for _, lb := range f.balancers {
			if slices.ContainsFunc(lb.Endpoints, func(used string) bool { return strings.EqualFold(used, id) }) {
				return fmt.Errorf("endpoint %s: %w: load balancer %s has it", id, errInvalid, lb.ID)
			}
		}
		delete(f.endpoints, id)
		return nil
	})
}

// ListLoadBalancers implements [hns.HNS].
func (f *Fake) ListLoadBalancers(ctx context.Context) (list []hns.LoadBalancer, err error) {
	err = f.call(ctx, Call{Name: "ListLoadBalancers"}, func() error {
		for _, id := range slices.Sorted(maps.Keys(f.balancers)) {
			list = append(list, listed(f.balancers[id]))
		}
		return nil
	})
	return list, err
}

// listed returns a load balancer as a list does.
func listed(lb *hns.LoadBalancer) hns.LoadBalancer {
	c := *lb
	c.ID, c.Endpoints = strings.ToUpper(lb.ID), make([]string, len(lb.Endpoints))
	for i, id := range lb.Endpoints {
		c.Endpoints[len(lb.Endpoints)-1-i] = strings.ToUpper(id) // a set has no order
	}
	c.PortMappings, c.FrontendVIPs = slices.Clone(lb.PortMappings), slices.Clone(lb.FrontendVIPs)
	for i, vip := range c.FrontendVIPs {
		if addr, err := netip.ParseAddr(vip); err == nil {
			c.FrontendVIPs[i] = addr.StringExpanded()
		}
	}
	return c
}

// CreateLoadBalancer implements [hns.HNS].
func (f *Fake) CreateLoadBalancer(ctx context.Context, lb *hns.LoadBalancer) (created *hns.LoadBalancer, err error) {
	err = f.call(ctx, Call{"CreateLoadBalancer", f.balancerText(lb)}, func() error {
		if err := f.checkBalancer(lb, ""); err != nil {
			return err
		}
		created = f.put(f.newID(), lb)
		return nil
	})
	return created, err
}

// put stores a copy of a load balancer and returns another.
func (f *Fake) put(id string, lb *hns.LoadBalancer) *hns.LoadBalancer {
	stored := *lb
	stored.ID, stored.Endpoints, stored.PortMappings = id, slices.Clone(lb.Endpoints), slices.Clone(lb.PortMappings)
	f.balancers[id] = &stored
	returned := stored
	returned.Endpoints, returned.PortMappings = slices.Clone(lb.Endpoints), slices.Clone(lb.PortMappings)
	return &returned
}

// ModifyLoadBalancer implements [hns.HNS].
func (f *Fake) ModifyLoadBalancer(ctx context.Context, id string, lb *hns.LoadBalancer) (modified *hns.LoadBalancer, err error) {
	err = f.call(ctx, Call{"ModifyLoadBalancer", f.balancerText(lb)}, func() error {
		if !f.features.ModifyLoadBalancer {
			return hns.ErrNotImplemented
		}
		id := strings.ToLower(id)
		old := f.balancers[id]
		if old == nil {
			return fmt.Errorf("load balancer %s: %w", id, hns.ErrNotFound)
		}
		if err := f.checkBalancer(lb, id); err != nil {
			return err
		}
		if !slices.Equal(frontends(old), frontends(lb)) {
			return fmt.Errorf("%w: the frontends of a load balancer cannot change", errInvalid)
		}
		modified = f.put(id, lb)
		return nil
	})
	return modified, err
}

// DeleteLoadBalancer implements [hns.HNS].
func (f *Fake) DeleteLoadBalancer(ctx context.Context, id string) error {
	f.mu.Lock()
	text := "?"
	if lb := f.balancers[strings.ToLower(id)]; lb != nil {
		text = strings.Join(frontends(lb), " ")
	}
	f.mu.Unlock()
	return f.call(ctx, Call{"DeleteLoadBalancer", text}, func() error {
		id := strings.ToLower(id)
		if f.balancers[id] == nil {
			return fmt.Errorf("load balancer %s: %w", id, hns.ErrNotFound)
		}
		delete(f.balancers, id)
		return nil
	})
}

// checkEndpoint returns why an endpoint is refused.
func (f *Fake) checkEndpoint(e *hns.Endpoint) error {
	addrs := addressesOf(e)
	isRemote, isOverlay := e.Flags&hns.EndpointRemote != 0, strings.EqualFold(f.network.Type, hns.TypeOverlay)
	switch {
	case !strings.EqualFold(e.Network, f.network.ID):
		return fmt.Errorf("network %s: %w", e.Network, hns.ErrNotFound)
	case len(addrs) != 1 || e.MACAddress == "" || e.SchemaVersion.Major != 2:
		return fmt.Errorf("%w: an endpoint needs one address, a MAC address and version 2", errInvalid)
	case !isRemote && !isOverlay:
		return fmt.Errorf("%w: pods have the local endpoints of this network", errInvalid)
	case isOverlay && (len(e.Policies) != 1 || e.Policies[0].Type != hns.PolicyProviderAddress || e.Policies[0].Settings.ProviderAddress == ""):
		return fmt.Errorf("%w: a remote endpoint of an overlay network needs a provider address", errInvalid)
	}
	for _, other := range f.endpoints {
		if slices.Contains(addressesOf(other), addrs[0]) {
			return fmt.Errorf("address %v: %w", addrs[0], hns.ErrExists)
		}
	}
	return nil
}

// checkBalancer returns why a load balancer is refused; id is that of one that it replaces.
func (f *Fake) checkBalancer(lb *hns.LoadBalancer, id string) error {
	isIPv6 := lb.Flags&hns.LoadBalancerIPv6 != 0
	switch {
	case len(lb.Endpoints) == 0:
		return fmt.Errorf("%w: a load balancer needs endpoints", errInvalid)
	case len(lb.PortMappings) != 1 || len(lb.FrontendVIPs) > 1 || lb.SchemaVersion.Major != 2:
		return fmt.Errorf("%w: a load balancer needs one port mapping, at most one address and version 2", errInvalid)
	case lb.Flags&hns.LoadBalancerDSR != 0 && !f.features.DSR, isIPv6 && !f.features.IPv6DualStack,
		lb.PortMappings[0].Distribution != 0 && !f.features.SessionAffinity:
		return fmt.Errorf("%w: this version has no such feature", errInvalid)
	}
	m := lb.PortMappings[0]
	if m.InternalPort == 0 || m.ExternalPort == 0 || m.Protocol != 6 && m.Protocol != 17 {
		return fmt.Errorf("%w: port mapping %+v", errInvalid, m)
	}
	for _, text := range append(slices.Clone(lb.FrontendVIPs), lb.SourceVIP) {
		if addr, err := netip.ParseAddr(text); text != "" && (err != nil || addr.Is6() != isIPv6) {
			return fmt.Errorf("%w: address %q", errInvalid, text)
		}
	}
	if err := f.checkMembers(lb, isIPv6); err != nil {
		return err
	}
	for _, other := range f.balancers {
		if other.ID != id && slices.ContainsFunc(frontends(other), func(text string) bool { return slices.Contains(frontends(lb), text) }) {
			return fmt.Errorf("%v: %w", frontends(lb), hns.ErrExists)
		}
	}
	return nil
}

// checkMembers returns what is wrong with the endpoints of a load balancer.
func (f *Fake) checkMembers(lb *hns.LoadBalancer, isIPv6 bool) error {
	seen := map[string]bool{}
	for _, id := range lb.Endpoints {
		id = strings.ToLower(id)
		e := f.endpoints[id]
		switch {
		case e == nil:
			return fmt.Errorf("endpoint %s: %w", id, hns.ErrNotFound)
		case seen[id]:
			return fmt.Errorf("%w: endpoint %s twice", errInvalid, id)
		case !slices.ContainsFunc(addressesOf(e), func(a netip.Addr) bool { return a.Is6() == isIPv6 }):
			return fmt.Errorf("%w: endpoint %v is of another family", errInvalid, addressesOf(e))
		}
		seen[id] = true
	}
	return nil
}
