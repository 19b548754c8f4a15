// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodeproxy/command"
)

// TestInvalidCommandLine checks that the error names the flag, and that no server is
// contacted.
func TestInvalidCommandLine(t *testing.T) {
	for line, want := range map[string]string{
		"":                                  "-upstream: required, at least one address",
		"-upstream x:1 -kubeconfig k":       "-kubeconfig without -token-review",
		"-upstream x:1 -client-ca c":        "-client-ca without -cert",
		"-upstream x:1 -upstream-key k":     "one of -upstream-cert and -upstream-key without the other",
		"-upstream x:1 -node-cidr -cert -v": "one of -cert and -key without the other",
	} {
		err := run(t.Context(), strings.Fields(line), io.Discard)
		require.ErrorIs(t, err, command.ErrUsage, line)
		require.ErrorContains(t, err, want, line)
	}
}
