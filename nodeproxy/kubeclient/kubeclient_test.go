// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeclient

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
contexts: [{name: c, context: {cluster: c}}]
current-context: c
`

func TestSourcesOfTheConfiguration(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	_, err := New(Config{})
	require.ErrorContains(t, err, "API server configuration: ", "this is no pod")
	_, err = New(Config{Kubeconfig: "/nowhere"})
	require.ErrorContains(t, err, "API server configuration: ")

	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(kubeconfig), 0o600))
	for _, row := range []struct {
		cfg  Config
		host string
	}{
		{Config{Kubeconfig: path}, "https://192.0.2.1:6443"},
		{Config{Master: "https://192.0.2.2:6443"}, "https://192.0.2.2:6443"},
		{Config{Kubeconfig: path, Master: "https://192.0.2.3:6443"}, "https://192.0.2.3:6443"},
	} {
		rest, err := row.cfg.rest()
		require.NoError(t, err)
		require.Equal(t, row.host, rest.Host)
		client, err := New(row.cfg)
		require.NoError(t, err)
		require.NotNil(t, client)
	}
}
