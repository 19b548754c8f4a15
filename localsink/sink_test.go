// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestFuncCallsTheFunction(t *testing.T) {
	failed, u := errors.New("failed"), &localsink.Update{}
	var sink localsink.Sink = localsink.Func(func(ctx context.Context, got *localsink.Update) error {
		require.Equal(t, t.Context(), ctx)
		require.Same(t, u, got)
		return failed
	})
	require.Equal(t, failed, sink.Sync(t.Context(), u))
}

// TestContractImportsOnlyTheStandardLibrary keeps backends free of dependencies.
func TestContractImportsOnlyTheStandardLibrary(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
	out, err := list.Output()
	require.NoError(t, err)
	require.Equal(t, []string{"sigs.k8s.io/kpng/localsink"}, strings.Fields(string(out)))
}
