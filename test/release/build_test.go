// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newRepository returns a git repository with one commit: a module with a program, and a module nested in it.
func newRepository(t *testing.T) (root string) {
	root = t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                "module example.com/library\n\ngo 1.26\n",
		"main.go":               "package main\n\nfunc main() { panic(\"the path of this file is in the program\") }\n",
		"export/xds/go.mod":     "module example.com/library/export/xds\n\ngo 1.26\n",
		"export/xds/cmd/cmd.go": "package main\n\nfunc main() {}\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o600))
	}
	git(t, root, "init", "--quiet")
	commit(t, root)
	return root
}

func git(t *testing.T, root string, args ...string) {
	_, err := output(t.Context(), root, nil, append([]string{"git", "-c", "user.name=Test", "-c", "user.email=test@example.com"}, args...)...)
	require.NoError(t, err)
}

func commit(t *testing.T, root string) {
	git(t, root, "add", ".")
	git(t, root, "commit", "--quiet", "--message", "Commit")
}

func programs() []build {
	return []build{
		{product: product{name: "library", module: ".", pkg: "."}, goos: runtime.GOOS, goarch: runtime.GOARCH},
		{product: product{name: "nested", module: "export/xds", pkg: "./cmd"}, goos: "windows", goarch: "arm64"},
	}
}

// buildIn clones root to a new directory and returns the directory with the programs.
func buildIn(t *testing.T, root, version string, flags []string) (results string) {
	dir := t.TempDir()
	results = filepath.Join(dir, "results")
	require.NoError(t, cloneAt(t.Context(), root, filepath.Join(dir, "source"), version))
	require.NoError(t, buildAll(t.Context(), programs(), filepath.Join(dir, "source"), results, "", flags))
	return results
}

func TestBuildsInDifferentDirectoriesAreEqual(t *testing.T) {
	root := newRepository(t)
	first, second := buildIn(t, root, "v0.1.0", buildFlags()), buildIn(t, root, "v0.1.0", buildFlags())
	require.NoError(t, compareDirs(first, second))
	for _, b := range programs() {
		require.NoError(t, checkVersion(filepath.Join(first, b.file()), "v0.1.0"), "nested modules have the version too")
	}
	require.ErrorContains(t, checkVersion(filepath.Join(first, programs()[0].file()), "v0.2.0"), `reports version "v0.1.0", want "v0.2.0"`)
}

func TestBuildsThatDifferAreReported(t *testing.T) {
	root := newRepository(t)
	withPaths := slices.DeleteFunc(buildFlags(), func(flag string) bool { return flag == "-trimpath" })
	err := compareDirs(buildIn(t, root, "", withPaths), buildIn(t, root, "", withPaths))
	require.ErrorContains(t, err, programs()[0].file()+": the first build has SHA-256")
}

func TestMissingFilesAreReported(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	require.ErrorContains(t, compareDirs(first, second), "no files to compare")
	require.NoError(t, os.WriteFile(filepath.Join(first, "a"), nil, 0o600))
	require.ErrorContains(t, compareDirs(first, second), "a: the first build has")
	require.NoError(t, os.WriteFile(filepath.Join(second, "a"), nil, 0o600))
	require.NoError(t, compareDirs(first, second))
	require.NoError(t, os.WriteFile(filepath.Join(second, "b"), nil, 0o600))
	require.ErrorContains(t, compareDirs(first, second), "b: the first build has")
}

func TestVersionTaggedAtAnotherCommitIsRefused(t *testing.T) {
	root := newRepository(t)
	git(t, root, "tag", "v0.1.0")
	require.NoError(t, os.WriteFile(filepath.Join(root, "more.txt"), nil, 0o600))
	commit(t, root)
	err := cloneAt(t.Context(), root, filepath.Join(t.TempDir(), "source"), "v0.1.0")
	require.ErrorContains(t, err, "tag v0.1.0 is at another commit")
}

func TestModifiedFilesAreNotBuilt(t *testing.T) {
	root := newRepository(t)
	require.NoError(t, os.WriteFile(filepath.Join(root, "main.go"), []byte("does not compile"), 0o600))
	results := buildIn(t, root, "", buildFlags())
	require.NoError(t, checkVersion(filepath.Join(results, programs()[0].file()), ""), "a build of the commit")
}

func TestSelectBuilds(t *testing.T) {
	all, err := selectBuilds(products(), nil)
	require.NoError(t, err)
	names := map[string]bool{}
	for _, b := range all {
		require.False(t, names[b.file()], "%s is built twice", b.file())
		names[b.file()] = true
		if b.archive != "" {
			require.False(t, names[b.archiveFile()])
			names[b.archiveFile()] = true
		}
	}
	require.Contains(t, names, "kube-proxy_linux_arm64")
	require.Contains(t, names, "kube-proxy_windows_amd64.exe")
	require.Contains(t, names, "kubectl-kpng_darwin_arm64.tar.gz")

	some, err := selectBuilds(products(), []string{"windows/arm64"})
	require.NoError(t, err)
	require.Len(t, some, 1)
	_, err = selectBuilds(products(), []string{"linux/amd64", "plan9/386"})
	require.ErrorContains(t, err, `platform "plan9/386"`)
}

// TestProductsExist checks the packages of the products, and that krew.yaml names the archives.
func TestProductsExist(t *testing.T) {
	krew, err := os.ReadFile("../../examples/kpng/krew.yaml")
	require.NoError(t, err)
	for _, p := range products() {
		out, err := output(t.Context(), filepath.Join("../..", p.module), nil, "go", "list", "-find", "-f", "{{.Name}}", p.pkg)
		require.NoError(t, err)
		require.Equal(t, "main\n", string(out), p.name)
		require.True(t, p.module == "." || slices.Contains(nestedModules(), p.module), "%s gets no tag", p.module)
	}
	builds, err := selectBuilds(products(), nil)
	require.NoError(t, err)
	for _, b := range builds {
		if b.archive != "" {
			require.Contains(t, string(krew), "/"+b.archiveFile()+`"`)
		}
	}
}

func TestArchivesDependOnlyOnContents(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "program")
	require.NoError(t, os.WriteFile(file, []byte("content"), 0o600))
	stamp := time.Unix(1_800_000_000, 0)
	files := []archivedFile{{name: "kubectl-kpng", path: file, mode: 0o755}}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "a"), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "b"), 0o755))
	require.NoError(t, writeArchive(filepath.Join(dir, "a", "x.tar.gz"), files, stamp))
	require.NoError(t, os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0)))
	require.NoError(t, writeArchive(filepath.Join(dir, "b", "x.tar.gz"), files, stamp))
	require.NoError(t, compareDirs(filepath.Join(dir, "a"), filepath.Join(dir, "b")))

	f, err := os.Open(filepath.Join(dir, "a", "x.tar.gz"))
	require.NoError(t, err)
	defer f.Close()
	compressed, err := gzip.NewReader(f)
	require.NoError(t, err)
	archive := tar.NewReader(compressed)
	header, err := archive.Next()
	require.NoError(t, err)
	require.Equal(t, "kubectl-kpng", header.Name)
	require.EqualValues(t, 0o755, header.Mode)
	content, err := io.ReadAll(archive)
	require.NoError(t, err)
	require.Equal(t, "content", string(content))
}

func TestChecksumsAreThoseOfSha256sum(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "program"), []byte("abc"), 0o600))
	require.NoError(t, writeChecksums(dir))
	require.NoError(t, writeChecksums(dir), "the file itself is not listed")
	sums, err := os.ReadFile(filepath.Join(dir, checksumFile))
	require.NoError(t, err)
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  program\n", string(sums))
}
