// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// TestConnectionCounts: connections are counted by frontend and endpoint, and counts survive a
// change of the endpoints and larger maps.
func TestConnectionCounts(t *testing.T) {
	b := newBed(t, Config{CountConnections: true})
	require.True(t, b.backend.CountsConnections())
	serve(t, b.node, localsink.ProtocolTCP, "10.1.0.1:8080", "10.1.0.2:8080")
	svc := web(localsink.ProtocolTCP, nil, "10.1.0.1:8080")
	b.sync(svc)
	counts := func() (frontend uint64, endpoints map[string]uint64) {
		frontends, err := b.backend.FrontendConnections(t.Context(), svc.Name)
		require.NoError(t, err)
		require.Len(t, frontends, 1)
		require.Equal(t, "10.96.0.1:80", frontends[0].Addr.String())
		all, err := b.backend.EndpointConnections(t.Context(), svc.Name)
		require.NoError(t, err)
		endpoints = map[string]uint64{}
		for _, e := range all {
			endpoints[e.Endpoint.String()] = e.Count
		}
		return frontends[0].Count, endpoints
	}
	frontend, endpoints := counts()
	require.Zero(t, frontend)
	require.Equal(t, map[string]uint64{"10.1.0.1:8080": 0}, endpoints)
	for range 3 {
		ask(t, b.pod, "tcp", "10.96.0.1:80")
	}
	svc = web(localsink.ProtocolTCP, nil, "10.1.0.1:8080", "10.1.0.2:8080")
	b.sync(append(many(20000, 1), svc)...) // in larger maps
	used := map[string]uint64{"10.1.0.1:8080": 3, "10.1.0.2:8080": 0}
	for range 20 {
		used[ask(t, b.pod, "tcp", "10.96.0.1:80")]++
	}
	frontend, endpoints = counts()
	require.EqualValues(t, 23, frontend)
	require.Equal(t, used, endpoints)
	b.sync()
	frontends, err := b.backend.FrontendConnections(t.Context(), svc.Name)
	require.NoError(t, err)
	require.Empty(t, frontends)
}
