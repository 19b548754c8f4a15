// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestQuickTestsExist: a pattern that matches nothing would pass.
func TestQuickTestsExist(t *testing.T) {
	for _, p := range packages() {
		files, err := filepath.Glob("../../../" + p.name + "/*_test.go")
		require.NoError(t, err)
		source := ""
		for _, f := range files {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			source += string(text)
		}
		for _, run := range append(p.runs(version{6, 1}, false), p.runs(version{5, 10}, false)...) {
			name := strings.TrimSuffix(strings.TrimPrefix(strings.Split(run.pattern, "/")[0], "^Test"), "$")
			names := strings.Split(strings.Trim(name, "()"), "|")
			require.NotEmpty(t, names)
			for _, n := range names {
				require.Regexp(t, `(?m)^func Test`+n+`\(t \*testing\.T\)`, source, "%s: Test%s", p.name, n)
			}
		}
	}
}

func TestRefusedKernelsRunOneTest(t *testing.T) {
	for _, p := range packages() {
		for _, c := range []struct {
			version version
			refused bool
		}{
			{version{5, 10}, p.minimum != version{}},
			{version{5, 13}, p.minimum == version{5, 18}},
			{version{5, 18}, false},
			{version{6, 1}, false},
			{version{4, 19}, p.minimum != version{}},
		} {
			want := p.quick
			if c.refused {
				want = p.refused()
			} else if p.name == "conntrack" && c.version.before(nftablesMinimum()) {
				want = p.quick[:1]
			}
			require.Equal(t, want, p.runs(c.version, false), "%s on %v", p.name, c.version)
		}
		require.Equal(t, p.every, p.runs(version{7, 3}, true))
		if p.name == "conntrack" {
			require.Equal(t, p.quick[:1], p.runs(version{5, 10}, true))
		}
	}
}

func TestFindKernel(t *testing.T) {
	dir := t.TempDir()
	_, _, err := findKernel(dir)
	require.ErrorContains(t, err, "has no kernel")
	modules := filepath.Join(dir, "lib/modules/6.12.117+deb13-cloud-amd64")
	require.NoError(t, os.MkdirAll(modules, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(modules, "vmlinuz"), nil, 0o600))
	path, v, err := findKernel(dir)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(modules, "vmlinuz"), path)
	require.Equal(t, version{6, 12}, v)
}
