// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodeproxy/command"
)

func TestVersionIsPrinted(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(t.Context(), []string{"--version"}, &out, new(strings.Builder)))
	require.Equal(t, command.Version()+"\n", out.String())
}

// TestInvalidCommandLine checks that kube-proxy's exit code, 1, is that of invalid flags.
func TestInvalidCommandLine(t *testing.T) {
	for _, line := range []string{"--no-such-flag", "more", "--proxy-mode=iptables", "--config=/nowhere"} {
		var stderr strings.Builder
		err := run(t.Context(), []string{line}, new(strings.Builder), &stderr)
		require.Error(t, err, line)
		require.Equal(t, 1, command.ExitCode("kube-proxy", err, &stderr), line)
	}
	var help strings.Builder
	require.ErrorIs(t, run(t.Context(), []string{"--help"}, &help, new(strings.Builder)), flag.ErrHelp)
	require.Contains(t, help.String(), "--proxy-mode")
}
