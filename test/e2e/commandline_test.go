// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/test/netns"
)

// TestCommandLine runs kpng with the API server as its source: as the proxy of a node, and as a
// server, a relay and a node. The canary answers to real packets.
func TestCommandLine(t *testing.T) {
	fx := newFixture(t)
	paths, err := fx.binaries.Build(t.Context(), "sigs.k8s.io/kpng/examples/kpng")
	require.NoError(t, err)
	sockets, err := os.MkdirTemp("", "kpng") //nolint:usetesting // the path of a socket is short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(sockets)) })
	server, relay := "unix://"+filepath.Join(sockets, "server"), "unix://"+filepath.Join(sockets, "relay")
	start := func(t *testing.T, name string, args ...string) *netns.Process {
		process, err := fx.Node.Namespace.Run(netns.Program{Name: name, Path: paths[0], Args: append([]string{"run", "--node", cluster.NodeName}, args...), Dir: fx.dir})
		require.NoError(t, err)
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("log of %s:\n%s", name, process.Tail(20))
			}
			require.NoError(t, process.Kill())
		})
		return process
	}
	kube := []string{"--from", "kube", "--kubeconfig", fx.kubeconfig, "--cluster-cidr", cluster.PodCIDR4 + "," + cluster.PodCIDR6}
	program := []string{"--to", "nftables,conntrack,healthcheck", "--health", "127.0.0.1:10256"}
	check := func(t *testing.T) {
		fx.barrier(t, 30*time.Second)
		code, _, err := fx.get(t.Context(), "127.0.0.1:10256", "/healthz")
		require.NoError(t, err)
		require.Equal(t, 200, code)
		out, err := fx.Node.Namespace.Output(t.Context(), paths[0], "cleanup")
		require.NoError(t, err, out)
	}
	t.Run("kube to nftables, exec, text and json", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "services")
		process := start(t, "kpng-proxy", slices.Concat(kube, program, []string{"--to", fileSink(file), "--to", "text,json"})...)
		check(t)
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(data), `"full":true`))
		require.Contains(t, string(data), `"name":"`+canaryName+`"`)
		printed := process.Tail(10_000)
		require.Contains(t, printed, "+ default/"+canaryName)
		require.Contains(t, printed, `{"revision":1,"full":true,"node":{"name":"`+cluster.NodeName+`"`)
	})
	t.Run("kube to serve to cluster to serve to node", func(t *testing.T) {
		start(t, "kpng-server", append(kube, "--to", "serve-node:"+server+",serve-cluster:"+server)...)
		start(t, "kpng-relay", "--from", "cluster:"+server, "--cluster-cidr", cluster.PodCIDR4+","+cluster.PodCIDR6, "--to", "serve-node:"+relay)
		start(t, "kpng-node", append([]string{"--from", "node:" + relay}, program...)...)
		check(t)
	})
	t.Run("kube to serve to cluster to nftables", func(t *testing.T) {
		start(t, "kpng-server", append(kube, "--to", "serve-cluster:"+server)...)
		start(t, "kpng-node", append([]string{"--from", "cluster:" + server, "--cluster-cidr", cluster.PodCIDR4 + "," + cluster.PodCIDR6}, program...)...)
		check(t)
	})
}

// fileSink returns a sink that appends each line of JSON to a file.
func fileSink(file string) string {
	return `exec:while read -r line; do echo "$line" >>` + file + `; revision=${line#*:}; echo "{\"ok\":${revision%%,*}}"; done`
}
