// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers/kubeapi"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

func TestLaws(t *testing.T) {
	for name, plain := range map[string]bool{"streamed lists": false, "plain lists": true} {
		t.Run(name, func(t *testing.T) {
			watchertest.TestWatcher(t, func(t *testing.T) watchertest.Harness {
				s := newAPIServer(t)
				s.plainListsOnly = plain
				extend, err := kubeapi.CopyKeys("acme.example/*")
				require.NoError(t, err)
				return watchertest.Harness{
					Watcher:    mustNew(t, s.client(t), Config{Nodes: NodesAll, Extend: extend}),
					Annotation: "acme.example/mode",
					Apply: func(objects ...watchertest.APIObject) {
						for _, o := range objects {
							s.set(o)
						}
					},
					Delete: func(objects ...watchertest.APIObject) {
						for _, o := range objects {
							s.delete(o)
						}
					},
					Idle: s.closeIdle,
				}
			})
		})
	}
}
