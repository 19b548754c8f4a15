// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fidelity

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/test/controlplane"
)

// build returns the paths of the real kube-proxy and of ours.
func build(t *testing.T) (kubeProxy, here string) {
	t.Helper()
	binaries, err := controlplane.OpenBinaries()
	require.NoError(t, err)
	paths, err := binaries.Build(t.Context(), controlplane.KubeProxyPackage, controlplane.KPNGProxyPackage)
	require.NoError(t, err)
	return paths[0], paths[1]
}

// execute runs a program to its end.
func execute(t *testing.T, path string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // no service account of a pod
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

const fileHead = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"

// configFile writes a configuration file with the given lines and returns its path.
func configFile(t *testing.T, lines string) string {
	t.Helper()
	return textFile(t, fileHead+lines)
}

func textFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}
