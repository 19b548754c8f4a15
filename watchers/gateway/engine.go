// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/watchers"
)

// An objectID identifies a route, or a parent: a Gateway or a Service.
type objectID struct{ kind, namespace, name string }

func (id objectID) service() watchers.ServiceName {
	origin := id.kind
	if origin == kindService {
		origin = ""
	}
	return watchers.ServiceName{Namespace: id.namespace, Name: id.name, Origin: origin}
}

// A set is a set of objects.
type set map[objectID]struct{}

func (s set) add(id objectID) { s[id] = struct{}{} }

// An engine computes what routes make of Services. Its methods may be called concurrently.
//
//	routes, gateways...  the current objects
//	byParent, byBackend  indexes of the routes by the objects that they refer to
//	attachments, states  results for each parent, which [engine.status] reads
type engine struct {
	controller string
	target     *watchers.Store

	mu sync.Mutex // guards all below

	services       watchers.Snapshot // of the other source
	servicesSynced bool
	unlisted       map[string]bool // kinds without a complete list yet

	classes    map[string]*gatewayClass
	gateways   map[objectName]*gateway
	routes     map[objectID]*route
	grants     map[objectName]*referenceGrant
	namespaces map[string]*namespace

	// Indexes of routes. Those by namespace have keys with only a namespace: that of the
	// routes, and that of their backends in other namespaces.
	byParent, byBackend, byNamespace, byCrossing map[objectID]set
	grantsOf                                     map[string]map[string]*referenceGrant

	attachments map[objectID]map[objectID][]attachment // by parent and route
	states      map[objectID]*gatewayState

	changed chan struct{} // closed by the next change
}

func newEngine(controller string, target *watchers.Store) *engine {
	e := &engine{
		controller: controller, target: target, unlisted: map[string]bool{}, services: watchers.NewStore().Snapshot(),
		classes: map[string]*gatewayClass{}, gateways: map[objectName]*gateway{}, routes: map[objectID]*route{},
		grants: map[objectName]*referenceGrant{}, namespaces: map[string]*namespace{},
		byParent: map[objectID]set{}, byBackend: map[objectID]set{}, byNamespace: map[objectID]set{}, byCrossing: map[objectID]set{},
		grantsOf:    map[string]map[string]*referenceGrant{},
		attachments: map[objectID]map[objectID][]attachment{}, states: map[objectID]*gatewayState{},
		changed: make(chan struct{}),
	}
	for kind := range resources() {
		e.unlisted[kind] = true
	}
	return e
}

// A change collects what one change affects, and then what it changes in the target.
type change struct {
	parents, routes set
	sets            []watchers.Object
	deletes         []watchers.Key
}

// update applies a change: f changes the current objects and adds the parents and routes that
// this affects.
func (e *engine) update(f func(c *change)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := &change{parents: set{}, routes: set{}}
	f(c)
	for parent := range c.parents {
		e.resolve(c, parent)
	}
	for id := range c.routes {
		e.reportRoute(c, id)
	}
	e.target.Update(func(tx *watchers.Tx) {
		// Deletions come first: a slice may have moved from one Service to another, and its
		// deletion under the old one would delete it under the new one.
		for _, k := range c.deletes {
			tx.Delete(k)
		}
		for _, o := range c.sets {
			tx.Set(o)
		}
		if e.servicesSynced && len(e.unlisted) == 0 {
			tx.SetSynced()
		}
	})
	close(e.changed)
	e.changed = make(chan struct{})
}

// servicesChanged applies changes of the other source.
func (e *engine) servicesChanged(snapshot watchers.Snapshot, changes iter.Seq[diffstore.Change[watchers.Key, watchers.Object]]) {
	e.update(func(c *change) {
		e.services = snapshot
		for change := range changes {
			k := change.Key
			switch {
			case k.Kind == watchers.KindSynced:
				e.servicesSynced = true
				continue
			case k.Origin == "" && (k.Kind == watchers.KindService || k.Kind == watchers.KindEndpointSlice):
				id := objectID{kindService, k.Namespace, k.Name}
				for r := range e.byBackend[id] {
					e.addParents(c, e.routes[r])
				}
				if len(e.byParent[id]) > 0 {
					c.parents.add(id) // the parent sets and deletes its objects
					continue
				}
			}
			if change.Deleted {
				c.deletes = append(c.deletes, k)
			} else {
				c.sets = append(c.sets, change.Value)
			}
		}
	})
}

// set adds or replaces an object of a kind.
func (e *engine) set(object withMetadata) {
	e.update(func(c *change) { e.setObject(c, object) })
}

// delete deletes an object of a kind.
func (e *engine) delete(kind string, name objectName) {
	e.update(func(c *change) { e.deleteObject(c, kind, name) })
}

// replace replaces all objects of a kind.
func (e *engine) replace(kind string, objects []withMetadata) {
	e.update(func(c *change) {
		listed := map[objectName]bool{}
		for _, o := range objects {
			listed[nameOf(o)] = true
		}
		for _, name := range e.names(kind) {
			if !listed[name] {
				e.deleteObject(c, kind, name)
			}
		}
		for _, o := range objects {
			e.setObject(c, o)
		}
		delete(e.unlisted, kind)
	})
}

// absent applies that the API server has no such kind: the store does not wait for it.
func (e *engine) absent(kind string) {
	e.mu.Lock()
	waits := e.unlisted[kind]
	e.mu.Unlock()
	if waits {
		e.replace(kind, nil)
	}
}

func nameOf(o withMetadata) objectName { return objectName{o.metadata().Namespace, o.metadata().Name} }

// names returns the names of all objects of a kind.
func (e *engine) names(kind string) (names []objectName) {
	switch kind {
	case kindGatewayClass:
		for name := range e.classes {
			names = append(names, objectName{"", name})
		}
	case kindGateway:
		for name := range e.gateways {
			names = append(names, name)
		}
	case kindGrant:
		for name := range e.grants {
			names = append(names, name)
		}
	case kindNamespace:
		for name := range e.namespaces {
			names = append(names, objectName{"", name})
		}
	default:
		for id := range e.routes {
			if id.kind == kind {
				names = append(names, objectName{id.namespace, id.name})
			}
		}
	}
	return names
}

func (e *engine) setObject(c *change, object withMetadata) {
	name := nameOf(object)
	switch o := object.(type) {
	case *gatewayClass:
		e.classes[o.Name] = o
		e.addGatewaysOf(c, o.Name)
	case *gateway:
		e.gateways[name] = o
		c.parents.add(objectID{kindGateway, o.Namespace, o.Name})
	case *route:
		id := objectID{o.kind, o.Namespace, o.Name}
		e.removeRoute(c, id)
		e.routes[id] = o
		e.addParents(c, o)
		c.routes.add(id)
		e.index(id, o, func(s set) { s.add(id) })
	case *referenceGrant:
		e.grants[name] = o
		if e.grantsOf[o.Namespace] == nil {
			e.grantsOf[o.Namespace] = map[string]*referenceGrant{}
		}
		e.grantsOf[o.Namespace][o.Name] = o
		e.addRoutesInto(c, o.Namespace)
	case *namespace:
		old := e.namespaces[o.Name]
		e.namespaces[o.Name] = o
		if old == nil || !maps.Equal(old.Labels, o.Labels) {
			e.addRoutesOf(c, o.Name)
		}
	}
}

func (e *engine) deleteObject(c *change, kind string, name objectName) {
	switch kind {
	case kindGatewayClass:
		delete(e.classes, name.name)
		e.addGatewaysOf(c, name.name)
	case kindGateway:
		delete(e.gateways, name)
		c.parents.add(objectID{kindGateway, name.namespace, name.name})
	case kindGrant:
		delete(e.grants, name)
		delete(e.grantsOf[name.namespace], name.name)
		e.addRoutesInto(c, name.namespace)
	case kindNamespace:
		delete(e.namespaces, name.name)
		e.addRoutesOf(c, name.name)
	default:
		e.removeRoute(c, objectID{kind, name.namespace, name.name})
	}
}

// removeRoute removes a route and its entries in indexes.
func (e *engine) removeRoute(c *change, id objectID) {
	old := e.routes[id]
	if old == nil {
		return
	}
	delete(e.routes, id)
	e.addParents(c, old)
	c.routes.add(id)
	e.index(id, old, func(s set) { delete(s, id) })
}

// index calls f with each entry of an index that a route belongs to, and removes empty ones.
func (e *engine) index(id objectID, r *route, f func(set)) {
	at := func(m map[objectID]set, key objectID) {
		if m[key] == nil {
			m[key] = set{}
		}
		if f(m[key]); len(m[key]) == 0 {
			delete(m, key)
		}
	}
	for i := range r.Spec.ParentRefs {
		if parent, ok := r.parent(i); ok {
			at(e.byParent, parent)
		}
	}
	for _, b := range r.backendRefs() {
		at(e.byBackend, b.target(r))
		if target := b.target(r); target.namespace != r.Namespace {
			at(e.byCrossing, objectID{namespace: target.namespace})
		}
	}
	at(e.byNamespace, objectID{namespace: id.namespace})
}

// addParents adds the parents of a route.
func (e *engine) addParents(c *change, r *route) {
	for i := range r.Spec.ParentRefs {
		if parent, ok := r.parent(i); ok {
			c.parents.add(parent)
		}
	}
}

// addGatewaysOf adds the Gateways of a class. There are few classes, and they hardly change.
func (e *engine) addGatewaysOf(c *change, class string) {
	for name, g := range e.gateways {
		if g.Spec.GatewayClassName == class {
			c.parents.add(objectID{kindGateway, name.namespace, name.name})
		}
	}
}

// addRoutesOf adds the parents of the routes in a namespace, whose labels may select it.
func (e *engine) addRoutesOf(c *change, namespace string) {
	for id := range e.byNamespace[objectID{namespace: namespace}] {
		e.addParents(c, e.routes[id])
	}
}

// addRoutesInto adds the parents of the routes that refer to a namespace from another.
func (e *engine) addRoutesInto(c *change, namespace string) {
	for id := range e.byCrossing[objectID{namespace: namespace}] {
		e.addParents(c, e.routes[id])
	}
}

// parent returns the parent of a reference; ok is false if it is of a kind that this package does
// not serve.
func (r *route) parent(i int) (parent objectID, ok bool) {
	ref := &r.Spec.ParentRefs[i]
	parent = objectID{valueOr(ref.Kind, kindGateway), valueOr(ref.Namespace, r.Namespace), ref.Name}
	switch valueOr(ref.Group, group) {
	case group:
		return parent, parent.kind == kindGateway
	case "":
		return parent, parent.kind == kindService
	}
	return parent, false
}

// backendRefs returns the backends of the only rule.
func (r *route) backendRefs() []backendRef {
	if len(r.Spec.Rules) == 0 {
		return nil
	}
	return r.Spec.Rules[0].BackendRefs
}

// target returns the Service that a backend of r refers to.
func (b *backendRef) target(r *route) objectID {
	return objectID{kindService, valueOr(b.Namespace, r.Namespace), b.Name}
}

// routesOf returns the routes that refer to a parent, the first of which has precedence.
func (e *engine) routesOf(parent objectID) []*route {
	var routes []*route
	for id := range e.byParent[parent] {
		routes = append(routes, e.routes[id])
	}
	slices.SortFunc(routes, func(a, b *route) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace),
			strings.Compare(a.Name, b.Name), strings.Compare(a.kind, b.kind))
	})
	return routes
}
