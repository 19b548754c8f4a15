// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
)

const vectors = "../docs/vectors.md"

// A vector is one story as index.json lists it.
type vector struct {
	File         string        `json:"file"`
	About        string        `json:"about"`
	Rows         []string      `json:"rows"`
	Expectations []expectation `json:"expectations"`
}

type expectation struct {
	Name string   `json:"name"`
	Kind string   `json:"kind"`
	Rows []string `json:"rows,omitempty"`
}

// TestVectors compares the stories with their index and with the list in docs/vectors.md.
// UPDATE_STORIES=1 rewrites both.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	var all []vector
	var list strings.Builder
	list.WriteString("| story | expectations | about |\n| --- | --- | --- |\n")
	for _, file := range files {
		v := vectorOf(t, file)
		all = append(all, v)
		fmt.Fprintf(&list, "| [%s](../nodelocal/testdata/%s) | %d | %s |\n", v.File, v.File, len(v.Expectations), v.About)
	}
	index, err := json.MarshalIndent(all, "", "  ")
	require.NoError(t, err)
	index = append(index, '\n')
	doc, err := os.ReadFile(vectors)
	require.NoError(t, err)
	part := regexp.MustCompile(`(?s)(<!-- begin stories -->\n).*(<!-- end stories -->)`)
	require.Regexp(t, part, string(doc))
	want := part.ReplaceAllString(string(doc), "${1}"+list.String()+"${2}")
	if os.Getenv("UPDATE_STORIES") != "" {
		require.NoError(t, os.WriteFile("testdata/index.json", index, 0o644))
		require.NoError(t, os.WriteFile(vectors, []byte(want), 0o644))
		return
	}
	have, err := os.ReadFile("testdata/index.json")
	require.NoError(t, err)
	require.Equal(t, string(index), string(have), "UPDATE_STORIES=1 rewrites it")
	require.Equal(t, want, string(doc), "UPDATE_STORIES=1 rewrites it")
}

func vectorOf(t *testing.T, file string) vector {
	archive, err := txtar.ParseFile(file)
	require.NoError(t, err)
	about := strings.Join(strings.Fields(string(archive.Comment)), " ")
	require.NotEmpty(t, about, "%s has no comment that describes it", file)
	v := vector{File: filepath.Base(file), About: about}
	seen := map[string]bool{}
	for _, f := range archive.Files {
		require.False(t, seen[f.Name], "%s: two files are named %q", file, f.Name)
		seen[f.Name] = true
		if expects(f.Name) {
			ext := filepath.Ext(f.Name)
			e := expectation{Name: strings.TrimSuffix(f.Name, ext), Kind: ext[1:]}
			e.Rows = regexp.MustCompile(`\b(?:IN|SEL|DP|HC|CT|OP)-\d\db?\b`).FindAllString(e.Name, -1)
			v.Expectations = append(v.Expectations, e)
			v.Rows = append(v.Rows, e.Rows...)
		}
	}
	require.NotEmpty(t, v.Expectations, file)
	slices.Sort(v.Rows)
	v.Rows = slices.Compact(v.Rows)
	return v
}

// TestDocumentedSettings: docs/vectors.md describes exactly the settings and kinds of files
// that this package reads.
func TestDocumentedSettings(t *testing.T) {
	doc, err := os.ReadFile(vectors)
	require.NoError(t, err)
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z.-]+)[^`]*` \\|").FindAllStringSubmatch(string(doc), -1) {
		documented = append(documented, m[1])
	}
	source, err := os.ReadFile("story_test.go")
	require.NoError(t, err)
	var known []string
	for _, m := range regexp.MustCompile(`case "([a-z.-]+)"`).FindAllStringSubmatch(string(source), -1) {
		known = append(known, m[1])
	}
	known = append(known, "rejected", "dropped", "none", "refused", // outcomes of sinktest.Trace
		"masqueraded", "by-client", "by-flow", "by-least-connections")
	properties, err := os.ReadFile("storyproperties_test.go")
	require.NoError(t, err)
	fields := regexp.MustCompile(`(?s)type objectProperties struct \{(.*?)\n\}`).FindSubmatch(properties)
	require.NotNil(t, fields)
	for _, m := range regexp.MustCompile(`(?m)^\t([A-Z]\w*) `).FindAllSubmatch(fields[1], -1) {
		known = append(known, strings.ToLower(string(m[1])))
	}
	require.ElementsMatch(t, known, documented)
}
