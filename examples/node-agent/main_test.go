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
		"":                                           "-server: required, at least one address",
		"-server x:1 -backend ipvs":                  `-backend "ipvs": want nftables or print`,
		"-server x:1 -node=":                         "-node: required",
		"-server x:1 -backend print -health :1":      "-health requires -backend nftables",
		"-server x:1 -backend print -metrics :1":     "-metrics requires -backend nftables",
		"-server x:1 -backend print -cleanup":        "-cleanup requires -backend nftables",
		"-server x:1 -backend print -cert a":         "one of -cert and -key without the other",
		"-server x:1 -backend print -insecure -ca a": "-insecure and -ca",
	} {
		err := run(t.Context(), strings.Fields(line), io.Discard, io.Discard)
		require.ErrorIs(t, err, command.ErrUsage, line)
		require.ErrorContains(t, err, want, line)
	}
}
