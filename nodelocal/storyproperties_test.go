// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// objectProperties is the field kpng of an object in a story: what cluster state has and the
// Kubernetes API has not.
type objectProperties struct {
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

// cutProperties returns the document without the field kpng, and that field.
func cutProperties(t *testing.T, where string, doc []byte) ([]byte, objectProperties) {
	var fields map[string]any
	var p objectProperties
	require.NoError(t, yaml.Unmarshal(doc, &fields), where)
	part, found := fields["kpng"]
	if !found {
		return doc, p
	}
	delete(fields, "kpng")
	text, err := yaml.Marshal(part)
	require.NoError(t, err, where)
	require.NoError(t, yaml.UnmarshalStrict(text, &p), where)
	doc, err = yaml.Marshal(fields)
	require.NoError(t, err, where)
	return doc, p
}

// apply sets the properties in an object.
func (p *objectProperties) apply(t *testing.T, where string, object watchers.Object) {
	switch o := object.(type) {
	case *watchers.Service:
		o.Name.Origin, o.Extensions = p.Origin, extensionsOf(p.Extensions)
		for _, port := range p.Ports {
			found := false
			for i := range o.Ports {
				if o.Ports[i].Name == port.Name {
					o.Ports[i].Selection, o.Ports[i].RefusedPerMille = selectionNamed(t, where, port.Selection), port.RefusedPerMille
					found = true
				}
			}
			require.True(t, found, "%s: kpng.ports: the Service has no port %q", where, port.Name)
		}
	case *watchers.EndpointSlice:
		o.Service.Origin, o.Extensions = p.Origin, extensionsOf(p.Extensions)
		if len(p.Endpoints) == 0 {
			return
		}
		o.Details = make([]watchers.EndpointDetails, len(o.Endpoints))
		found := 0
		for i := range o.Endpoints {
			if e, ok := p.Endpoints[o.Endpoints[i].Addr.String()]; ok {
				o.Details[i] = watchers.EndpointDetails{Weight: e.Weight, Extensions: extensionsOf(e.Extensions)}
				found++
			}
		}
		require.Len(t, p.Endpoints, found, "%s: kpng.endpoints: not all are endpoints of the slice", where)
	case *watchers.Node:
		o.Extensions = extensionsOf(p.Extensions)
	}
}

func selectionNamed(t *testing.T, where, name string) localsink.Selection {
	for s := localsink.SelectionRandom; s <= localsink.SelectionLeastConnections; s++ {
		if s.String() == name || s == localsink.SelectionRandom && name == "" {
			return s
		}
	}
	t.Fatalf("%s: unknown selection %q", where, name)
	return 0
}

func extensionsOf(values map[string]string) localsink.Extensions {
	var list []localsink.Extension
	for key, value := range values {
		list = append(list, localsink.Extension{Key: key, Value: value})
	}
	return localsink.NewExtensions(list...)
}
