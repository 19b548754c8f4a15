// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/localsink"
)

// An observedState is what HNS has, as it was listed and written since.
type observedState struct {
	network   *podNetwork
	hostMAC   string                       // of this node, canonical; empty outside of overlay networks
	endpoints map[netip.Addr]*hostEndpoint // of two with an address, the local one
	// named is the ID of the endpoint with the name Config.HealthCheckEndpoint, or empty.
	named     string
	balancers map[frontendKey]*hostBalancer
	// stale are load balancers that no Service can have: a second one for a frontend, or one
	// with several frontends. By ID.
	stale map[string][]frontendKey
	// surplus are remote endpoints with the address of another one, by ID.
	surplus map[string]netip.Addr
}

// A hostEndpoint is an endpoint of HNS.
type hostEndpoint struct {
	id       string // canonical
	remote   bool
	owned    bool       // this backend or kube-proxy created it
	provider netip.Addr // invalid if there is none
}

// A hostBalancer is a load balancer of HNS.
type hostBalancer struct {
	settings

	id        string   // canonical
	endpoints []string // canonical IDs, ordered, without duplicates
}

// same reports whether b has what is desired. Versions of Windows differ in whether they return
// MappingVIPExternalIP.
func (b *hostBalancer) same(s settings, endpoints []string) bool {
	listed := b.settings
	listed.mapping |= MappingVIPExternalIP
	s.mapping |= MappingVIPExternalIP
	return listed == s && slices.Equal(b.endpoints, endpoints)
}

// readState lists what HNS has.
func readState(ctx context.Context, cfg *Config, network *podNetwork, hostMAC string) (*observedState, error) {
	o := &observedState{network: network, hostMAC: hostMAC}
	if err := o.readEndpoints(ctx, cfg); err != nil {
		return nil, err
	}
	list, err := cfg.HNS.ListLoadBalancers(ctx)
	if err != nil {
		return nil, fmt.Errorf("hns: list load balancers: %w", err)
	}
	o.balancers, o.stale = make(map[frontendKey]*hostBalancer, len(list)), map[string][]frontendKey{}
	for i := range list {
		lb := &list[i]
		if len(lb.PortMappings) == 0 {
			continue // half created, by any program
		}
		keys, b := parseBalancer(lb)
		if len(keys) == 1 && o.balancers[keys[0]] == nil {
			o.balancers[keys[0]] = b
		} else {
			o.stale[b.id] = keys
		}
	}
	return o, nil
}

// readEndpoints lists the endpoints of the network.
func (o *observedState) readEndpoints(ctx context.Context, cfg *Config) error {
	list, err := cfg.HNS.ListEndpoints(ctx, o.network.id)
	if err != nil {
		return fmt.Errorf("hns: list endpoints of network %s: %w", cfg.Network, err)
	}
	o.noteEndpoints(list, cfg.HealthCheckEndpoint)
	return nil
}

// noteEndpoints notes all endpoints of the network; named is the name of the one that receives
// health checks.
func (o *observedState) noteEndpoints(list []Endpoint, named string) {
	o.endpoints, o.surplus, o.named = make(map[netip.Addr]*hostEndpoint, len(list)), map[string]netip.Addr{}, ""
	for i := range list {
		e := &list[i]
		if e.Name != "" && e.Name == named {
			o.named = canonicalID(e.ID)
		}
		host := o.parseEndpoint(e)
		for _, ip := range e.IPConfigurations {
			if addr, err := netip.ParseAddr(ip.IPAddress); err == nil {
				o.noteEndpoint(addr.Unmap(), host)
			}
		}
	}
}

// noteEndpoint notes an endpoint. A local one replaces a remote one, which is then surplus.
func (o *observedState) noteEndpoint(addr netip.Addr, e *hostEndpoint) {
	unused := e
	if other := o.endpoints[addr]; other == nil || other.remote && !e.remote {
		o.endpoints[addr], unused = e, other
	}
	if unused != nil && unused.owned {
		o.surplus[unused.id] = addr
	}
}

func (o *observedState) parseEndpoint(e *Endpoint) *hostEndpoint {
	h := &hostEndpoint{id: canonicalID(e.ID), remote: e.Flags&EndpointRemote != 0}
	mac := canonicalMAC(e.MACAddress)
	h.owned = h.remote && (strings.HasPrefix(mac, macPrefix) || mac != "" && mac == o.hostMAC)
	for _, p := range e.Policies {
		if addr, err := netip.ParseAddr(p.Settings.ProviderAddress); p.Type == PolicyProviderAddress && err == nil {
			h.provider = addr.Unmap()
		}
	}
	return h
}

// parseBalancer returns a listed load balancer and its frontends. Addresses that cannot be parsed
// have none.
func parseBalancer(lb *LoadBalancer) (keys []frontendKey, b *hostBalancer) {
	m := lb.PortMappings[0]
	b = &hostBalancer{id: canonicalID(lb.ID), endpoints: canonicalIDs(lb.Endpoints), settings: settings{
		internalPort: m.InternalPort, distribution: m.Distribution, flags: lb.Flags, mapping: m.Flags,
	}}
	if source, err := netip.ParseAddr(lb.SourceVIP); err == nil {
		b.sourceVIP = source.Unmap()
	}
	vips := make([]netip.Addr, 0, 1)
	for _, text := range lb.FrontendVIPs {
		if vip, err := netip.ParseAddr(text); err == nil {
			vips = append(vips, vip.Unmap())
		}
	}
	if len(lb.FrontendVIPs) == 0 {
		vips = append(vips, unspecified(lb.Flags&LoadBalancerIPv6 != 0))
	}
	keys = make([]frontendKey, 0, 1)
	for _, m := range lb.PortMappings {
		for _, vip := range vips {
			keys = append(keys, frontendKey{vip, localsink.Protocol(m.Protocol), m.ExternalPort})
		}
	}
	return keys, b
}

func unspecified(isIPv6 bool) netip.Addr {
	if isIPv6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// canonicalIDs returns IDs in the form and order in which they are compared.
func canonicalIDs(ids []string) []string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = canonicalID(id)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// endpointOf returns the ID of the endpoint of a target; empty if there is none.
func (o *observedState) endpointOf(t target) string {
	if !t.addr.IsValid() {
		return o.named
	}
	e := o.endpoints[t.addr]
	if e == nil || t.local && e.remote {
		return ""
	}
	return e.id
}

// resolve returns the ordered IDs of the endpoints of targets, and the number of targets that have
// none.
func (o *observedState) resolve(targets []target) (ids []string, missing int) {
	ids = make([]string, 0, len(targets))
	for _, t := range targets {
		if id := o.endpointOf(t); id != "" {
			ids = append(ids, id)
		} else {
			missing++
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), missing
}

// differs reports whether another state has changed what this one has for the needs of d.
func (o *observedState) differs(other *observedState, d *desiredState) bool {
	if len(o.balancers) != len(other.balancers) || len(o.stale) != len(other.stale) {
		return true
	}
	for key, b := range o.balancers {
		if now := other.balancers[key]; now == nil || now.id != b.id || !now.same(b.settings, b.endpoints) {
			return true
		}
	}
	return o.endpointsDiffer(other, d)
}

// endpointsDiffer reports whether another state has other endpoints for the addresses that d needs
// and this one has.
func (o *observedState) endpointsDiffer(other *observedState, d *desiredState) bool {
	for addr := range d.needs {
		if e := o.endpoints[addr]; e != nil && (other.endpoints[addr] == nil || other.endpoints[addr].id != e.id) {
			return true
		}
	}
	return false
}
