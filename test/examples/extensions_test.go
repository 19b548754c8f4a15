// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/remote/cluster"
	"sigs.k8s.io/kpng/watchers"
)

// extended has a Service of the proxy acme with an annotation, and a headless Service.
const extended = `
apiVersion: v1
kind: Service
metadata:
  name: web
  labels: {service.kubernetes.io/service-proxy-name: acme}
  annotations: {acme.example/mode: dsr, other.example/x: "y"}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80, appProtocol: kubernetes.io/h2c}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, labels: {service.kubernetes.io/service-proxy-name: acme}}
spec: {clusterIP: None}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-x, labels: {kubernetes.io/service-name: db, service.kubernetes.io/headless: ""}}
addressType: IPv4
ports: [{port: 5432}]
endpoints: [{addresses: [10.244.1.1], hostname: db-0, zone: z1, targetRef: {kind: Pod, namespace: default, name: db-0}}]
---
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
`

// TestAnnotationsAndDetailsPassServers: annotations reach nodes, and details reach clients of
// the cluster state, behind a server and a relay that were built without either.
func TestAnnotationsAndDetailsPassServers(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cluster.yaml"), []byte(extended), 0o644))
	for name, flags := range map[string][]string{"requested": {"--copy-keys", "acme.example/*", "--details", "all"}, "not requested": nil} {
		t.Run(name, func(t *testing.T) {
			_, address, _ := serve(t, dir, append(flags, "--proxy-name", "acme")...)
			address = relay(t, address, "--node-cidr", "--proxy-name", "acme").address("Serving gRPC")
			conn := dial(t, address)
			ready(t, conn)

			client, err := cluster.NewClient(cluster.ClientConfig{AllProxies: true}, conn)
			require.NoError(t, err)
			store := watchers.NewStore()
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			done := make(chan error, 1)
			go func() { done <- client.Run(ctx, store) }()
			defer func() { cancel(); require.NoError(t, <-done) }()
			snap := store.Snapshot()
			for !snap.Synced() {
				select {
				case <-snap.Newer():
				case <-ctx.Done():
					require.FailNow(t, "timeout: the client is not synced")
				}
				snap = store.Snapshot()
			}
			web, db := watchers.ServiceName{Namespace: "default", Name: "web"}, watchers.ServiceName{Namespace: "default", Name: "db"}
			agent := printingAgent(t, "node-1", address)
			if name == "not requested" {
				require.Nil(t, snap.Service(web).Details)
				require.Zero(t, snap.Service(web).Extensions.Len())
				require.Nil(t, snap.Service(db))
				require.NotContains(t, agent.stdout.wait(t, `(?m)^\+ default/web\n[^+]*reject\n`)[0], "extensions")
				return
			}
			require.Equal(t, []string{"kubernetes.io/h2c"}, snap.Service(web).Details.AppProtocols)
			require.Equal(t, &watchers.ServiceDetails{Headless: true}, snap.Service(db).Details)
			for e := range snap.EndpointSlices(db) {
				require.Equal(t, []watchers.EndpointDetails{{Hostname: "db-0", Zone: "z1", Target: watchers.ObjectReference{Kind: "Pod", Namespace: "default", Name: "db-0"}}}, e.Details)
			}
			agent.stdout.wait(t, `(?m)^\+ default/web\n[^+]*\n  extensions: acme.example/mode="dsr"\n`)
			require.NotContains(t, agent.stdout.text(), "default/db")
		})
	}
}
