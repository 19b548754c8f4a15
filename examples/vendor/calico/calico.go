// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package calico has the shape of Calico's eBPF proxy: its syncer reads a map of Services
// and a map of endpoints through the getters of kube-proxy's interfaces ServicePort and
// Endpoint, and selects endpoints itself. Here the maps come from the cluster state.
package calico

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// The annotations of Services that the syncer heeds.
const (
	AnnotationExclude      = "projectcalico.org/natExcludeService"
	AnnotationReapUDP      = "projectcalico.org/udpConntrackCleanup"
	AnnotationStrategy     = "lb.projectcalico.org/external-traffic-strategy"
	AnnotationTopologyMode = "service.kubernetes.io/topology-mode"
)

// A State is the input of the syncer for one address family.
type State struct {
	Services  map[ServicePortName]*ServicePort
	Endpoints map[ServicePortName][]*Endpoint
	NodeZone  string
}

// A ServicePortName identifies a port of a Service.
type ServicePortName struct {
	types.NamespacedName

	Port     string
	Protocol corev1.Protocol
}

// A Source returns the input of the syncer for one node and address family.
type Source struct {
	Node   string
	Family watchers.IPFamily
}

// State returns the input of the syncer. The snapshot must be synced.
func (s Source) State(snapshot watchers.Snapshot) State {
	state := State{Services: map[ServicePortName]*ServicePort{}, Endpoints: map[ServicePortName][]*Endpoint{}}
	if node := snapshot.Node(s.Node); node != nil {
		state.NodeZone = node.Zone
	}
	for svc := range snapshot.Services() {
		if svc.Type == watchers.TypeExternalName || !svc.ClusterIPOf(s.Family).IsValid() {
			continue
		}
		for _, port := range svc.Ports {
			state.Services[portName(svc.Name, port.Name, port.Protocol)] = s.servicePort(svc, port)
		}
		for slice := range snapshot.EndpointSlices(svc.Name) {
			if slice.Family == s.Family {
				s.addEndpoints(state.Endpoints, slice)
			}
		}
	}
	return state
}

// addEndpoints adds the endpoints of a slice. Of two with one address, a terminating one
// does not replace the other.
func (s Source) addEndpoints(all map[ServicePortName][]*Endpoint, slice *watchers.EndpointSlice) {
	for _, port := range slice.Ports {
		name := portName(slice.Service, port.Name, port.Protocol)
		for _, ep := range slice.Endpoints {
			e := &Endpoint{object: ep, addr: netip.AddrPortFrom(ep.Addr, port.Port), local: ep.Node == s.Node}
			if ep.Hints != nil {
				e.hints = *ep.Hints
			}
			at, found := slices.BinarySearchFunc(all[name], e, func(a, b *Endpoint) int { return a.addr.Compare(b.addr) })
			switch {
			case !found:
				all[name] = slices.Insert(all[name], at, e)
			case !ep.Terminating:
				all[name][at] = e
			}
		}
	}
}

func portName(svc watchers.ServiceName, port string, protocol watchers.Protocol) ServicePortName {
	return ServicePortName{types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}, port, corev1.Protocol(protocol.String())}
}

// servicePort is what the hook makeServiceInfo of Calico was for.
func (s Source) servicePort(svc *watchers.Service, port watchers.ServicePort) *ServicePort {
	p := &ServicePort{svc: svc, port: port, clusterIP: svc.ClusterIPOf(s.Family).AsSlice()}
	for _, ip := range svc.ExternalIPs {
		if watchers.FamilyOf(ip) == s.Family {
			p.externalIPs = append(p.externalIPs, ip.AsSlice())
		}
	}
	for _, in := range svc.Ingress {
		if watchers.FamilyOf(in.IP) == s.Family && !in.Proxy {
			p.vips = append(p.vips, in.IP.AsSlice())
		}
	}
	for _, r := range svc.SourceRanges {
		if watchers.FamilyOf(r.Addr()) == s.Family {
			p.sourceRanges = append(p.sourceRanges, &net.IPNet{IP: r.Addr().AsSlice(), Mask: net.CIDRMask(r.Bits(), r.Addr().BitLen())})
			p.allClients = p.allClients || r.Bits() == 0
		}
	}
	if p.allClients {
		p.sourceRanges = nil
	}
	annotation := func(key string) string {
		value, _ := svc.Extensions.Get(key)
		return value
	}
	if p.exclude = annotation(AnnotationExclude) == "true"; !p.exclude {
		p.reapUDP = port.Protocol == localsink.ProtocolUDP && strings.EqualFold(annotation(AnnotationReapUDP), "TerminatingImmediately")
		p.maglev = strings.EqualFold(annotation(AnnotationStrategy), "maglev")
		p.topologyMode = annotation(AnnotationTopologyMode)
	}
	return p
}

// A ServicePort is one port of a Service in one address family. It has the getters of
// kube-proxy's interface, and those of Calico's ServiceAnnotations.
type ServicePort struct {
	svc                      *watchers.Service
	port                     watchers.ServicePort
	clusterIP                net.IP
	externalIPs, vips        []net.IP
	sourceRanges             []*net.IPNet
	allClients               bool
	exclude, reapUDP, maglev bool
	topologyMode             string
}

func (p *ServicePort) ClusterIP() net.IP                      { return p.clusterIP }
func (p *ServicePort) Port() int                              { return int(p.port.Port) }
func (p *ServicePort) Protocol() corev1.Protocol              { return corev1.Protocol(p.port.Protocol.String()) }
func (p *ServicePort) NodePort() int                          { return int(p.port.NodePort) }
func (p *ServicePort) ExternalIPs() []net.IP                  { return p.externalIPs }
func (p *ServicePort) LoadBalancerVIPs() []net.IP             { return p.vips }
func (p *ServicePort) LoadBalancerSourceRanges() []*net.IPNet { return p.sourceRanges }
func (p *ServicePort) HealthCheckNodePort() int               { return int(p.svc.HealthCheckNodePort) }
func (p *ServicePort) StickyMaxAgeSeconds() int               { return int(p.svc.Affinity / time.Second) }
func (p *ServicePort) InternalPolicyLocal() bool              { return p.svc.InternalPolicy == watchers.PolicyLocal }
func (p *ServicePort) ExternalPolicyLocal() bool              { return p.svc.ExternalPolicy == watchers.PolicyLocal }
func (p *ServicePort) ExternallyAccessible() bool {
	return p.port.NodePort != 0 || len(p.vips)+len(p.externalIPs) > 0
}
func (p *ServicePort) UsesClusterEndpoints() bool {
	return !p.InternalPolicyLocal() || p.ExternallyAccessible()
}
func (p *ServicePort) UsesLocalEndpoints() bool {
	return p.InternalPolicyLocal() || p.ExternalPolicyLocal() && p.ExternallyAccessible()
}
func (p *ServicePort) String() string {
	return fmt.Sprintf("%s:%d/%s", p.clusterIP, p.port.Port, p.port.Protocol)
}
func (p *ServicePort) ExcludeService() bool     { return p.exclude }
func (p *ServicePort) ReapTerminatingUDP() bool { return p.reapUDP }
func (p *ServicePort) UseMaglev() bool          { return p.maglev }
func (p *ServicePort) TopologyMode() string     { return p.topologyMode }

func (p *ServicePort) SessionAffinityType() corev1.ServiceAffinity {
	if p.svc.Affinity > 0 {
		return corev1.ServiceAffinityClientIP
	}
	return corev1.ServiceAffinityNone
}

// An Endpoint has the getters of kube-proxy's interface.
type Endpoint struct {
	object watchers.Endpoint
	hints  watchers.Hints
	addr   netip.AddrPort
	local  bool
}

func (e *Endpoint) String() string              { return e.addr.String() }
func (e *Endpoint) IP() string                  { return e.addr.Addr().String() }
func (e *Endpoint) Port() int                   { return int(e.addr.Port()) }
func (e *Endpoint) IsLocal() bool               { return e.local }
func (e *Endpoint) IsReady() bool               { return e.object.Ready }
func (e *Endpoint) IsServing() bool             { return e.object.Serving }
func (e *Endpoint) IsTerminating() bool         { return e.object.Terminating }
func (e *Endpoint) ZoneHints() sets.Set[string] { return sets.New(e.hints.Zones...) }
func (e *Endpoint) NodeHints() sets.Set[string] { return sets.New(e.hints.Nodes...) }
