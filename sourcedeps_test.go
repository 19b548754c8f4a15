// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kpng_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// dependOnModuleFiles makes the cached result of the running test depend on every file
// of the module. A test that runs the go command needs it: the test cache records only
// the files and directories that the test process itself reads.
func dependOnModuleFiles(t *testing.T) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || !d.IsDir():
			return err
		case path != "." && strings.HasPrefix(d.Name(), "."), d.Name() == "node_modules":
			return filepath.SkipDir
		}
		_, err = os.ReadDir(path) // WalkDir may use system calls that the cache does not record
		return err
	}))
}
