// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package vectors_test

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

	"sigs.k8s.io/kpng/nodelocal/vectors"
)

const document = "../../docs/vectors.md"

// update reports whether the tests rewrite expectations and the lists of stories.
func update() bool { return os.Getenv("UPDATE_STORIES") != "" }

// TestStories runs testdata/*.txtar; docs/vectors.md describes the format. Each
// expectation is a subtest of its name. UPDATE_STORIES=1 rewrites the expectations.
func TestStories(t *testing.T) {
	all, err := vectors.Stories()
	require.NoError(t, err)
	require.NotEmpty(t, all)
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			results, err := vectors.Run(t.Context(), s, vectors.NewReference())
			require.NoError(t, err)
			for _, r := range results {
				require.False(t, r.Skipped)
				if update() {
					r.Step.Text = r.Got
					continue
				}
				t.Run(r.Step.Name, func(t *testing.T) {
					require.Equal(t, r.Step.Text, r.Got)
					require.True(t, r.Passed())
					require.Empty(t, r.Difference())
				})
			}
			if update() {
				rewrite(t, s)
			}
		})
	}
}

func rewrite(t *testing.T, s *vectors.Story) {
	file := filepath.Join("testdata", s.Name+".txtar")
	archive, err := txtar.ParseFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, s.Format(archive.Comment), 0o644))
}

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

// TestStoriesAreListed compares the stories with their index and with the list in
// docs/vectors.md. UPDATE_STORIES=1 rewrites both.
func TestStoriesAreListed(t *testing.T) {
	stories, err := vectors.Stories()
	require.NoError(t, err)
	var all []vector
	var list strings.Builder
	list.WriteString("| story | expectations | about |\n| --- | --- | --- |\n")
	for _, s := range stories {
		v := vectorOf(s)
		all = append(all, v)
		fmt.Fprintf(&list, "| [%s](../nodelocal/vectors/testdata/%s) | %d | %s |\n", v.File, v.File, len(v.Expectations), v.About)
	}
	index, err := json.MarshalIndent(all, "", "  ")
	require.NoError(t, err)
	index = append(index, '\n')
	doc, err := os.ReadFile(document)
	require.NoError(t, err)
	part := regexp.MustCompile(`(?s)(<!-- begin stories -->\n).*(<!-- end stories -->)`)
	require.Regexp(t, part, string(doc))
	want := part.ReplaceAllString(string(doc), "${1}"+list.String()+"${2}")
	if update() {
		require.NoError(t, os.WriteFile("testdata/index.json", index, 0o644))
		require.NoError(t, os.WriteFile(document, []byte(want), 0o644))
		return
	}
	have, err := os.ReadFile("testdata/index.json")
	require.NoError(t, err)
	require.Equal(t, string(index), string(have), "UPDATE_STORIES=1 rewrites it")
	require.Equal(t, want, string(doc), "UPDATE_STORIES=1 rewrites it")
}

func vectorOf(s *vectors.Story) vector {
	v := vector{File: s.Name + ".txtar", About: s.About}
	for _, step := range s.Steps {
		if step.Kind.IsExpectation() {
			v.Expectations = append(v.Expectations, expectation{Name: step.Name, Kind: string(step.Kind), Rows: step.Rows})
			v.Rows = append(v.Rows, step.Rows...)
		}
	}
	slices.Sort(v.Rows)
	v.Rows = slices.Compact(v.Rows)
	return v
}

// TestDocumentedSettings: docs/vectors.md describes exactly the settings and kinds of files
// that this package reads.
func TestDocumentedSettings(t *testing.T) {
	doc, err := os.ReadFile(document)
	require.NoError(t, err)
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z.-]+)[^`]*` \\|").FindAllStringSubmatch(string(doc), -1) {
		documented = append(documented, m[1])
	}
	known := []string{"rejected", "dropped", "none", "refused", // outcomes of sinktest.Trace
		"masqueraded", "by-client", "by-flow", "by-least-connections"}
	for _, kind := range []vectors.StepKind{vectors.StepConfig, vectors.StepApply, vectors.StepDelete, vectors.StepProbes, vectors.StepState} {
		known = append(known, "."+string(kind))
	}
	source, err := os.ReadFile("reference.go")
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`case "([a-z.-]+)":`).FindAllSubmatch(source, -1) {
		if name := string(m[1]); !slices.Contains([]string{"tcp", "udp", "sctp"}, name) { // protocols
			known = append(known, name)
		}
	}
	objects, err := os.ReadFile("objects.go")
	require.NoError(t, err)
	fields := regexp.MustCompile(`(?s)type properties struct \{(.*?)\n\}`).FindSubmatch(objects)
	require.NotNil(t, fields)
	for _, m := range regexp.MustCompile(`(?m)^\t([A-Z]\w*) `).FindAllSubmatch(fields[1], -1) {
		known = append(known, strings.ToLower(string(m[1])))
	}
	require.ElementsMatch(t, known, documented)
}
