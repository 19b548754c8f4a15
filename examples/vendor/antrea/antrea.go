// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package antrea has the shape of AntreaProxy: OpenFlow groups of endpoints, and flows that
// send the packets to an address of a Service to a group. There is a proxier for each address
// family; each is a sink for the desired state of a node.
package antrea

import (
	"context"
	"math"
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// The annotations of Services.
const (
	AnnotationLoadBalancerMode = "service.antrea.io/load-balancer-mode"
	AnnotationImported         = "multicluster.antrea.io/imported-service"
)

// Options are those of the agent's configuration.
type Options struct {
	ProxyAll     bool     // serve node ports and external IPs as well
	SkipServices []string // names (namespace/name) and cluster IPs of Services to leave out
	DSR          bool     // the default of external traffic: direct server return
}

// ResolverConfig returns what the proxier of an address family serves.
func ResolverConfig(family watchers.IPFamily, o Options) nodelocal.MultiNodeConfig {
	cfg := nodelocal.MultiNodeConfig{Scope: nodelocal.Scope{
		Families: []watchers.IPFamily{family},
		Skip: func(svc *watchers.Service) bool {
			return slices.Contains(o.SkipServices, svc.Name.String()) || slices.Contains(o.SkipServices, svc.ClusterIP.String())
		},
	}}
	if !o.ProxyAll {
		cfg.Scope.FrontendKinds = []localsink.FrontendKind{localsink.KindClusterIP, localsink.KindLoadBalancer}
	}
	return cfg
}

// A ServiceConfig is the flow for an address of a Service.
type ServiceConfig struct {
	Addr     netip.AddrPort
	Protocol localsink.Protocol
	// ClusterGroup has the endpoints for clients of the cluster, LocalGroup those for others.
	ClusterGroup, LocalGroup                uint32
	AffinityTimeout                         uint16
	IsExternal, IsNodePort, IsNested, IsDSR bool
}

// An OpenFlow is the switch of the node.
type OpenFlow interface {
	InstallServiceGroup(id uint32, withAffinity bool, endpoints []localsink.Endpoint) error
	UninstallServiceGroup(id uint32) error
	InstallServiceFlows(cfg ServiceConfig) error
	UninstallServiceFlows(addr netip.AddrPort, protocol localsink.Protocol) error
}

// A Proxier is a localsink.Sink.
type Proxier struct {
	openflow      OpenFlow
	options       Options
	dsr, imported *localsink.Accessor[bool]
	nextGroup     uint32
	installed     map[localsink.ServiceName]state
}

type state struct {
	groups map[groupKey]group
	flows  map[ServiceConfig]bool
}

type groupKey struct {
	port     string
	protocol localsink.Protocol
	affinity bool
	pool     int
}

type group struct {
	id        uint32
	endpoints []localsink.Endpoint
}

// New returns a Proxier.
func New(openflow OpenFlow, o Options) *Proxier {
	return &Proxier{
		openflow: openflow, options: o, installed: map[localsink.ServiceName]state{},
		dsr:      localsink.NewAccessor(AnnotationLoadBalancerMode, func(v string) (bool, error) { return v == "dsr", nil }),
		imported: localsink.NewAccessor(AnnotationImported, func(v string) (bool, error) { return v == "true", nil }),
	}
}

// Unsupported implements localsink.FeatureReporter.
func (p *Proxier) Unsupported() localsink.Features {
	return ^(localsink.FeatureIPv4 | localsink.FeatureIPv6 | localsink.FeatureTCP | localsink.FeatureUDP | localsink.FeatureSCTP |
		localsink.FeatureAffinity | localsink.FeatureClusterIP | localsink.FeatureNodePort | localsink.FeatureExternalIP | localsink.FeatureLoadBalancer)
}

// Sync implements localsink.Sink. An address may move: flows that end go before others begin.
func (p *Proxier) Sync(_ context.Context, u *localsink.Update) error {
	next := map[localsink.ServiceName]state{}
	for _, svc := range u.Removed {
		next[svc.Name] = state{}
	}
	for _, svc := range u.Changed {
		if next[svc.Name] = p.desired(svc); p.installed[svc.Name].groups == nil {
			p.installed[svc.Name] = state{map[groupKey]group{}, map[ServiceConfig]bool{}}
		}
	}
	for _, step := range []func(have, want state) error{p.prepare, p.complete} {
		for name, want := range next {
			if err := step(p.installed[name], want); err != nil {
				return err
			}
		}
	}
	for _, svc := range u.Removed {
		delete(p.installed, svc.Name)
	}
	return nil
}

// desired returns the groups and flows of a Service: a group for each pool of endpoints.
func (p *Proxier) desired(svc *localsink.Service) state {
	want := state{map[groupKey]group{}, map[ServiceConfig]bool{}}
	for _, port := range svc.Ports {
		key := func(pool int) groupKey { return groupKey{port.Name, port.Protocol, port.Affinity > 0, pool} }
		for i, pool := range port.Pools {
			g := group{p.installed[svc.Name].groups[key(i)].id, pool.Endpoints}
			if g.id == 0 {
				p.nextGroup++
				g.id = p.nextGroup
			}
			want.groups[key(i)] = g
		}
		for _, fe := range port.Frontends {
			want.flows[ServiceConfig{
				Addr: fe.Addr, Protocol: port.Protocol,
				ClusterGroup:    want.groups[key(fe.Routes[0].Pool)].id,
				LocalGroup:      want.groups[key(fe.Routes[len(fe.Routes)-1].Pool)].id,
				AffinityTimeout: uint16(min(port.Affinity/time.Second, math.MaxUint16)),
				IsExternal:      fe.Kind != localsink.KindClusterIP, IsNodePort: fe.Kind == localsink.KindNodePort,
				IsNested: fe.Kind == localsink.KindClusterIP && p.imported.Or(svc.Extensions, false),
				IsDSR:    (fe.Kind == localsink.KindExternalIP || fe.Kind == localsink.KindLoadBalancer) && p.dsr.Or(svc.Extensions, p.options.DSR),
			}] = true
		}
	}
	return want
}

// prepare installs groups and uninstalls flows.
func (p *Proxier) prepare(have, want state) error {
	for key, g := range want.groups {
		if old, found := have.groups[key]; !found || !slices.Equal(old.endpoints, g.endpoints) {
			if err := p.openflow.InstallServiceGroup(g.id, key.affinity, g.endpoints); err != nil {
				return err
			}
			have.groups[key] = g
		}
	}
	for cfg := range have.flows {
		if !want.flows[cfg] {
			if err := p.openflow.UninstallServiceFlows(cfg.Addr, cfg.Protocol); err != nil {
				return err
			}
			delete(have.flows, cfg)
		}
	}
	return nil
}

// complete installs flows and uninstalls groups.
func (p *Proxier) complete(have, want state) error {
	for cfg := range want.flows {
		if !have.flows[cfg] {
			if err := p.openflow.InstallServiceFlows(cfg); err != nil {
				return err
			}
			have.flows[cfg] = true
		}
	}
	for key, g := range have.groups {
		if _, remains := want.groups[key]; !remains {
			if err := p.openflow.UninstallServiceGroup(g.id); err != nil {
				return err
			}
			delete(have.groups, key)
		}
	}
	return nil
}
