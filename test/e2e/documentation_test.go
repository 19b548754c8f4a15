// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rows returns the cells of all tables in a section of a document, without header rows.
func rows(t *testing.T, document, from string) [][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", document))
	require.NoError(t, err)
	_, part, found := strings.Cut(string(text), from)
	require.True(t, found, "%s has no %q", document, from)
	part, _, _ = strings.Cut(part, "\n## ")
	var all [][]string
	body := false
	for line := range strings.Lines(part) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			body = false
		case strings.HasPrefix(line, "| ---"):
			body = true
		case body:
			var cells []string
			for cell := range strings.SplitSeq(strings.Trim(line, "|"), " | ") {
				cells = append(cells, strings.TrimSpace(cell))
			}
			all = append(all, cells)
		}
	}
	require.NotEmpty(t, all, "%s has no table after %q", document, from)
	return all
}

// testNames returns the names that docs/upstream-e2e.md may refer to.
func testNames() []string {
	var all []string
	for _, c := range cases() {
		all = append(all, c.name)
	}
	for _, l := range liveTests() {
		all = append(all, l.name)
	}
	return all
}

func TestCaseNamesAreUnique(t *testing.T) {
	all := testNames()
	slices.Sort(all)
	require.Equal(t, slices.Compact(slices.Clone(all)), all)
}

// TestUpstreamTable checks that docs/upstream-e2e.md lists exactly the tests of Kubernetes,
// and refers only to cases that exist.
func TestUpstreamTable(t *testing.T) {
	listed := map[string][]string{}
	named := map[string]bool{}
	for _, cells := range rows(t, "upstream-e2e.md", "# Kubernetes' own") {
		require.Len(t, cells, 3, "%v", cells)
		listed[cells[0]] = append(listed[cells[0]], cells[1])
		require.NotEmpty(t, cells[2])
		for _, m := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(cells[2], -1) {
			if strings.HasPrefix(m[1], "make ") {
				continue
			}
			named[m[1]] = true
			require.Contains(t, testNames(), m[1], "in the row of %s: %s", cells[0], cells[1])
		}
	}
	for file, tests := range listed {
		require.ElementsMatch(t, upstreamTests(t, file), tests, file)
	}
	for _, c := range upstreamCases() {
		if strings.HasPrefix(c.name, "should ") {
			require.True(t, named[c.name], "no row refers to %q", c.name)
		}
	}
}

// upstreamTests returns the names of the end-to-end tests in a source file of Kubernetes,
// without tags like [Serial].
func upstreamTests(t *testing.T, file string) []string {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	require.NoError(t, err)
	path := filepath.Join(string(bytes.TrimSpace(dir)), "test/e2e/network", file)
	parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var all []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || selector.Sel.Name != "It" && selector.Sel.Name != "ConformanceIt" {
			return true
		}
		if name, ok := call.Args[0].(*ast.BasicLit); ok {
			text, err := strconv.Unquote(name.Value)
			require.NoError(t, err)
			all = append(all, strings.TrimSpace(regexp.MustCompile(`\s*\[[^\]]*\]`).ReplaceAllString(text, "")))
		}
		return true
	})
	slices.Sort(all)
	return slices.Compact(all)
}

// TestDifferencesAreDocumented checks that docs/semantics.md has a row for each difference
// of the modes iptables, ipvs and ebpf, and no other rows.
func TestDifferencesAreDocumented(t *testing.T) {
	for heading, differences := range map[string][]difference{
		"## Differences from kube-proxy's iptables mode": iptablesDifferences(),
		"## Differences of the mode ebpf":                ebpfDifferences(),
		"## Differences of the mode ipvs":                append(ipvsDifferences(), difference{id: "DP-41", why: "proxyUnderTest.keepsAffinity"}),
	} {
		var documented, listed []string
		for _, cells := range rows(t, "semantics.md", heading) {
			id, _, _ := strings.Cut(cells[0], " ")
			documented = append(documented, id)
		}
		for _, d := range differences {
			listed = append(listed, d.id)
			require.NotEmpty(t, d.why, d.id)
		}
		slices.Sort(listed)
		require.ElementsMatch(t, documented, slices.Compact(listed), heading)
	}
}
