// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kpng_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocumentationIsCompiled checks that each Go snippet in the documentation names a
// source file and is a part of it, apart from indentation and blank lines.
func TestDocumentationIsCompiled(t *testing.T) {
	snippet := regexp.MustCompile("(?s)(?:<!-- from (\\S+) -->\n)?```go\n(.*?)```")
	n := 0
	for _, doc := range documents(t) {
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, m := range snippet.FindAllStringSubmatch(string(text), -1) {
			n++
			require.NotEmpty(t, m[1], "%s: snippet without a <!-- from FILE --> line:\n%s", doc, m[2])
			source, err := os.ReadFile(m[1])
			require.NoError(t, err, doc)
			require.Contains(t, trimLines(string(source)), trimLines(m[2]), "%s: snippet differs from %s", doc, m[1])
		}
	}
	require.NotZero(t, n)
}

// TestOtherSnippetsAreFromFiles checks the snippets in other languages that name a source file.
func TestOtherSnippetsAreFromFiles(t *testing.T) {
	snippet := regexp.MustCompile("(?s)<!-- from (\\S+) -->\n```(\\w+)\n(.*?)```")
	n := 0
	for _, doc := range documents(t) {
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, m := range snippet.FindAllStringSubmatch(string(text), -1) {
			if m[2] == "go" {
				continue
			}
			n++
			source, err := os.ReadFile(m[1])
			require.NoError(t, err, doc)
			require.Contains(t, string(source), m[3], "%s: snippet differs from %s", doc, m[1])
		}
	}
	require.NotZero(t, n)
}

// TestLinksHaveTargets checks the files that relative links in the documentation refer to.
func TestLinksHaveTargets(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, doc := range documents(t) {
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			_, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1]))
			require.NoError(t, err, "%s links to %s", doc, m[1])
		}
	}
}

// TestDocumentedNamesExist checks that metrics and reasons of events in the documentation
// occur in the code.
func TestDocumentedNamesExist(t *testing.T) {
	code := sourceText(t)
	name := regexp.MustCompile(`\b(?:kpng|kubeproxy)_[a-z0-9_]*[a-z0-9]\b|\b(?:Service|FailedTo)[A-Z]\w+\b`)
	prefix := regexp.MustCompile(`^(?:kubeproxy_|kpng_(?:server_|relay_)?)`) // namespace and subsystem are separate strings
	names := 0
	for _, doc := range []string{"docs/operating.md", "docs/scaling.md", "docs/performance.md"} {
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, n := range name.FindAllString(string(text), -1) {
			if n == "ServiceCIDRs" {
				continue
			}
			names++
			require.Contains(t, code, prefix.ReplaceAllString(n, ""), "%s has %s, which is not in the code", doc, n)
		}
	}
	require.NotZero(t, names)
}

// sourceText returns the Go files of the module, apart from tests.
func sourceText(t *testing.T) string {
	var b strings.Builder
	require.NoError(t, filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		b.Write(data)
		return err
	}))
	return b.String()
}

func documents(t *testing.T) []string {
	docs, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	return append(docs, "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
}

// trimLines removes indentation and blank lines.
func trimLines(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
