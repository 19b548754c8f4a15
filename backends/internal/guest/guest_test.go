// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/guest"
)

func TestReadConsole(t *testing.T) {
	for console, want := range map[string]bool{
		"boot\r\nok\nguest: exit 0 after 3.2 s\n": true,
		"guest: exit 1 after 3.2 s\n":             false,
		"says guest: exit 0 \n":                   false,
		"":                                        false,
	} {
		var lines []string
		passed, err := guest.ReadConsole(strings.NewReader(console), func(l string) { lines = append(lines, l) })
		require.NoError(t, err)
		require.Equal(t, want, passed, console)
		require.Equal(t, strings.ReplaceAll(console, "\r", ""), strings.Join(append(lines, ""), "\n"))
	}
}
