// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newModules returns a directory with a module of the given path, and one nested in it. The target FuzzFails
// fails for the input "x", which its corpus has.
func newModules(t *testing.T, path string) (root string) {
	root = t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module " + path + "\n\ngo 1.26\n",
		"parse.go": `package outer

func Parse(s string) string {
	if len(s) > 2 && s[0] == 'a' {
		if s[1] == 'b' {
			return "ab"
		}
		return "a"
	}
	return ""
}
`,
		"parse_test.go":                           "package outer\n\nimport \"testing\"\n\nfunc FuzzParse(f *testing.F) {\n\tf.Add(\"seed\")\n\tf.Fuzz(func(t *testing.T, s string) { Parse(s) })\n}\n",
		"fuzz_windows_test.go":                    "package outer\n\nimport \"testing\"\n\nfunc FuzzElsewhere(f *testing.F) {}\n",
		"fuzz.go":                                 "package outer\n\n// func FuzzComment(f *testing.F) {}\n",
		"testdata/x/go.mod":                       "module example.com/testdata\n",
		"inner/go.mod":                            "module example.com/inner\n\ngo 1.26\n",
		"inner/pkg/x_test.go":                     "package pkg_test\n\nimport \"testing\"\n\nfunc FuzzFails(f *testing.F) {\n\tf.Fuzz(func(t *testing.T, s string) {\n\t\tif s == \"x\" {\n\t\t\tt.Fatal(\"wrong\")\n\t\t}\n\t})\n}\n",
		"inner/pkg/testdata/fuzz/a/b":             "",
		"inner/pkg/testdata/fuzz/FuzzFails/known": "go test fuzz v1\nstring(\"x\")\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o600))
	}
	return root
}

func TestTargetsOfAllModulesAreFound(t *testing.T) {
	root := newModules(t, "example.com/outer")
	targets, err := findTargets(t.Context(), root, regexp.MustCompile(""))
	require.NoError(t, err)
	var names []string
	for _, target := range targets {
		names = append(names, target.String())
	}
	require.Equal(t, []string{"example.com/outer.FuzzParse", "example.com/inner/pkg.FuzzFails"}, names)

	targets, err = findTargets(t.Context(), root, regexp.MustCompile("inner.*Fails$"))
	require.NoError(t, err)
	require.Len(t, targets, 1)
	require.ErrorContains(t, run(t.Context(), []string{"-root", root, "-run", "NoSuchTarget"}), "no fuzz target matches")
}

func TestFailuresAreReportedAfterAllTargetsRan(t *testing.T) {
	root := newModules(t, "example.com/outer")
	err := run(t.Context(), []string{"-root", root, "-time", "2s"})
	require.ErrorContains(t, err, "example.com/inner/pkg.FuzzFails: exit status 1")
	require.NotContains(t, err.Error(), "FuzzParse")
}

// TestCorpusIsSelectedByCoverage starts with inputs of which two cover what the seed does not.
func TestCorpusIsSelectedByCoverage(t *testing.T) {
	root := newModules(t, "example.com/corpus") // no run has found inputs for it
	corpus := filepath.Join(root, "testdata", "fuzz", "FuzzParse")
	require.NoError(t, os.MkdirAll(corpus, 0o755))
	for name, value := range map[string]string{"like the seed": "zzz", "a": "axx", "a again, larger": "axxx", "ab": "abx"} {
		require.NoError(t, os.WriteFile(filepath.Join(corpus, name), []byte("go test fuzz v1\nstring(\""+value+"\")\n"), 0o600))
	}
	targets, err := findTargets(t.Context(), root, regexp.MustCompile("FuzzParse"))
	require.NoError(t, err)
	require.NoError(t, runAll(t.Context(), targets, 0*time.Second, 6))
	entries, err := os.ReadDir(corpus)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.Equal(t, []string{"a", "ab"}, names)
}

func TestCoveredBlocks(t *testing.T) {
	profile := "mode: count\na.go:1.2,3.4 5 0\na.go:4.1,5.2 1 1\na.go:6.1,7.2 1 9\n"
	require.Equal(t, map[string]bool{"a.go:4.1,5.2 1": true, "a.go:6.1,7.2 4": true}, coveredBlocks([]byte(profile)))
}

func TestSelectInputs(t *testing.T) {
	blocks := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	inputs := []input{
		{"large", 100, blocks("1", "2", "3", "4")},
		{"small", 10, blocks("2", "3")},
		{"small too", 10, blocks("3", "2")},
		{"other", 50, blocks("5")},
		{"known", 1, blocks("1")},
	}
	require.Equal(t, []string{"large", "other"}, selectInputs(blocks("1"), inputs, 6))
	require.Equal(t, []string{"large"}, selectInputs(blocks("1"), inputs, 1))
	require.Equal(t, []string{"small"}, selectInputs(blocks("1", "4", "5"), inputs, 6), "the smallest of equals")
	require.Empty(t, selectInputs(blocks("1", "2", "3", "4", "5"), inputs, 6))
}
