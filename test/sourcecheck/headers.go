// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"path"
	"slices"
	"strings"
)

// headerLines returns the lines that each source file starts with, without the marks
// of a comment.
func headerLines() []string {
	return []string{
		"Copyright 2026 The Kubernetes Authors.",
		"SPDX-License-Identifier: Apache-2.0",
	}
}

// needsHeader reports whether the file called name is a source file. Files in testdata
// are input of tests and need no header.
func needsHeader(name string) bool {
	if slices.Contains(strings.Split(path.Dir(name), "/"), "testdata") {
		return false
	}
	switch path.Ext(name) {
	case ".go", ".proto", ".sh", ".js", ".yaml", ".yml":
		return true
	}
	return path.Base(name) == "Makefile" || name == "Containerfile" || name == ".ci/run"
}

func checkHeaders(files []file, _ io.Writer) (findings []finding, err error) {
	for _, f := range files {
		if needsHeader(f.path) && !hasHeader(f) {
			text := "missing at the start: " + strings.Join(headerLines(), " / ")
			findings = append(findings, finding{path: f.path, rule: "licence header", text: text})
		}
	}
	return findings, nil
}

// hasHeader reports whether f starts with the header. A line for the shell (#!) may
// come first.
func hasHeader(f file) bool {
	lines := f.lines()
	if strings.HasPrefix(lines[0], "#!") {
		lines = lines[1:]
	}
	mark := "// "
	switch path.Ext(f.path) {
	case ".sh", ".yaml", ".yml", "":
		mark = "# "
	}
	for i, want := range headerLines() {
		if i >= len(lines) || lines[i] != mark+want {
			return false
		}
	}
	return true
}
