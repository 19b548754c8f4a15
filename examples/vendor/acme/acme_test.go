// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"testing"

	"example.com/plugins/acme"
	"example.com/plugins/internal/paths"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers/kube"
)

const manifest = `
apiVersion: v1
kind: Service
metadata: {namespace: default, name: web}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ipFamilies: [IPv4], ports: [{protocol: TCP, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: default, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports:
- {name: "", protocol: TCP, port: 8080}
endpoints:
- {addresses: [10.244.1.1], nodeName: node-1, conditions: {ready: true}}
`

func TestBackendReadsAnnotations(t *testing.T) {
	for _, path := range paths.All() {
		t.Run(path.Name, func(t *testing.T) {
			client, backend := paths.Client(t, manifest), acme.NewBackend()
			extend, err := acme.Extend()
			require.NoError(t, err)
			applied := paths.NewStates(backend, backend.String)
			path.Run(t, client, kube.Config{Extend: extend}, nodelocal.MultiNodeConfig{Policy: acme.NewPolicy()}, applied)

			applied.Await(t, "TCP 10.96.0.10:80 Random mode=nat preserve=false 10.244.1.1:8080\n")
			for _, c := range []struct {
				annotations map[string]string
				want        string
			}{
				{
					map[string]string{acme.AnnotationMode: "dsr", acme.AnnotationPreserve: "true", acme.AnnotationAlgorithm: "maglev"},
					"TCP 10.96.0.10:80 Client mode=dsr preserve=true 10.244.1.1:8080\n",
				},
				{
					map[string]string{acme.AnnotationMode: "tunnel", acme.AnnotationPreserve: "1"},
					"TCP 10.96.0.10:80 Random mode=nat preserve=true 10.244.1.1:8080\n" +
						"Service default/web: metadata.annotations[acme.example/load-balancer-mode]: \"tunnel\" is not nat or dsr; ignored\n",
				},
				{
					map[string]string{acme.AnnotationAlgorithm: "fastest"},
					"TCP 10.96.0.10:80 Random mode=nat preserve=false 10.244.1.1:8080\n" +
						"Service default/web: spec.ports[name=\"\"]: policy: acme.example/lb-algorithm: \"fastest\" is not random, maglev or least-connections; ignored\n",
				},
				{nil, "TCP 10.96.0.10:80 Random mode=nat preserve=false 10.244.1.1:8080\n"},
			} {
				paths.ChangeService(t, client, "web", func(svc *corev1.Service) { svc.Annotations = c.annotations })
				applied.Await(t, c.want)
			}
		})
	}
}

func TestBackendObeysTheLawsOfSinks(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{
		New: func(*testing.T) (localsink.Sink, func() string) {
			backend := acme.NewBackend()
			return backend, backend.String
		},
		Extensions: []localsink.Extension{{Key: acme.AnnotationMode, Value: "dsr"}, {Key: acme.AnnotationPreserve, Value: "true"}},
	})
}
