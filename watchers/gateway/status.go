// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/watchers"
)

// Types of conditions.
const (
	conditionAccepted     = "Accepted"
	conditionResolvedRefs = "ResolvedRefs"
	conditionProgrammed   = "Programmed"
	conditionConflicted   = "Conflicted"
)

// A Status has what a controller writes into the status of objects. The conditions have no
// transition time; meta.SetStatusCondition of apimachinery sets it.
type Status struct {
	// Gateways are those of this controller, ordered by name.
	Gateways []StatusOfGateway
	// Routes are those with a parent of this controller, ordered by kind and name.
	Routes []RouteStatus
}

// A StatusOfGateway is the status of a Gateway. Programmed reports that addresses and listeners
// are valid; the acknowledgements of nodes are elsewhere.
type StatusOfGateway struct {
	Namespace, Name string
	Conditions      []metav1.Condition
	Listeners       []ListenerStatus
}

// A ListenerStatus is an element of status.listeners of a Gateway.
type ListenerStatus struct {
	Name           string             `json:"name"`
	SupportedKinds []RouteGroupKind   `json:"supportedKinds"`
	AttachedRoutes int32              `json:"attachedRoutes"`
	Conditions     []metav1.Condition `json:"conditions"`
}

// A RouteStatus is the status of a TCPRoute or UDPRoute.
type RouteStatus struct {
	Kind, Namespace, Name string
	Parents               []ParentStatus
}

// A ParentStatus is an element of status.parents of a route.
type ParentStatus struct {
	ParentRef      ParentReference    `json:"parentRef"`
	ControllerName string             `json:"controllerName"`
	Conditions     []metav1.Condition `json:"conditions"`
}

// condition returns a condition that is true if there is no failure.
func condition(kind string, generation int64, ok bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if ok {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, ObservedGeneration: generation, Reason: reason, Message: message}
}

// status returns the status of all objects.
func (e *engine) status() (out Status) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, state := range e.states {
		g := e.gateways[objectName{id.namespace, id.name}]
		out.Gateways = append(out.Gateways, state.status(g))
	}
	for id, r := range e.routes {
		if parents := e.parentStatuses(id, r); len(parents) > 0 {
			out.Routes = append(out.Routes, RouteStatus{id.kind, id.namespace, id.name, parents})
		}
	}
	slices.SortFunc(out.Gateways, func(a, b StatusOfGateway) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	slices.SortFunc(out.Routes, func(a, b RouteStatus) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return out
}

// status returns the status of a Gateway.
func (s *gatewayState) status(g *gateway) StatusOfGateway {
	out := StatusOfGateway{Namespace: g.Namespace, Name: g.Name}
	valid := 0
	for i := range s.listeners {
		l := &s.listeners[i]
		if l.reason == "" {
			valid++
		}
		out.Listeners = append(out.Listeners, l.status(g.Generation, len(s.addresses) > 0))
	}
	switch {
	case valid == 0:
		out.Conditions = append(out.Conditions, condition(conditionAccepted, g.Generation, false, "ListenersNotValid", "no listener is valid"))
	case valid < len(s.listeners):
		out.Conditions = append(out.Conditions, condition(conditionAccepted, g.Generation, true, "ListenersNotValid", "some listeners are invalid"))
	default:
		out.Conditions = append(out.Conditions, condition(conditionAccepted, g.Generation, true, reasonAccepted, ""))
	}
	switch {
	case valid == 0:
		out.Conditions = append(out.Conditions, condition(conditionProgrammed, g.Generation, false, "Invalid", "no listener is valid"))
	case len(s.addresses) == 0:
		out.Conditions = append(out.Conditions, condition(conditionProgrammed, g.Generation, false, "AddressNotAssigned", "the Gateway has no IP address"))
	default:
		out.Conditions = append(out.Conditions, condition(conditionProgrammed, g.Generation, true, conditionProgrammed, ""))
	}
	return out
}

// status returns the status of a listener.
func (l *listenerState) status(generation int64, hasAddress bool) ListenerStatus {
	out := ListenerStatus{Name: l.Name, AttachedRoutes: l.attached, SupportedKinds: []RouteGroupKind{}}
	if l.protocol != 0 {
		apiGroup := group
		kind := RouteGroupKind{Group: &apiGroup, Kind: l.Protocol + "Route"}
		if kinds := l.kinds(); len(kinds) == 0 || slices.ContainsFunc(kinds, l.supports) {
			out.SupportedKinds = append(out.SupportedKinds, kind)
		}
	}
	accepted := condition(conditionAccepted, generation, l.reason == "", cmp.Or(l.reason, reasonAccepted), l.message)
	refs := condition(conditionResolvedRefs, generation, true, reasonResolvedRefs, "")
	if l.invalidKinds {
		refs = condition(conditionResolvedRefs, generation, false, "InvalidRouteKinds", "allowedRoutes has kinds that the listener does not support")
	}
	programmed := condition(conditionProgrammed, generation, true, conditionProgrammed, "")
	switch {
	case l.reason != "":
		programmed = condition(conditionProgrammed, generation, false, "Invalid", l.message)
	case !hasAddress:
		programmed = condition(conditionProgrammed, generation, false, "Pending", "the Gateway has no IP address")
	}
	out.Conditions = []metav1.Condition{accepted, condition(conditionConflicted, generation, false, "NoConflicts", ""), refs, programmed}
	return out
}

// parentStatuses returns the status of a route for each of its references to a parent of this
// controller.
func (e *engine) parentStatuses(id objectID, r *route) (out []ParentStatus) {
	results := e.results(id, r)
	if len(results) == 0 {
		return nil
	}
	refs := condition(conditionResolvedRefs, r.Generation, true, reasonResolvedRefs, "")
	for _, b := range e.backends(r) {
		if b.reason != "" {
			refs = condition(conditionResolvedRefs, r.Generation, false, b.reason, b.message)
			break
		}
	}
	for _, a := range results {
		out = append(out, ParentStatus{
			ParentRef: r.Spec.ParentRefs[a.ref], ControllerName: e.controller,
			Conditions: []metav1.Condition{condition(conditionAccepted, r.Generation, a.reason == reasonAccepted, a.reason, a.message), refs},
		})
	}
	return out
}

// results returns the results for the parents of a route, in the order of its references.
func (e *engine) results(id objectID, r *route) (out []attachment) {
	seen := set{}
	for i := range r.Spec.ParentRefs {
		parent, ok := r.parent(i)
		if _, again := seen[parent]; !ok || again {
			continue
		}
		seen.add(parent)
		out = append(out, e.attachments[parent][id]...)
	}
	slices.SortFunc(out, func(a, b attachment) int { return cmp.Compare(a.ref, b.ref) })
	return out
}

// reportRoute writes the object with the Problems of a route, or deletes it.
func (e *engine) reportRoute(c *change, id objectID) {
	r := e.routes[id]
	var problems []watchers.Problem
	if r != nil {
		problems = e.routeProblems(id, r)
	}
	if len(problems) == 0 {
		c.deletes = append(c.deletes, watchers.ServiceKey(id.service()))
		return
	}
	c.sets = append(c.sets, &watchers.Service{
		Name: id.service(), Created: r.CreationTimestamp.Time, Problems: problems, Details: &watchers.ServiceDetails{Headless: true},
	})
}

// routeProblems returns what is wrong with a route that has a parent of this controller.
func (e *engine) routeProblems(id objectID, r *route) (problems []watchers.Problem) {
	results := e.results(id, r)
	if len(results) == 0 {
		return nil
	}
	report := func(message, field string, args ...any) {
		problems = append(problems, watchers.Problem{
			Object: fmt.Sprintf("%s %s/%s", id.kind, id.namespace, id.name), Field: fmt.Sprintf(field, args...), Message: message,
		})
	}
	for _, a := range results {
		if a.reason != reasonAccepted {
			report(a.message+"; the reference is ignored", "spec.parentRefs[%d]", a.ref)
		}
	}
	if len(r.Spec.Rules) != 1 {
		report(fmt.Sprintf("has %d elements, want 1; the first is used", len(r.Spec.Rules)), "spec.rules")
	}
	for i, b := range e.backends(r) {
		if b.reason != "" {
			report(b.message, "spec.rules[0].backendRefs[%d].%s", i, b.field)
		}
	}
	return problems
}
