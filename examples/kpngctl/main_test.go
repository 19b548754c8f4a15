// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodeproxy/command"
)

// TestInvalidCommandLine checks that the error names the flag or argument, and that no
// server is contacted.
func TestInvalidCommandLine(t *testing.T) {
	for line, want := range map[string]string{
		"":                              "usage: kpngctl COMMAND; kpngctl -h lists the commands",
		"pods":                          `usage: unknown command "pods"; kpngctl -h lists the commands`,
		"state":                         "usage: kpngctl state NODE [NAMESPACE/NAME]",
		"state node-1 web":              `"web" is not NAMESPACE/NAME`,
		"explain node-1 /web":           `"/web" is not NAMESPACE/NAME`,
		"progress":                      "usage: kpngctl progress NAMESPACE/NAME",
		"lag now":                       "usage: kpngctl lag",
		"lag -o yaml":                   `-o "yaml": want table or json`,
		"lag -server ,":                 "-server: required, at least one address",
		"lag -timeout 0":                "-timeout 0s: must be positive",
		"lag -colour":                   "flag provided but not defined: -colour",
		"watch node-1 ns/a -server x:1": "usage: kpngctl watch NODE",
	} {
		err := run(t.Context(), strings.Fields(line), io.Discard, io.Discard)
		require.ErrorIs(t, err, command.ErrUsage, line)
		require.ErrorContains(t, err, want, line)
	}
	var help strings.Builder
	require.ErrorIs(t, run(t.Context(), []string{"-h"}, io.Discard, &help), flag.ErrHelp)
	for _, word := range []string{"nodes", "state NODE", "watch", "explain", "progress", "lag", "-token-file", "Exit codes"} {
		require.Contains(t, help.String(), word)
	}
}

func TestUnreachableServer(t *testing.T) {
	var stderr strings.Builder
	err := run(t.Context(), []string{"lag", "-server", "unix:///nowhere/a,unix:///nowhere/b"}, io.Discard, &stderr)
	require.ErrorContains(t, err, "the server cannot be reached or is not ready")
	require.Contains(t, stderr.String(), "kpngctl: unix:///nowhere/a: ")
	require.Contains(t, stderr.String(), "trying the next server")
}
