// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
)

func TestOutageKeepsStoreAndIsLoggedOnce(t *testing.T) {
	withAndWithoutStreamedLists(t, func(t *testing.T, s *apiServer) {
		var log logBuffer
		s.set(svc("web"), slice("web-1", "web"))
		store := watchers.NewStore()
		run(t, s.client(t), Config{Nodes: NodesNone, Logger: slog.New(slog.NewTextHandler(&log, nil))}, store)
		before := await(t, store, "the first lists", synced)

		requests := len(s.requestsTo(servicesPath))
		s.disconnect(http.StatusForbidden)
		require.Eventually(t, func() bool { return len(s.requestsTo(servicesPath)) > requests+6 }, 20*time.Second, time.Millisecond)
		require.Equal(t, before.Revision(), store.Snapshot().Revision(), "the store keeps its contents")
		require.Equal(t, 1, log.count(`level=WARN msg="API server request failed, retrying and keeping the last known objects" resource=services`))

		s.restore()
		s.set(svc("new"))
		await(t, store, "the new Service", func(s watchers.Snapshot) bool { return s.Service(id("new")) != nil })
		recovered := func() bool {
			return log.count(`level=INFO msg="API server requests succeed again" resource=services`) == 1
		}
		require.Eventually(t, recovered, 20*time.Second, time.Millisecond)
		require.Zero(t, log.count("level=ERROR"), "messages of client-go are at level debug")
	})
}

func TestClientGoLogsAtDebugLevel(t *testing.T) {
	leakCheck(t)
	var log logBuffer
	s := newAPIServer(t)
	store := watchers.NewStore()
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	stop := run(t, s.client(t), Config{Nodes: NodesNone, Logger: logger}, store)
	await(t, store, "the first lists", synced)
	stop()
	require.NotZero(t, log.count("level=DEBUG"))
	require.Equal(t, log.count("level="), log.count("level=DEBUG"))
}
