// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/examples/internal/cli"
)

// TestUsage: a command line that makes no sense says which flag does not, and asks nobody.
func TestUsage(t *testing.T) {
	for line, want := range map[string]string{
		"":                                  "-upstream names no server",
		"-upstream x:1 -kubeconfig k":       "-kubeconfig without -token-review",
		"-upstream x:1 -client-ca c":        "-client-ca without -cert",
		"-upstream x:1 -upstream-key k":     "one of -upstream-cert and -upstream-key without the other",
		"-upstream x:1 -node-cidr -cert -v": "one of -cert and -key without the other",
	} {
		err := run(t.Context(), strings.Fields(line), io.Discard, io.Discard)
		require.ErrorIs(t, err, cli.ErrUsage, line)
		require.ErrorContains(t, err, want, line)
	}
}
