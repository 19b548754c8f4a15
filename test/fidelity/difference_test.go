// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fidelity

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A difference is an item whose value in kube-proxy is another one than here.
type difference struct {
	item, kubeProxy, here string
	why                   string
}

// A section is a kind of items with its differences.
type section struct {
	title       string
	intro       string // what the items and values are
	differences []difference
}

// Titles of sections.
const (
	fieldsTitle       = "Configuration fields"
	flagsTitle        = "Flags"
	validationTitle   = "Validation"
	exitTitle         = "Actions and exit codes"
	featureGatesTitle = "Feature gates"
	effectsTitle      = "Effects on the node"
)

// sections lists the sections of docs/kube-proxy-differences.md in order.
func sections() []section {
	return []section{
		{fieldsTitle, "What `--write-config-to` writes for the command line or file in the item.", fieldDifferences()},
		{flagsTitle, "Names, types, defaults and deprecation, as `--help` prints them.", flagDifferences()},
		{validationTitle, "Whether a command line or file is accepted.", validationDifferences()},
		{featureGatesTitle, "Names, stages, defaults, and whether the default is locked.", nil},
		{effectsTitle, "Values of the process and of the kernel after a start with a configuration file.", nil},
		{exitTitle, "The exit code, whether the process still runs, or what it prints.", exitDifferences()},
	}
}

// absent is the value of an item that one of the programs does not have.
const absent = "absent"

// compare fails the test unless the items are equal, except those with a listed difference of the section.
func compare(t *testing.T, title string, kubeProxy, here map[string]string) {
	t.Helper()
	i := slices.IndexFunc(sections(), func(s section) bool { return s.title == title })
	require.GreaterOrEqual(t, i, 0, "section %s does not exist", title)
	for _, text := range unlisted(kubeProxy, here, sections()[i].differences) {
		t.Error(text)
	}
	t.Logf("%s: %d items, %d differences", title, len(kubeProxy), len(sections()[i].differences))
}

// unlisted returns a text for each item whose values differ without a listed difference,
// and for each listed difference that does not occur.
func unlisted(kubeProxy, here map[string]string, differences []difference) (texts []string) {
	listed := map[string]difference{}
	for _, d := range differences {
		if _, twice := listed[d.item]; twice || d.why == "" {
			texts = append(texts, fmt.Sprintf("%s: listed twice, or without a reason", d.item))
		}
		listed[d.item] = d
	}
	all := maps.Clone(kubeProxy)
	maps.Copy(all, here)
	for _, item := range slices.Sorted(maps.Keys(all)) {
		theirs, ours := valueOf(kubeProxy, item), valueOf(here, item)
		d, ok := listed[item]
		delete(listed, item)
		switch {
		case !ok && theirs != ours:
			texts = append(texts, fmt.Sprintf("%s: kube-proxy %q, here %q, and no listed difference", item, theirs, ours))
		case ok && (d.kubeProxy != theirs || d.here != ours):
			texts = append(texts, fmt.Sprintf("%s: kube-proxy %q, here %q, but the listed difference is %q, %q", item, theirs, ours, d.kubeProxy, d.here))
		}
	}
	for _, item := range slices.Sorted(maps.Keys(listed)) {
		texts = append(texts, fmt.Sprintf("%s: the listed difference is of an item that does not exist", item))
	}
	return texts
}

func valueOf(items map[string]string, item string) string {
	if v, ok := items[item]; ok {
		return v
	}
	return absent
}

func TestComparisonFindsUnlistedAndObsoleteDifferences(t *testing.T) {
	theirs := map[string]string{"a": "1", "b": "1", "c": "1", "d": "1", "e": "1", "h": "1"}
	ours := map[string]string{"a": "1", "b": "2", "c": "2", "d": "1", "f": "1", "h": "3"}
	texts := unlisted(theirs, ours, []difference{
		{"b", "1", "2", "listed"}, {"d", "1", "2", "obsolete"}, {"e", "1", absent, "listed"}, {"g", "1", "2", "no item"}, {"h", "1", "2", "another value"},
	})
	require.Len(t, texts, 5, "%q", texts)
	for i, item := range []string{"c: ", "d: ", "f: ", "h: ", "g: "} {
		require.Contains(t, texts[i], item)
	}
}

const document = "../../docs/kube-proxy-differences.md"

// endMarker separates the part of the document that this package writes from that which
// test/e2e compares.
const endMarker = "\n<!-- end of what test/fidelity writes -->\n"

// TestDocumentListsDifferences compares docs/kube-proxy-differences.md with the lists;
// UPDATE_DIFFERENCES=1 writes it.
func TestDocumentListsDifferences(t *testing.T) {
	var want strings.Builder
	want.WriteString("# Differences from kube-proxy\n\n" +
		"The drop-in `examples/kube-proxy` and kube-proxy 1.37.2, in what can be observed without sending packets; [semantics.md](semantics.md)\n" +
		"has the differences in which packets arrive. `test/fidelity` runs both programs and fails when a difference is not in these tables, or no\n" +
		"longer exists; it also writes this document, up to the metrics.\n")
	for _, s := range sections() {
		fmt.Fprintf(&want, "\n## %s\n\n%s\n\n", s.title, s.intro)
		if len(s.differences) == 0 {
			want.WriteString("There is no difference.\n")
			continue
		}
		want.WriteString("| Item | kube-proxy | Here | Why |\n| --- | --- | --- | --- |\n")
		for _, d := range s.differences {
			fmt.Fprintf(&want, "| %s | %s | %s | %s |\n", cell(d.item), cell(d.kubeProxy), cell(d.here), d.why)
		}
	}
	text, err := os.ReadFile(document)
	require.NoError(t, err)
	got, rest, found := strings.Cut(string(text), endMarker)
	require.True(t, found, "%s: no line %q", document, strings.TrimSpace(endMarker))
	if os.Getenv("UPDATE_DIFFERENCES") != "" {
		require.NoError(t, os.WriteFile(document, []byte(want.String()+endMarker+rest), 0o600))
		return
	}
	require.Equal(t, want.String(), got, "run this test with UPDATE_DIFFERENCES=1 to write the document")
}

func cell(text string) string { return "`" + strings.ReplaceAll(text, "|", `\|`) + "`" }
