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
		"":                                           "-server names no server",
		"-server x:1 -backend ipvs":                  `-backend "ipvs": there are nftables and print`,
		"-server x:1 -node=":                         "-node: required",
		"-server x:1 -backend print -health :1":      "-health goes with -backend nftables",
		"-server x:1 -backend print -cleanup":        "-cleanup goes with -backend nftables",
		"-server x:1 -backend print -cert a":         "one of -cert and -key without the other",
		"-server x:1 -backend print -insecure -ca a": "-insecure and -ca",
	} {
		err := run(t.Context(), strings.Fields(line), io.Discard, io.Discard)
		require.ErrorIs(t, err, cli.ErrUsage, line)
		require.ErrorContains(t, err, want, line)
	}
}
