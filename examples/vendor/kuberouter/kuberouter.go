// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kuberouter has the shape of kube-router's service proxy: an IPVS service for each
// address of a Service, with options from seven annotations. It is a sink for the desired
// state of a node.
package kuberouter

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// The annotations of Services.
const (
	AnnotationDSR                = "kube-router.io/service.dsr"
	AnnotationScheduler          = "kube-router.io/service.scheduler"
	AnnotationSchedFlags         = "kube-router.io/service.schedflags"
	AnnotationHairpin            = "kube-router.io/service.hairpin"
	AnnotationHairpinExternalIPs = "kube-router.io/service.hairpin.externalips"
	AnnotationLocal              = "kube-router.io/service.local"
	AnnotationSkipLBIPs          = "kube-router.io/service.skiplbips"
)

// A Key identifies an IPVS service.
type Key struct {
	Addr     netip.AddrPort
	Protocol localsink.Protocol
}

// An IPVSService is an address that clients dial.
type IPVSService struct {
	Key

	// FirewallMark reports whether packets are marked, and IPVS finds the service by the
	// mark: with direct server return, the node must not have the address.
	FirewallMark bool
	Scheduler    string
	Flags        []string
	Timeout      time.Duration // of persistence
	// Hairpin reports whether connections of an endpoint to itself are masqueraded.
	Hairpin      bool
	Destinations []Destination
}

// A Destination is an endpoint. With weight 0 it gets no new connections.
type Destination struct {
	Addr   netip.AddrPort
	Weight uint32
	Tunnel bool
}

// An IPVS is the kernel's table of services.
type IPVS interface {
	Set(svc IPVSService) error
	Delete(key Key) error
}

// A Proxy is a localsink.Sink. Its accessors decode each annotation once per Service object.
type Proxy struct {
	ipvs                                              IPVS
	installed                                         map[localsink.ServiceName]map[Key]IPVSService
	dsr, scheduler                                    *localsink.Accessor[string]
	schedFlags                                        *localsink.Accessor[[]string]
	hairpin, hairpinExternalIPs, localOnly, skipLBIPs *localsink.Accessor[bool]
}

// New returns a Proxy.
func New(ipvs IPVS) *Proxy {
	text := func(v string) (string, error) { return v, nil }
	list := func(v string) ([]string, error) { return strings.Split(v, ","), nil }
	isTrue := func(v string) (bool, error) { return v == "true", nil }
	present := func(string) (bool, error) { return true, nil }
	return &Proxy{
		ipvs: ipvs, installed: map[localsink.ServiceName]map[Key]IPVSService{},
		dsr:                localsink.NewAccessor(AnnotationDSR, text),
		scheduler:          localsink.NewAccessor(AnnotationScheduler, text),
		schedFlags:         localsink.NewAccessor(AnnotationSchedFlags, list),
		hairpin:            localsink.NewAccessor(AnnotationHairpin, present),
		hairpinExternalIPs: localsink.NewAccessor(AnnotationHairpinExternalIPs, present),
		localOnly:          localsink.NewAccessor(AnnotationLocal, isTrue),
		skipLBIPs:          localsink.NewAccessor(AnnotationSkipLBIPs, present),
	}
}

// Unsupported implements localsink.FeatureReporter.
func (p *Proxy) Unsupported() localsink.Features {
	return ^(localsink.FeatureIPv4 | localsink.FeatureIPv6 | localsink.FeatureTCP | localsink.FeatureUDP | localsink.FeatureSCTP |
		localsink.FeatureClusterIP | localsink.FeatureNodePort | localsink.FeatureExternalIP | localsink.FeatureLoadBalancer |
		localsink.FeatureAffinity | localsink.FeatureSelectionClient | localsink.FeatureSelectionLeastConnections)
}

// Sync implements localsink.Sink. An address may move between Services: deletions come first.
func (p *Proxy) Sync(_ context.Context, u *localsink.Update) error {
	desired := map[localsink.ServiceName]map[Key]IPVSService{}
	for _, svc := range u.Removed {
		desired[svc.Name] = nil
	}
	changed := slices.Values(u.Changed)
	if u.NodeChanged { // its addresses serve node ports
		changed = u.All.All()
	}
	for svc := range changed {
		desired[svc.Name] = p.render(u.Node, svc)
	}
	for name, want := range desired {
		for key := range p.installed[name] {
			if _, remains := want[key]; !remains {
				if err := p.ipvs.Delete(key); err != nil {
					return err
				}
				delete(p.installed[name], key)
			}
		}
	}
	for name, want := range desired {
		if p.installed[name] == nil {
			p.installed[name] = map[Key]IPVSService{}
		}
		for key, svc := range want {
			if !reflect.DeepEqual(p.installed[name][key], svc) {
				if err := p.ipvs.Set(svc); err != nil {
					return err
				}
				p.installed[name][key] = svc
			}
		}
		if len(want) == 0 {
			delete(p.installed, name)
		}
	}
	return nil
}

// render returns the IPVS services of a Service.
func (p *Proxy) render(node *localsink.Node, svc *localsink.Service) map[Key]IPVSService {
	out := map[Key]IPVSService{}
	for i := range svc.Ports {
		for j := range svc.Ports[i].Frontends {
			p.renderFrontend(out, node, svc.Extensions, &svc.Ports[i], &svc.Ports[i].Frontends[j])
		}
	}
	return out
}

func (p *Proxy) renderFrontend(out map[Key]IPVSService, node *localsink.Node, x localsink.Extensions, port *localsink.Port, fe *localsink.Frontend) {
	external := fe.Kind == localsink.KindExternalIP || fe.Kind == localsink.KindLoadBalancer
	if fe.Kind == localsink.KindLoadBalancer && p.skipLBIPs.Or(x, false) {
		return
	}
	ipvs := IPVSService{Timeout: port.Affinity, Scheduler: p.scheduler.Or(x, "")}
	switch {
	case slices.Contains([]string{"rr", "lc", "dh", "sh", "mh"}, ipvs.Scheduler):
	case port.Selection == localsink.SelectionLeastConnections:
		ipvs.Scheduler = "lc"
	case port.Selection == localsink.SelectionClient:
		ipvs.Scheduler = "mh"
	default:
		ipvs.Scheduler = "rr"
	}
	if ipvs.Scheduler == "mh" {
		ipvs.Flags = p.schedFlags.Or(x, nil)
	}
	ipvs.FirewallMark = external && p.dsr.Or(x, "") == "tunnel"
	ipvs.Hairpin = p.hairpin.Or(x, false) && (!external || p.hairpinExternalIPs.Or(x, false))
	for _, ep := range port.Pools[fe.Routes[len(fe.Routes)-1].Pool].Endpoints {
		if ep.Local || !p.localOnly.Or(x, false) {
			ipvs.Destinations = append(ipvs.Destinations, Destination{ep.Addr, ep.Weight, ipvs.FirewallMark})
		}
	}
	for _, addr := range port.Draining {
		if addr.Addr().Is4() == fe.Addr.Addr().Is4() {
			ipvs.Destinations = append(ipvs.Destinations, Destination{addr, 0, ipvs.FirewallMark})
		}
	}
	for _, addr := range addresses(node, fe) {
		ipvs.Key = Key{addr, port.Protocol}
		out[ipvs.Key] = ipvs
	}
}

// addresses returns the address of a frontend; those of the node for a node port.
func addresses(node *localsink.Node, fe *localsink.Frontend) (all []netip.AddrPort) {
	if fe.Kind != localsink.KindNodePort {
		return []netip.AddrPort{fe.Addr}
	}
	for _, ip := range localsink.AddressesIn(node.NodePortAddresses, node.IPs) {
		if ip.Is4() == fe.Addr.Addr().Is4() {
			all = append(all, netip.AddrPortFrom(ip, fe.Addr.Port()))
		}
	}
	return all
}
