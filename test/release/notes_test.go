// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const changelog = `# Changelog

Entries are tagged.

## Unreleased

### Backends

- [New] A backend,
  with a second line and [a page](docs/ebpf.md).

  | Before | Now |
- [Fix] A fix.

A paragraph that is no entry.

### Modes

- [Changed API] A function is gone.
- [New] A mode.
`

const older = "\n## v0.1.0 - 2026-12-01\n\n- [New] An older change.\n"

func notes(t *testing.T, text, version string) (string, error) {
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "CHANGELOG.md"), []byte(text), 0o600))
	return releaseNotes(t.Context(), root, version)
}

func TestNotesOfTheFirstReleaseHaveWhatIsNew(t *testing.T) {
	text, err := notes(t, changelog, "v0.1.0")
	require.NoError(t, err)
	require.Contains(t, text, "This is the first release.")
	require.Contains(t, text, "## New\n\n### Backends\n\n- A backend,\n  with a second line and [a page]("+repository+"/blob/v0.1.0/docs/ebpf.md).\n\n  | Before | Now |\n\n### Modes\n\n- A mode.\n")
	require.NotContains(t, text, "A fix.")
	require.NotContains(t, text, "A function is gone.")
	require.NotContains(t, text, "A paragraph that is no entry.")
}

func TestNotesBeginWithWhatBreaks(t *testing.T) {
	text, err := notes(t, changelog+older, "v0.2.0")
	require.NoError(t, err)
	require.Regexp(t, `(?s)Upgrading\]\(`+repository+`/blob/v0.2.0/docs/upgrading.md.*need changes of your code.*A function is gone.*## New.*A backend.*## Fixes.*A fix`, text)
	require.NotContains(t, text, "An older change.")

	text, err = notes(t, changelog+older, "v0.1.0")
	require.NoError(t, err)
	require.Contains(t, text, "An older change.", "a version with a section has its own notes")
	require.NotContains(t, text, "A backend")
}

func TestEntriesWithoutAKindAreReported(t *testing.T) {
	_, err := notes(t, "## Unreleased\n\n- Something.\n", "v0.1.0")
	require.ErrorContains(t, err, `entry without a kind such as [New]: "- Something."`)
	_, err = notes(t, "## Unreleased\n\n## v0.1.0 - 2026-12-01\n\n- [New] X.\n", "v0.2.0")
	require.ErrorContains(t, err, "no entries")
}

// TestNotesOfThisRepository checks that CHANGELOG.md can be made into notes that GitHub accepts, and that
// the links have targets.
func TestNotesOfThisRepository(t *testing.T) {
	text, err := releaseNotes(t.Context(), "../..", "")
	require.NoError(t, err)
	require.Less(t, len(text), 125_000, "the limit of GitHub")
	require.FileExists(t, "../../docs/upgrading.md")
	require.FileExists(t, "../../docs/compatibility.md")
}

// TestImagesAreInListedFiles: a release would not set the version in others.
func TestImagesAreInListedFiles(t *testing.T) {
	out, err := output(t.Context(), "../..", nil, "git", "grep", "-lE", `registry\.example/kpng[a-z-]*:v[0-9]`, "--", ":!test/release", ":!*/testdata/*")
	require.NoError(t, err)
	for name := range strings.FieldsSeq(string(out)) {
		rendered := strings.HasPrefix(name, "examples/deploy/") && strings.HasSuffix(name, ".yaml")
		require.True(t, rendered || slices.Contains(filesWithImages(), name), name)
	}
}

func TestPrepare(t *testing.T) {
	root := t.TempDir()
	files := map[string]string{
		"CHANGELOG.md":                            changelog + older,
		"examples/deploy/charts/one/Chart.yaml":   "name: one\nversion: 0.1.9\nappVersion: v0.1.0\n",
		"examples/deploy/charts/none/Chart.yaml":  "name: none\nversion: 0.1.0\nappVersion: v0\n",
		"examples/deploy/kube-proxy/windows.yaml": "  - image: \"registry.example/kpng-kube-proxy-windows:v0\" # replace\n",
		"Containerfile":                           "#   docker build -t registry.example/kpng-kube-proxy:v0 .\n",
		"docs/migrating-from-kube-proxy.md":       "kind load docker-image registry.example/kpng-kube-proxy:v0.2.0-rc.1\n",
		"examples/deploy/README.md":               "docker build -t registry.example/kpng:v0 . && docker build -t registry.example/kpng-kube-proxy:v0 .\n",
		"go.mod":                                  "module sigs.k8s.io/kpng\n\nrequire example.com/other v0.0.0\n",
		"export/xds/go.mod": "module sigs.k8s.io/kpng/export/xds\n\nrequire (\n\texample.com/other v0.0.0\n\tsigs.k8s.io/kpng v0.0.0\n" +
			"\tsigs.k8s.io/kpng/backends/hns/hcn v0.1.0 // indirect\n)\n\nreplace sigs.k8s.io/kpng => ../..\n",
	}
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o600))
	}
	require.NoError(t, prepare(root, "v0.2.0", "2027-01-31"))
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		return string(data)
	}
	require.Contains(t, read("CHANGELOG.md"), "## Unreleased\n\n## v0.2.0 - 2027-01-31\n\n### Backends\n")
	require.Equal(t, "name: one\nversion: 0.1.10\nappVersion: v0.2.0\n", read("examples/deploy/charts/one/Chart.yaml"))
	require.Equal(t, "name: none\nversion: 0.1.0\nappVersion: v0.2.0\n", read("examples/deploy/charts/none/Chart.yaml"))
	require.Equal(t, "  - image: \"registry.example/kpng-kube-proxy-windows:v0.2.0\" # replace\n", read("examples/deploy/kube-proxy/windows.yaml"))
	require.Equal(t, "#   docker build -t registry.example/kpng-kube-proxy:v0.2.0 .\n", read("Containerfile"))
	require.Equal(t, "kind load docker-image registry.example/kpng-kube-proxy:v0.2.0\n", read("docs/migrating-from-kube-proxy.md"))
	require.Equal(t, "docker build -t registry.example/kpng:v0.2.0 . && docker build -t registry.example/kpng-kube-proxy:v0.2.0 .\n", read("examples/deploy/README.md"))
	require.Equal(t, files["go.mod"], read("go.mod"))
	require.Equal(t, "module sigs.k8s.io/kpng/export/xds\n\nrequire (\n\texample.com/other v0.0.0\n\tsigs.k8s.io/kpng v0.2.0\n"+
		"\tsigs.k8s.io/kpng/backends/hns/hcn v0.2.0 // indirect\n)\n\nreplace sigs.k8s.io/kpng => ../..\n", read("export/xds/go.mod"))

	require.ErrorContains(t, prepare(root, "v0.2.0", "2027-02-01"), "has a section v0.2.0 already")
	require.ErrorContains(t, prepare(root, "v0.3.0", "2027-02-01"), "no entries")
}
