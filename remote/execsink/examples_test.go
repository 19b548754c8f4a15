// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsink_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/remote/execsink"
)

// TestExamplesFollowTheLaws runs the laws of sinks with the programs of examples/exec: real
// processes, whose dataplane are the files that they write.
func TestExamplesFollowTheLaws(t *testing.T) {
	t.Parallel()
	for _, example := range []struct{ program, interpreter, needs string }{
		{"sink.sh", "bash", "jq"}, {"sink.py", "python3", "python3"}, {"sink.mjs", "node", "node"},
	} {
		t.Run(example.program, func(t *testing.T) {
			t.Parallel()
			requireProgram(t, example.interpreter)
			requireProgram(t, example.needs)
			program, err := filepath.Abs("../../examples/exec/" + example.program)
			require.NoError(t, err)
			sinktest.TestSink(t, sinktest.Harness{
				New: func(t *testing.T) (localsink.Sink, func() string) {
					path := filepath.Join(t.TempDir(), "state")
					sink, err := execsink.New(execsink.Config{Command: []string{example.interpreter, program, path}, Stderr: t.Output()})
					require.NoError(t, err)
					t.Cleanup(func() { require.NoError(t, sink.Close()) })
					return sink, func() string { return content(t, path) }
				},
				Extensions: []localsink.Extension{{Key: "example.com/mode", Value: "fast"}},
			})
		})
	}
}

// requireProgram skips the test if a program is not installed, unless tests with root must not be
// skipped.
func requireProgram(t *testing.T, name string) {
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("KPNG_REQUIRE_NETNS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// content returns the content of a file, or of the files in a directory.
func content(t *testing.T, path string) string {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "" // before the first answer
	}
	require.NoError(t, err)
	if !info.IsDir() {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(data)
	}
	entries, err := os.ReadDir(path)
	require.NoError(t, err)
	text := ""
	for _, e := range entries {
		text += e.Name() + ": " + content(t, filepath.Join(path, e.Name()))
	}
	return text
}
