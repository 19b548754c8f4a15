// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package vectors

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// apply adds or replaces one object. An object that the filter excludes is deleted, as it is for a
// watcher that uses the selectors of the filter.
func apply(tx *watchers.Tx, text json.RawMessage) error {
	text, properties, err := cutProperties(text)
	if err != nil {
		return err
	}
	var head struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return err
	}
	object, err := decode(head.Kind, text)
	if err != nil {
		return err
	}
	converted, err := kubeapi.Filter{AllProxies: true}.Object(object)
	if invalid := (*kubeapi.InvalidObjectError)(nil); err != nil && !errors.As(err, &invalid) {
		return err
	}
	if converted == nil {
		remove(tx, head.Kind, object.GetNamespace(), object.GetName(), properties.Origin)
		return nil
	}
	if err := properties.apply(converted); err != nil {
		return fmt.Errorf("%s %s: kpng.%w", head.Kind, object.GetName(), err)
	}
	tx.Set(converted)
	return nil
}

// decode returns an object of the Kubernetes API. Unknown fields are errors.
func decode(kind string, text json.RawMessage) (metav1.Object, error) {
	var object metav1.Object
	switch kind {
	case "Service":
		object = &corev1.Service{}
	case "EndpointSlice":
		object = &discoveryv1.EndpointSlice{}
	case "ServiceCIDR":
		object = &networkingv1.ServiceCIDR{}
	case "Node":
		object = &corev1.Node{}
	default:
		return nil, fmt.Errorf("unknown kind %q", kind)
	}
	if err := yaml.UnmarshalStrict(text, object); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	if kind == "Service" || kind == "EndpointSlice" {
		object.SetNamespace(cmp.Or(object.GetNamespace(), metav1.NamespaceDefault))
	}
	return object, nil
}

// remove deletes an object and reports whether its kind is known.
func remove(tx *watchers.Tx, kind, namespace, name, origin string) (known bool) {
	switch kind {
	case "Service":
		tx.DeleteService(watchers.ServiceName{Namespace: namespace, Name: name, Origin: origin})
	case "EndpointSlice":
		tx.Delete(watchers.Key{Kind: watchers.KindEndpointSlice, Namespace: namespace, Slice: name, Origin: origin})
	case "Node":
		tx.DeleteNode(name)
	case "ServiceCIDR":
		tx.DeleteServiceCIDR(name)
	default:
		return false
	}
	return true
}

// properties is the field kpng of an object in a story: what cluster state has and the Kubernetes
// API has not.
type properties struct {
	Origin     string
	Extensions map[string]string
	Ports      []struct { // of a Service
		Name            string
		Selection       string
		RefusedPerMille uint16
	}
	Endpoints map[string]struct { // of an EndpointSlice, by address
		Weight     *uint32
		Extensions map[string]string
	}
}

// cutProperties returns an object without the field kpng, and that field.
func cutProperties(text json.RawMessage) (json.RawMessage, *properties, error) {
	var fields map[string]json.RawMessage
	p := &properties{}
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, nil, err
	}
	part, found := fields["kpng"]
	if !found {
		return text, p, nil
	}
	delete(fields, "kpng")
	if err := yaml.UnmarshalStrict(part, p); err != nil {
		return nil, nil, fmt.Errorf("kpng: %w", err)
	}
	text, err := json.Marshal(fields)
	return text, p, err
}

// apply sets the properties in an object.
func (p *properties) apply(object watchers.Object) error {
	switch o := object.(type) {
	case *watchers.Service:
		o.Name.Origin, o.Extensions = p.Origin, extensions(p.Extensions)
		return p.applyPorts(o)
	case *watchers.EndpointSlice:
		o.Service.Origin, o.Extensions = p.Origin, extensions(p.Extensions)
		return p.applyEndpoints(o)
	case *watchers.Node:
		o.Extensions = extensions(p.Extensions)
	}
	return nil
}

func (p *properties) applyPorts(svc *watchers.Service) error {
	for _, port := range p.Ports {
		selection, err := selectionNamed(port.Selection)
		if err != nil {
			return err
		}
		found := false
		for i := range svc.Ports {
			if svc.Ports[i].Name == port.Name {
				svc.Ports[i].Selection, svc.Ports[i].RefusedPerMille = selection, port.RefusedPerMille
				found = true
			}
		}
		if !found {
			return fmt.Errorf("ports: the Service has no port %q", port.Name)
		}
	}
	return nil
}

func (p *properties) applyEndpoints(slice *watchers.EndpointSlice) error {
	if len(p.Endpoints) == 0 {
		return nil
	}
	slice.Details = make([]watchers.EndpointDetails, len(slice.Endpoints))
	found := 0
	for i := range slice.Endpoints {
		if e, ok := p.Endpoints[slice.Endpoints[i].Addr.String()]; ok {
			slice.Details[i] = watchers.EndpointDetails{Weight: e.Weight, Extensions: extensions(e.Extensions)}
			found++
		}
	}
	if found != len(p.Endpoints) {
		return fmt.Errorf("endpoints: %d of %d are endpoints of the slice", found, len(p.Endpoints))
	}
	return nil
}

func selectionNamed(name string) (localsink.Selection, error) {
	for s := localsink.SelectionRandom; s <= localsink.SelectionLeastConnections; s++ {
		if s.String() == name || s == localsink.SelectionRandom && name == "" {
			return s, nil
		}
	}
	return 0, fmt.Errorf("ports: unknown selection %q", name)
}

func extensions(values map[string]string) localsink.Extensions {
	var list []localsink.Extension
	for key, value := range values {
		list = append(list, localsink.Extension{Key: key, Value: value})
	}
	return localsink.NewExtensions(list...)
}
