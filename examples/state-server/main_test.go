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

func TestErrorNamesTheInvalidFlag(t *testing.T) {
	for line, want := range map[string]string{
		"-manifests m -kubeconfig k":  "-kubeconfig and -manifests without -token-review",
		"-manifests m -inspectors me": "-inspectors without -cert",
		"-manifests m more":           `unexpected argument "more"`,
	} {
		err := run(t.Context(), strings.Fields(line), io.Discard)
		require.ErrorIs(t, err, command.ErrUsage, line)
		require.ErrorContains(t, err, want, line)
	}
}
