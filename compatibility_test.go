// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kpng_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSupportedVersionsAreThoseOfTheTests compares docs/compatibility.md with the modules and scripts that
// the versions come from.
func TestSupportedVersionsAreThoseOfTheTests(t *testing.T) {
	page, err := os.ReadFile("docs/compatibility.md")
	require.NoError(t, err)
	for _, c := range []struct{ file, version, row string }{
		{"go.mod", `\ngo (\S+)\n`, `\| Go \| %s for the library,`},
		{"examples/kube-proxy/windows/go.mod", `\ngo (\S+)\n`, `, %s for the modules of Windows \|`},
		{"backends/hns/hcn/go.mod", `\ngo (\S+)\n`, `, %s for the modules of Windows \|`},
		{"go.mod", `k8s\.io/client-go v(\S+)\n`, `\| v%s \|`},
		{"go.mod", `k8s\.io/client-go v(\S+)\n`, `\| v%s, and v`},
		{"test/newer.sh", `k8s\.io/\$m@v([0-9.]+)"`, `, and v%s \(`},
		{"test/go.mod", `k8s\.io/client-go v(\S+)\n`, `, and v%s \(`},
		{"test/go.mod", `k8s\.io/kubernetes v(\S+)\n`, `\(1\.33\) \| %s \|`},
	} {
		source, err := os.ReadFile(c.file)
		require.NoError(t, err)
		m := regexp.MustCompile(c.version).FindSubmatch(source)
		require.NotNil(t, m, "%s has no %s", c.file, c.version)
		version := regexp.QuoteMeta(string(m[1]))
		row := regexp.MustCompile(`%s`).ReplaceAllLiteralString(c.row, version)
		require.Regexp(t, row, string(page), "the version of %s", c.file)
	}
}
