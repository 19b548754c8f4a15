// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// CopyKeys returns an Extend that copies the labels and annotations whose keys match one of
// the patterns. The extension has the key of the label or annotation, and its value. Without
// patterns, CopyKeys returns nil.
//
// A pattern is a key, such as "acme.example/mode", in which * stands for any characters, as
// in "projectcalico.org/*". Qualifiers before it restrict it: "label:" or "annotation:", and
// "service:", "endpointslice:" or "node:", as in "service:annotation:acme.example/*". If an
// object has a label and an annotation with one key and both match, the annotation is copied.
//
// The controller of EndpointSlices copies the labels of a Service to its slices. A pattern
// with "service:" does not copy them again for each endpoint.
//
// A pattern that matches every key is an error: each write of any annotation would be a
// change of the cluster state.
func CopyKeys(patterns ...string) (Extend, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	var c keyCopier
	for _, p := range patterns {
		if err := c.add(p); err != nil {
			return nil, fmt.Errorf("kubeapi: CopyKeys: pattern %q: %w", p, err)
		}
	}
	return c.copy, nil
}

// A keyCopier copies labels and annotations of objects.
type keyCopier struct{ services, endpointSlices, nodes copiedKeys }

// copiedKeys are the patterns for one kind of objects.
type copiedKeys struct{ labels, annotations keyPatterns }

// keyPatterns are the patterns for the labels, or for the annotations, of an object.
type keyPatterns struct {
	exact []string
	globs []glob
}

// Qualifiers of a pattern.
const (
	ofLabels         = "label"
	ofAnnotations    = "annotation"
	ofServices       = "service"
	ofEndpointSlices = "endpointslice"
	ofNodes          = "node"
)

// add adds a pattern to those of the kinds and maps that its qualifiers select.
func (c *keyCopier) add(pattern string) error {
	parts := strings.Split(pattern, ":")
	key := parts[len(parts)-1]
	var kind, source string
	for _, qualifier := range parts[:len(parts)-1] {
		selected := &kind
		switch qualifier {
		case ofServices, ofEndpointSlices, ofNodes:
		case ofLabels, ofAnnotations:
			selected = &source
		default:
			return fmt.Errorf("qualifier %q: want label, annotation, service, endpointslice or node", qualifier)
		}
		if *selected != "" {
			return fmt.Errorf("qualifiers %q and %q contradict each other", *selected, qualifier)
		}
		*selected = qualifier
	}
	if err := validateKeyPattern(key); err != nil {
		return err
	}
	for name, keys := range map[string]*copiedKeys{ofServices: &c.services, ofEndpointSlices: &c.endpointSlices, ofNodes: &c.nodes} {
		if kind != "" && kind != name {
			continue
		}
		if source != ofAnnotations {
			keys.labels.add(key)
		}
		if source != ofLabels {
			keys.annotations.add(key)
		}
	}
	return nil
}

// validateKeyPattern returns an error for a pattern that matches no key, or every key.
func validateKeyPattern(pattern string) error {
	if problems := validation.IsQualifiedName(strings.ToLower(strings.ReplaceAll(pattern, "*", "a"))); len(problems) > 0 {
		return fmt.Errorf("matches no key: %s", strings.Join(problems, "; "))
	}
	if strings.Trim(pattern, "*/-_.") == "" {
		return errors.New("matches almost every key; want a part of the key, as in example.org/*")
	}
	return nil
}

func (p *keyPatterns) add(pattern string) {
	if strings.Contains(pattern, "*") {
		p.globs = append(p.globs, strings.Split(pattern, "*"))
	} else {
		p.exact = append(p.exact, pattern)
	}
}

// copy is an Extend.
func (c *keyCopier) copy(object metav1.Object) (watchers.Extensions, []watchers.Problem) {
	var keys *copiedKeys
	switch object.(type) {
	case *corev1.Service:
		keys = &c.services
	case *discoveryv1.EndpointSlice:
		keys = &c.endpointSlices
	case *corev1.Node:
		keys = &c.nodes
	default:
		return watchers.Extensions{}, nil
	}
	// Of extensions with the same key, the last one counts.
	found := keys.labels.appendMatches(nil, object.GetLabels())
	found = keys.annotations.appendMatches(found, object.GetAnnotations())
	return localsink.NewExtensions(found...), nil
}

// appendMatches appends the entries of values whose keys match.
func (p *keyPatterns) appendMatches(list []localsink.Extension, values map[string]string) []localsink.Extension {
	for _, key := range p.exact {
		if value, ok := values[key]; ok {
			list = append(list, localsink.Extension{Key: intern(key), Value: intern(value)})
		}
	}
	if len(p.globs) == 0 {
		return list
	}
	for key, value := range values {
		if slices.ContainsFunc(p.globs, func(g glob) bool { return g.matches(key) }) {
			list = append(list, localsink.Extension{Key: intern(key), Value: intern(value)})
		}
	}
	return list
}

// A glob is a pattern: the text before, between and after its stars.
type glob []string

func (g glob) matches(s string) bool {
	rest, ok := strings.CutPrefix(s, g[0])
	if !ok {
		return false
	}
	last := len(g) - 1
	for _, part := range g[1:last] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, g[last])
}
