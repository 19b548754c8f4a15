// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodeproxy/cli"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// slicesOfTwoServices has a Service with a cluster IP and a headless one, and their slices.
const slicesOfTwoServices = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, ports: [{port: 5432}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  labels: {kubernetes.io/service-name: web, endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.244.1.4]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: db-1
  labels:
    kubernetes.io/service-name: db
    endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
    service.kubernetes.io/headless: ""
addressType: IPv4
ports: [{port: 5432}]
endpoints: [{addresses: [10.244.1.5]}]
`

// TestSlicesThatNoSinkNeeds checks that the store has no slices of cluster IPs if all sinks do without,
// and that one sink that needs them is enough.
func TestSlicesThatNoSinkNeeds(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "m.yaml"), []byte(slicesOfTwoServices), 0o600))
	for _, c := range []struct {
		to   string
		want []string
	}{
		{"names", []string{"db-1"}},
		{"names,json", []string{"db-1", "web-1"}},
		{"json --to names", []string{"db-1", "web-1"}},
	} {
		t.Run(c.to, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var got []string
			names := cli.Sink{
				Name: "names", Requires: kubeapi.Filter{Details: kubeapi.DetailHeadless, NoClusterIPEndpoints: true},
				Cluster: func(context.Context, *cli.Env, string) (cli.ClusterSink, error) {
					return func(ctx context.Context, store *watchers.Store) error {
						defer cancel()
						got = sliceNames(ctx, store)
						return nil
					}, nil
				},
			}
			_, err := run(ctx, cli.Standard().With(names), "run --from file:"+dir+" --node node-1 --to "+c.to)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

// sliceNames returns the names of all slices, once the store is synced.
func sliceNames(ctx context.Context, store *watchers.Store) (names []string) {
	for snapshot := store.Snapshot(); ctx.Err() == nil; snapshot = store.Snapshot() {
		if !snapshot.Synced() {
			select {
			case <-ctx.Done():
			case <-snapshot.Newer():
			}
			continue
		}
		for service := range snapshot.Services() {
			for slice := range snapshot.EndpointSlices(service.Name) {
				names = append(names, slice.Name)
			}
		}
		break
	}
	slices.Sort(names)
	return names
}
