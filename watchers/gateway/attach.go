// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/internal/valid"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// Origin is that of the Services of Gateways; see [watchers.ServiceName].
const Origin = kindGateway

// Reasons of the condition Accepted of a route.
const (
	reasonAccepted         = "Accepted"
	reasonNotAllowed       = "NotAllowedByListeners"
	reasonNoMatchingParent = "NoMatchingParent"
	reasonConflicted       = "Conflicted" // another route has precedence
)

// An attachment is the result for one parent reference of a route.
type attachment struct {
	ref             int // index in spec.parentRefs
	reason, message string
}

// A gatewayState is what a Gateway has become.
type gatewayState struct {
	addresses []netip.Addr
	problems  []watchers.Problem
	listeners []listenerState
}

// A listenerState is a listener with the routes that it accepts.
type listenerState struct {
	*listener

	index    int
	protocol localsink.Protocol
	// reason is why the listener is invalid, or "". invalidKinds reports whether
	// allowedRoutes has kinds that it does not support.
	reason, message string
	invalidKinds    bool
	winner          *route
	attached        int32
}

// resolve computes a parent anew.
func (e *engine) resolve(c *change, parent objectID) {
	before := e.attachments[parent]
	delete(e.attachments, parent)
	var objects []watchers.Object
	if parent.kind == kindGateway {
		objects = e.resolveGateway(parent)
	} else {
		objects = e.resolveService(parent)
	}
	for id := range before {
		c.routes.add(id)
	}
	for id := range e.attachments[parent] {
		c.routes.add(id)
	}
	e.replaceObjects(c, parent.service(), objects)
}

// replaceObjects replaces a Service of the target and its slices.
func (e *engine) replaceObjects(c *change, name watchers.ServiceName, objects []watchers.Object) {
	current := map[string]bool{}
	exists := false
	for _, o := range objects {
		switch o := o.(type) {
		case *watchers.Service:
			exists = true
		case *watchers.EndpointSlice:
			current[o.Name] = true
		}
	}
	if !exists {
		c.deletes = append(c.deletes, watchers.ServiceKey(name))
	}
	for old := range e.target.Snapshot().EndpointSlices(name) {
		if !current[old.Name] {
			c.deletes = append(c.deletes, watchers.Key{
				Kind: watchers.KindEndpointSlice, Namespace: name.Namespace, Name: name.Name, Slice: old.Name, Origin: name.Origin,
			})
		}
	}
	c.sets = append(c.sets, objects...)
}

// attach records the result for a parent reference.
func (e *engine) attach(parent objectID, r *route, a attachment) {
	if e.attachments[parent] == nil {
		e.attachments[parent] = map[objectID][]attachment{}
	}
	id := objectID{r.kind, r.Namespace, r.Name}
	e.attachments[parent][id] = append(e.attachments[parent][id], a)
}

// refersTo yields the indexes of the references of r to a parent.
func (r *route) refersTo(parent objectID) (refs []int) {
	for i := range r.Spec.ParentRefs {
		if p, ok := r.parent(i); ok && p == parent {
			refs = append(refs, i)
		}
	}
	return refs
}

// resolveGateway returns the objects of a Gateway of this controller.
func (e *engine) resolveGateway(parent objectID) []watchers.Object {
	delete(e.states, parent)
	g := e.gateways[objectName{parent.namespace, parent.name}]
	if g == nil {
		return nil
	}
	if class := e.classes[g.Spec.GatewayClassName]; class == nil || class.Spec.ControllerName != e.controller {
		return nil
	}
	state := g.state()
	e.states[parent] = state
	for _, r := range e.routesOf(parent) {
		for _, ref := range r.refersTo(parent) {
			a := e.attachToListeners(state, g, r, ref)
			e.attach(parent, r, a)
		}
	}
	service := &watchers.Service{
		Name: parent.service(), Created: g.CreationTimestamp.Time, Type: watchers.TypeLoadBalancer, Problems: state.problems,
	}
	var families []watchers.IPFamily
	for _, a := range state.addresses {
		service.Ingress = append(service.Ingress, watchers.Ingress{IP: a})
		if family := watchers.FamilyOf(a); !slices.Contains(families, family) {
			families = append(families, family)
		}
	}
	objects := []watchers.Object{service}
	for _, l := range state.listeners {
		if l.winner == nil {
			continue
		}
		f := frontend{service.Name, l.Name, l.protocol, families}
		endpointSlices, refused := e.combine(&f, e.backends(l.winner))
		service.Ports = append(service.Ports, watchers.ServicePort{Name: l.Name, Protocol: l.protocol, Port: uint16(l.Port), RefusedPerMille: refused})
		for _, s := range endpointSlices {
			objects = append(objects, s)
		}
	}
	return objects
}

// state returns the addresses and listeners of a Gateway, before routes are attached.
func (g *gateway) state() *gatewayState {
	s := &gatewayState{}
	problem := func(field, format string, args ...any) {
		s.problems = append(s.problems, watchers.Problem{
			Object: fmt.Sprintf("%s %s/%s", kindGateway, g.Namespace, g.Name), Field: field, Message: fmt.Sprintf(format, args...),
		})
	}
	s.addAddresses(g, problem)
	s.addListeners(g, problem)
	return s
}

// addAddresses adds the addresses of a Gateway that frontends can have.
func (s *gatewayState) addAddresses(g *gateway, problem func(field, format string, args ...any)) {
	addresses, list := g.Status.Addresses, "status.addresses"
	if len(addresses) == 0 {
		addresses, list = g.Spec.Addresses, "spec.addresses"
	}
	for i, a := range addresses {
		ip, ok := kubeapi.ParseAddr(a.Value)
		switch kind := valueOr(a.Type, "IPAddress"); {
		case kind != "IPAddress":
			problem(fmt.Sprintf("%s[%d].type", list, i), "%s is not IPAddress; the address is ignored", kind)
		case a.Value == "": // any address of the family is requested, and none is assigned
		case !ok:
			problem(fmt.Sprintf("%s[%d].value", list, i), "%q is not an IP address; ignored", a.Value)
		case valid.ServiceAddr(ip) != "":
			problem(fmt.Sprintf("%s[%d].value", list, i), "%s %s; ignored", ip, valid.ServiceAddr(ip))
		case !slices.Contains(s.addresses, ip):
			s.addresses = append(s.addresses, ip)
		}
	}
}

// addListeners adds the listeners of a Gateway, also the invalid ones.
func (s *gatewayState) addListeners(g *gateway, problem func(field, format string, args ...any)) {
	for i := range g.Spec.Listeners {
		l := listenerState{listener: &g.Spec.Listeners[i], index: i}
		field := "protocol"
		switch l.Protocol {
		case "TCP":
			l.protocol = localsink.ProtocolTCP
		case "UDP":
			l.protocol = localsink.ProtocolUDP
		default:
			l.reason, l.message = "UnsupportedProtocol", fmt.Sprintf("%s is not TCP or UDP; the listener is ignored", l.Protocol)
		}
		if l.reason == "" && (l.Port < 1 || l.Port > 65535) {
			field, l.reason, l.message = "port", "PortUnavailable", fmt.Sprintf("%d is out of range 1-65535; the listener is ignored", l.Port)
		}
		if l.reason == "" && slices.ContainsFunc(s.listeners, l.conflictsWith) {
			field, l.reason = "port", "PortUnavailable"
			l.message = fmt.Sprintf("%d/%s or the name %s belongs to an earlier listener; the listener is ignored", l.Port, l.Protocol, l.Name)
		}
		if l.reason != "" {
			problem(fmt.Sprintf("spec.listeners[%d].%s", i, field), "%s", l.message)
		}
		for j, k := range l.kinds() {
			if !l.supports(k) {
				l.invalidKinds = true
				problem(fmt.Sprintf("spec.listeners[%d].allowedRoutes.kinds[%d]", i, j), "%s is not the kind of routes of %s listeners; ignored",
					kindWithGroup(valueOr(k.Group, group), k.Kind), l.Protocol)
			}
		}
		s.listeners = append(s.listeners, l)
	}
}

// conflictsWith reports whether two listeners have the same port or name.
func (l *listenerState) conflictsWith(o listenerState) bool {
	return o.Port == l.Port && o.protocol == l.protocol || o.Name == l.Name
}

// kinds returns the kinds of routes that the listener lists.
func (l *listener) kinds() []RouteGroupKind {
	if l.AllowedRoutes == nil {
		return nil
	}
	return l.AllowedRoutes.Kinds
}

// supports reports whether a kind of route is that of the listener's protocol.
func (l *listener) supports(k RouteGroupKind) bool {
	return valueOr(k.Group, group) == group && k.Kind == l.Protocol+"Route"
}

// attachToListeners attaches a route to the listeners that one of its references selects.
func (e *engine) attachToListeners(s *gatewayState, g *gateway, r *route, ref int) attachment {
	p := &r.Spec.ParentRefs[ref]
	result := attachment{ref, reasonNoMatchingParent, fmt.Sprintf("%s %s/%s has no listener of this name and port", kindGateway, g.Namespace, g.Name)}
	for i := range s.listeners {
		l := &s.listeners[i]
		if valueOr(p.SectionName, l.Name) != l.Name || int64(valueOr(p.Port, int32(l.Port))) != l.Port {
			continue
		}
		refusal := e.refusal(l, g, r)
		switch {
		case refusal != "":
			if result.reason == reasonNoMatchingParent {
				result = attachment{ref, reasonNotAllowed, refusal}
			}
		case l.winner == nil:
			l.winner = r
			l.attached++
			result = attachment{ref, reasonAccepted, ""}
		case l.winner == r:
			result = attachment{ref, reasonAccepted, ""}
		case result.reason != reasonAccepted:
			result = attachment{ref, reasonConflicted, fmt.Sprintf("listener %s has the older %s %s/%s", l.Name, l.winner.kind, l.winner.Namespace, l.winner.Name)}
		}
	}
	return result
}

// refusal returns why a listener does not accept a route, or "".
func (e *engine) refusal(l *listenerState, g *gateway, r *route) string {
	switch {
	case l.reason != "":
		return fmt.Sprintf("listener %s is invalid", l.Name)
	case l.protocol != r.protocol():
		return fmt.Sprintf("listener %s accepts no %ss", l.Name, r.kind)
	}
	kinds := l.kinds()
	if len(kinds) > 0 && !slices.ContainsFunc(kinds, func(k RouteGroupKind) bool { return l.supports(k) && k.Kind == r.kind }) {
		return fmt.Sprintf("listener %s accepts no %ss", l.Name, r.kind)
	}
	from, selector := "Same", (*metav1.LabelSelector)(nil)
	if l.AllowedRoutes != nil && l.AllowedRoutes.Namespaces != nil {
		from, selector = valueOr(l.AllowedRoutes.Namespaces.From, "Same"), l.AllowedRoutes.Namespaces.Selector
	}
	switch {
	case from == "All", from == "Same" && r.Namespace == g.Namespace, from == "Selector" && e.selects(selector, r.Namespace):
		return ""
	}
	return fmt.Sprintf("listener %s does not accept routes of namespace %s", l.Name, r.Namespace)
}

// selects reports whether a selector selects a namespace. An invalid one selects none.
func (e *engine) selects(selector *metav1.LabelSelector, name string) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	ns := e.namespaces[name]
	return err == nil && ns != nil && s.Matches(labels.Set(ns.Labels))
}

// resolveService returns the objects of a Service with the endpoints of the routes that it is the
// parent of.
func (e *engine) resolveService(parent objectID) []watchers.Object {
	name := parent.service()
	service := e.services.Service(name)
	winners := e.attachToPorts(parent, service)
	var objects []watchers.Object
	for s := range e.services.EndpointSlices(name) {
		if s = withoutPorts(s, service, winners); s != nil {
			objects = append(objects, s)
		}
	}
	if service == nil {
		return objects
	}
	if len(winners) == 0 {
		return append(objects, service)
	}
	out := *service
	out.Ports = slices.Clone(service.Ports)
	for i, r := range winners {
		p := &out.Ports[i]
		f := frontend{name, p.Name, p.Protocol, familiesOf(service)}
		endpointSlices, refused := e.combine(&f, e.backends(r))
		p.RefusedPerMille = refused
		for _, s := range endpointSlices {
			objects = append(objects, s)
		}
	}
	return append(objects, &out)
}

// attachToPorts returns the routes of the ports of a Service, by index.
func (e *engine) attachToPorts(parent objectID, service *watchers.Service) map[int]*route {
	winners := map[int]*route{}
	for _, r := range e.routesOf(parent) {
		for _, ref := range r.refersTo(parent) {
			e.attach(parent, r, attachToPorts(parent, service, r, ref, winners))
		}
	}
	return winners
}

// attachToPorts attaches a route to the ports that one of its references selects.
func attachToPorts(parent objectID, service *watchers.Service, r *route, ref int, winners map[int]*route) attachment {
	p := &r.Spec.ParentRefs[ref]
	object := fmt.Sprintf("%s %s/%s", kindService, parent.namespace, parent.name)
	switch {
	case service == nil:
		return attachment{ref, reasonNoMatchingParent, "there is no " + object}
	case r.Namespace != parent.namespace: // it would apply to clients in the namespace of the route only
		return attachment{ref, reasonNotAllowed, object + " is in another namespace"}
	case service.Type == watchers.TypeExternalName || len(familiesOf(service)) == 0:
		return attachment{ref, reasonNotAllowed, object + " has no cluster IP"}
	}
	result := attachment{ref, reasonNoMatchingParent, fmt.Sprintf("%s has no %v port of this name and number", object, r.protocol())}
	for i := range service.Ports {
		port := &service.Ports[i]
		if valueOr(p.SectionName, port.Name) != port.Name || valueOr(p.Port, int32(port.Port)) != int32(port.Port) || port.Protocol != r.protocol() {
			continue
		}
		switch winner := winners[i]; {
		case winner == nil:
			winners[i] = r
			result = attachment{ref, reasonAccepted, ""}
		case winner == r:
			result = attachment{ref, reasonAccepted, ""}
		case result.reason != reasonAccepted:
			result = attachment{ref, reasonConflicted, fmt.Sprintf("port %d has the older %s %s/%s", port.Port, winner.kind, winner.Namespace, winner.Name)}
		}
	}
	return result
}

// withoutPorts returns a slice without the ports that routes have taken, or nil if it has no
// others.
func withoutPorts(s *watchers.EndpointSlice, service *watchers.Service, winners map[int]*route) *watchers.EndpointSlice {
	taken := func(p watchers.EndpointPort) bool {
		for i := range winners {
			if service.Ports[i].Name == p.Name && service.Ports[i].Protocol == p.Protocol {
				return true
			}
		}
		return false
	}
	if !slices.ContainsFunc(s.Ports, taken) {
		return s
	}
	out := *s
	out.Ports = slices.DeleteFunc(slices.Clone(s.Ports), taken)
	if len(out.Ports) == 0 {
		return nil
	}
	return &out
}

// familiesOf returns the families of the cluster IPs of a Service.
func familiesOf(s *watchers.Service) (families []watchers.IPFamily) {
	for _, f := range []watchers.IPFamily{watchers.FamilyIPv4, watchers.FamilyIPv6} {
		if s.ClusterIPOf(f).IsValid() {
			families = append(families, f)
		}
	}
	return families
}
