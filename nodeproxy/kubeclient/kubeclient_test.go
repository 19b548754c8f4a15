// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeclient

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// TestContentTypes reads the headers of a real request.
func TestContentTypes(t *testing.T) {
	headers := make(chan http.Header, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	const protobuf = "application/vnd.kubernetes.protobuf"
	for _, row := range []struct {
		cfg             Config
		content, accept string
	}{
		{Config{}, protobuf, protobuf + ",application/json"},
		{Config{ContentType: protobuf}, protobuf, protobuf + ",application/json"},
		{Config{ContentType: "application/json"}, "application/json", "application/json"},
		{Config{ContentType: "application/json", AcceptContentTypes: protobuf}, "application/json", protobuf},
	} {
		row.cfg.Master = server.URL
		client, err := New(row.cfg)
		require.NoError(t, err)
		_, err = client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{}, metav1.CreateOptions{})
		require.Error(t, err)
		got := <-headers
		require.Equal(t, row.content, got.Get("Content-Type"))
		require.Equal(t, row.accept, got.Get("Accept"))
	}
}
