// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The group, and the kinds that this package reads.
const (
	group            = "gateway.networking.k8s.io"
	kindGatewayClass = "GatewayClass"
	kindGateway      = "Gateway"
	kindTCPRoute     = "TCPRoute"
	kindUDPRoute     = "UDPRoute"
	kindGrant        = "ReferenceGrant"
	kindNamespace    = "Namespace"
	kindService      = "Service"
)

// resources maps the kinds to their resources. ReferenceGrants are read as v1beta1, which older
// bundles of definitions have too.
func resources() map[string]schema.GroupVersionResource {
	return map[string]schema.GroupVersionResource{
		kindGatewayClass: {Group: group, Version: "v1", Resource: "gatewayclasses"},
		kindGateway:      {Group: group, Version: "v1", Resource: "gateways"},
		kindTCPRoute:     {Group: group, Version: "v1", Resource: "tcproutes"},
		kindUDPRoute:     {Group: group, Version: "v1", Resource: "udproutes"},
		kindGrant:        {Group: group, Version: "v1beta1", Resource: "referencegrants"},
		kindNamespace:    {Version: "v1", Resource: "namespaces"},
	}
}

// An objectName is the namespace and name of an object.
type objectName struct{ namespace, name string }

// A gatewayClass is the part of a GatewayClass that is read. So are the other types here: their
// fields are those of the API with the same names.
type gatewayClass struct {
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		ControllerName string `json:"controllerName"`
	} `json:"spec"`
}

type gateway struct {
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		GatewayClassName string     `json:"gatewayClassName"`
		Addresses        []address  `json:"addresses"`
		Listeners        []listener `json:"listeners"`
	} `json:"spec"`
	Status struct {
		Addresses []address `json:"addresses"`
	} `json:"status"`
}

type address struct {
	Type  *string `json:"type"` // nil is IPAddress
	Value string  `json:"value"`
}

type listener struct {
	Name          string         `json:"name"`
	Port          int64          `json:"port"`
	Protocol      string         `json:"protocol"`
	AllowedRoutes *allowedRoutes `json:"allowedRoutes"`
}

type allowedRoutes struct {
	Namespaces *struct {
		From     *string               `json:"from"`
		Selector *metav1.LabelSelector `json:"selector"`
	} `json:"namespaces"`
	Kinds []RouteGroupKind `json:"kinds"`
}

// A RouteGroupKind is a kind of route.
type RouteGroupKind struct {
	Group *string `json:"group,omitempty"`
	Kind  string  `json:"kind"`
}

// A route is a TCPRoute or UDPRoute.
type route struct {
	routeFields

	kind string
}

type routeFields struct {
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		ParentRefs []ParentReference `json:"parentRefs"`
		Rules      []struct {
			BackendRefs []backendRef `json:"backendRefs"`
		} `json:"rules"`
	} `json:"spec"`
}

// A ParentReference refers to a Gateway or a Service that a route is attached to.
type ParentReference struct {
	Group       *string `json:"group,omitempty"`
	Kind        *string `json:"kind,omitempty"`
	Namespace   *string `json:"namespace,omitempty"`
	Name        string  `json:"name"`
	SectionName *string `json:"sectionName,omitempty"`
	Port        *int32  `json:"port,omitempty"`
}

type backendRef struct {
	Group     *string `json:"group"`
	Kind      *string `json:"kind"`
	Namespace *string `json:"namespace"`
	Name      string  `json:"name"`
	Port      *int64  `json:"port"`
	Weight    *int64  `json:"weight"`
}

type referenceGrant struct {
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		From []struct {
			Group     string `json:"group"`
			Kind      string `json:"kind"`
			Namespace string `json:"namespace"`
		} `json:"from"`
		To []struct {
			Group string  `json:"group"`
			Kind  string  `json:"kind"`
			Name  *string `json:"name"`
		} `json:"to"`
	} `json:"spec"`
}

type namespace struct {
	metav1.ObjectMeta `json:"metadata"`
}

// metadata returns the metadata of a decoded object.
type withMetadata interface{ metadata() *metav1.ObjectMeta }

func (c *gatewayClass) metadata() *metav1.ObjectMeta   { return &c.ObjectMeta }
func (g *gateway) metadata() *metav1.ObjectMeta        { return &g.ObjectMeta }
func (r *route) metadata() *metav1.ObjectMeta          { return &r.ObjectMeta }
func (g *referenceGrant) metadata() *metav1.ObjectMeta { return &g.ObjectMeta }
func (n *namespace) metadata() *metav1.ObjectMeta      { return &n.ObjectMeta }

// decode decodes an object of a kind. Of its metadata, only what is used remains.
func decode(kind string, object any) (withMetadata, error) {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("unsupported type %T, want a %s", object, kind)
	}
	var out withMetadata
	var fields any
	switch kind {
	case kindGatewayClass:
		out = &gatewayClass{}
	case kindGateway:
		out = &gateway{}
	case kindTCPRoute, kindUDPRoute:
		r := &route{kind: kind}
		out, fields = r, &r.routeFields
	case kindGrant:
		out = &referenceGrant{}
	default:
		out = &namespace{}
	}
	if fields == nil {
		fields = out
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, fields); err != nil {
		return nil, fmt.Errorf("%s %s/%s: %w", kind, u.GetNamespace(), u.GetName(), err)
	}
	m := out.metadata()
	kept := metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, CreationTimestamp: m.CreationTimestamp, Generation: m.Generation}
	if kind == kindNamespace {
		kept.Labels = m.Labels
	}
	*m = kept
	return out, nil
}

// valueOr returns the value of an optional field.
func valueOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
