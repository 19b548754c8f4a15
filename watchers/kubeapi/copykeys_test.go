// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// copyKeys returns an Extend that copies the keys that match valid patterns.
func copyKeys(t testing.TB, patterns ...string) kubeapi.Extend {
	t.Helper()
	extend, err := kubeapi.CopyKeys(patterns...)
	require.NoError(t, err)
	return extend
}

func content(x watchers.Extensions) map[string]string {
	out := map[string]string{}
	for e := range x.All() {
		out[e.Key] = e.Value
	}
	return out
}

func TestCopyKeys(t *testing.T) {
	labels := map[string]string{"app": "web", "acme.example/mode": "label", "acme.example/tier": "gold"}
	annotations := map[string]string{
		"acme.example/mode": "dsr", "acme.example/mode-of-ipv6": "nat", "lb.acme.example/mode": "x",
		"projectcalico.org/natExcludeService": "true", "empty.example/e": "",
	}
	for patterns, want := range map[string]map[string]string{
		"acme.example/mode":                    {"acme.example/mode": "dsr"}, // the annotation
		"label:acme.example/mode":              {"acme.example/mode": "label"},
		"label:acme.example/*":                 {"acme.example/mode": "label", "acme.example/tier": "gold"},
		"acme.example/*":                       {"acme.example/mode": "dsr", "acme.example/mode-of-ipv6": "nat", "acme.example/tier": "gold"},
		"annotation:*.acme.example/mode":       {"lb.acme.example/mode": "x"},
		"*acme.example/mode":                   {"acme.example/mode": "dsr", "lb.acme.example/mode": "x"},
		"acme*mode*":                           {"acme.example/mode": "dsr", "acme.example/mode-of-ipv6": "nat"},
		"acme.*/*-*6":                          {"acme.example/mode-of-ipv6": "nat"},
		"app, projectcalico.org/*":             {"app": "web", "projectcalico.org/natExcludeService": "true"},
		"app, app, ap*, label:app":             {"app": "web"},
		"annotation:app":                       {},
		"empty.example/e":                      {"empty.example/e": ""},
		"projectcalico.org/natexcludeservice":  {},
		"projectcalico.org/natExclude":         {},
		"service:app, endpointslice:*example*": {"app": "web"},
		"label:service:app":                    {"app": "web"},
		"node:app, endpointslice:app":          {},
	} {
		t.Run(patterns, func(t *testing.T) {
			extend := copyKeys(t, strings.Split(patterns, ", ")...)
			svc := service(func(s *corev1.Service) { s.Labels, s.Annotations = maps.Clone(labels), maps.Clone(annotations) })
			x, problems := extend(svc)
			require.Empty(t, problems)
			require.Equal(t, want, content(x))
			require.Equal(t, labels, svc.Labels)
			require.Equal(t, annotations, svc.Annotations)
		})
	}
	extend, err := kubeapi.CopyKeys()
	require.NoError(t, err)
	require.Nil(t, extend, "nothing to copy costs nothing")
	x, _ := copyKeys(t, "app")(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: labels}})
	require.Zero(t, x.Len())
}

func TestCopyKeysQualifiersSelectKinds(t *testing.T) {
	m := map[string]string{"a.example/x": "1", "kubernetes.io/service-name": "web"}
	for kind, object := range map[string]metav1.Object{"service": service(nil), "endpointslice": slice(nil), "node": node(nil)} {
		object.SetLabels(m)
		for _, qualifier := range []string{"service", "endpointslice", "node"} {
			x, _ := copyKeys(t, qualifier+":a.example/*")(object)
			require.Equal(t, kind == qualifier, x.Len() == 1, "%s, %s", kind, qualifier)
		}
		x, _ := copyKeys(t, "a.example/*")(object)
		require.Equal(t, 1, x.Len(), kind)
	}
}

func TestInvalidKeyPatternsAreErrors(t *testing.T) {
	for pattern, want := range map[string]string{
		"":                                     `pattern "": matches no key: name part must be non-empty`,
		"a b":                                  `pattern "a b": matches no key`,
		"a/b/c":                                `pattern "a/b/c": matches no key`,
		"a/*/c":                                `pattern "a/*/c": matches no key`,
		"acme.example/":                        `matches no key: name part must be non-empty`,
		"[a-z]":                                `matches no key`,
		"*-":                                   `matches no key`,
		strings.Repeat("x", 64):                `matches no key: name part must be no more than 63 bytes`,
		"*":                                    `matches almost every key`,
		"**":                                   `matches almost every key`,
		"*/*":                                  `matches almost every key`,
		"annotation:*":                         `matches almost every key`,
		"labels:a":                             `qualifier "labels": want label, annotation, service, endpointslice or node`,
		"pod:a":                                `qualifier "pod": want`,
		":a":                                   `qualifier "": want`,
		"label:annotation:a":                   `qualifiers "label" and "annotation" contradict each other`,
		"node:label:service:a":                 `qualifiers "node" and "service" contradict each other`,
		"label:":                               `matches no key: name part must be non-empty`,
		"example.org/valid label:example.org/": `qualifier "example.org/valid label"`,
	} {
		extend, err := kubeapi.CopyKeys("example.org/valid", pattern)
		require.ErrorContains(t, err, want, pattern)
		require.ErrorContains(t, err, "kubeapi: CopyKeys: ")
		require.Nil(t, extend)
	}
}

// FuzzCopyKeys compares patterns with those of package path, in which a star does not match a
// slash: keys and patterns have none here.
func FuzzCopyKeys(f *testing.F) {
	for _, seed := range [][2]string{{"a*b", "ab"}, {"a*b*c", "abcbc"}, {"*a*", "bab"}, {"ab", "ab"}, {"a*a", "a"}, {"a*ba*a", "aba"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, key string) {
		extend, err := kubeapi.CopyKeys(pattern)
		if err != nil || strings.ContainsAny(pattern+key, `/:[]?\`) {
			return
		}
		x, _ := extend(service(func(s *corev1.Service) { s.Annotations = map[string]string{key: "v"} }))
		want, err := path.Match(pattern, key)
		require.NoError(t, err)
		require.Equal(t, want, x.Len() == 1, "%q, %q", pattern, key)
	})
}

func TestCopiedStringsShareMemory(t *testing.T) {
	extend := copyKeys(t, "acme.example/*")
	of := func() []string {
		x, _ := extend(service(func(s *corev1.Service) {
			s.Annotations = map[string]string{string([]byte("acme.example/mode")): string([]byte("dsr"))}
		}))
		e := slices.Collect(x.All())
		require.Len(t, e, 1)
		return []string{e[0].Key, e[0].Value}
	}
	a, b := of(), of()
	for i := range a {
		require.Same(t, unsafe.StringData(a[i]), unsafe.StringData(b[i]))
	}
}

// BenchmarkCopyKeys has an object with the annotations that are usual, of which one is copied.
func BenchmarkCopyKeys(b *testing.B) {
	svc := service(func(s *corev1.Service) {
		s.Labels = map[string]string{"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "web-1", "helm.sh/chart": "web-1.2.3"}
		s.Annotations = map[string]string{"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "ns", "acme.example/mode": "dsr"}
	})
	for name, pattern := range map[string]string{"exact": "acme.example/mode", "glob": "acme.example/*", "no match": "other.example/*"} {
		b.Run(name, func(b *testing.B) {
			extend := copyKeys(b, pattern)
			b.ReportAllocs()
			for b.Loop() {
				extend(svc)
			}
		})
	}
}
