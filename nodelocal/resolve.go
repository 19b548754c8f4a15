// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/watchers"
)

// Fields that problems name.
const (
	addressesField   = "addresses" // of Services with an origin
	clusterIPsField  = "spec.clusterIPs"
	externalIPsField = "spec.externalIPs"
	ingressField     = "status.loadBalancer.ingress"
	healthCheckField = "spec.healthCheckNodePort"
)

// resolveOptions are the settings that the resolution of a Service depends on.
type resolveOptions struct {
	masqueradeAll, ignoreExternalIPs bool
	omitted                          omitted
	policy                           Policy // nil if there is none
}

// resolve resolves one Service as if it owned every address. Address conflicts with other
// Services are resolved later, and problems are logged by the caller.
func resolve(object *watchers.Service, endpointSlices []*watchers.EndpointSlice, options resolveOptions) *ResolvedService {
	svc := &ResolvedService{name: object.Name, problems: slices.Clone(object.Problems), extensions: object.Extensions}
	for _, slice := range endpointSlices {
		svc.problems = append(svc.problems, slice.Problems...)
	}
	if object.Type == watchers.TypeExternalName || object.Name.Origin == "" && headless(object) {
		return svc
	}
	if options.ignoreExternalIPs && len(object.ExternalIPs) > 0 {
		svc.addProblemf(externalIPsField, "%v: external IPs are disabled (AllowServiceExternalIPs=false); ignored", object.ExternalIPs)
		without := *object
		without.ExternalIPs, object = nil, &without
	}
	families := newServiceFamilies(object, options)
	portNames := map[address]string{} // by address in use
	for i := range object.Ports {
		p := &object.Ports[i]
		port := svc.resolvePort(object, endpointSlices, p, families[:], options.policy)
		port.usesLocal = families[0].usesLocal() || families[1].usesLocal()
		for j := range port.endpointSets {
			set := &port.endpointSets[j]
			i := slices.IndexFunc(families[:], func(f serviceFamily) bool { return f.version == set.family })
			families[i].addFrontends(&port, p, set)
		}
		options.omitted.removeFrontends(&port.Port)
		svc.removeDuplicates(&port.Port, portNames)
		if len(port.Frontends) > 0 {
			svc.ports = append(svc.ports, port)
		}
	}
	svc.limitExtensions()
	for i := range families {
		svc.problems = append(svc.problems, families[i].problems...)
	}
	if !options.omitted.external() {
		svc.resolveHealthCheck(object)
	}
	return svc
}

// resolvePort returns a port with the endpoints of the families that the Service has, as the
// policy has changed them, without frontends.
func (svc *ResolvedService) resolvePort(
	object *watchers.Service, endpointSlices []*watchers.EndpointSlice, p *watchers.ServicePort, families []serviceFamily, policy Policy,
) resolvedPort {
	port := resolvedPort{Port: overlay.Port{
		Name: p.Name, Protocol: p.Protocol, Affinity: object.Affinity, Selection: p.Selection, RefusedPerMille: p.RefusedPerMille,
	}}
	for i := range families {
		if p.Port != 0 && families[i].served {
			set := endpointSetOf(endpointSlices, families[i].version, p)
			port.endpointSets = append(port.endpointSets, set)
		}
	}
	if policy != nil {
		svc.applyPolicy(policy, object, &port)
	}
	port.collectExtensions()
	return port
}

// collectExtensions sets EndpointExtensions to those of all endpoint sets.
func (p *resolvedPort) collectExtensions() {
	for i := range p.endpointSets {
		properties := p.endpointSets[i].properties
		switch {
		case properties == nil || len(properties.extensions) == 0:
		case p.EndpointExtensions == nil:
			p.EndpointExtensions = properties.extensions
		default:
			all := maps.Clone(p.EndpointExtensions)
			maps.Copy(all, properties.extensions)
			p.EndpointExtensions = all
		}
	}
}

// headless reports whether the Service has no valid cluster IP.
func headless(object *watchers.Service) bool {
	return !object.ClusterIP.IsValid() && !slices.ContainsFunc(object.ClusterIPs, netip.Addr.IsValid)
}

// removeDuplicates removes the frontends of port whose address an earlier port of the same
// Service uses. portNames are the names of the earlier ports; those of port are added.
func (svc *ResolvedService) removeDuplicates(port *overlay.Port, portNames map[address]string) {
	port.Frontends = slices.DeleteFunc(port.Frontends, func(fe overlay.Frontend) bool {
		a := newAddress(fe.Addr, port.Protocol)
		if first, used := portNames[a]; used {
			svc.addProblemf(svc.fieldOf(&fe, port), "port %q already has %s %s %s; ignored", first, fe.Kind, fe.Addr, port.Protocol)
			return true
		}
		portNames[a] = port.Name
		return false
	})
}

// resolveHealthCheck sets the health check port, which only load balancer Services with
// external traffic policy Local have.
func (svc *ResolvedService) resolveHealthCheck(object *watchers.Service) {
	if object.Type != watchers.TypeLoadBalancer || object.ExternalPolicy != watchers.PolicyLocal || len(svc.ports) == 0 {
		return
	}
	if object.HealthCheckNodePort == 0 {
		svc.addProblemf(healthCheckField, "is not set although externalTrafficPolicy is Local; load balancers cannot check this node")
	}
	svc.healthCheckPort = object.HealthCheckNodePort
}

func (svc *ResolvedService) addProblemf(field, format string, args ...any) {
	svc.problems = append(svc.problems, problem(svc.name, field, format, args...))
}

func problem(name localsink.ServiceName, field, format string, args ...any) localsink.Problem {
	return localsink.Problem{Object: name.Object(), Field: field, Message: fmt.Sprintf(format, args...)}
}

// fieldOf returns the field of the Service that requests a frontend.
func (svc *ResolvedService) fieldOf(fe *overlay.Frontend, p *overlay.Port) string {
	switch {
	case fe.Kind == localsink.KindNodePort:
		return fmt.Sprintf("spec.ports[name=%q].nodePort", p.Name)
	case svc.name.Origin != "": // the fields are those of another kind of object
		return addressesField
	case fe.Kind == localsink.KindExternalIP:
		return externalIPsField
	case fe.Kind == localsink.KindLoadBalancer:
		return ingressField
	default:
		return clusterIPsField
	}
}
