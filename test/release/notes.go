// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// repository is where the links of release notes lead.
const repository = "https://github.com/kubernetes-sigs/kpng"

// unreleased is the heading of the changes since the last release.
const unreleased = "## Unreleased"

// An entry is one change in CHANGELOG.md.
type entry struct {
	area string // the heading above it
	kind string // New, Changed API, ...
	text string // with its further lines, without the kind
}

// releaseNotes returns the notes of version, or of the unreleased changes if version is empty or has no
// section yet.
func releaseNotes(_ context.Context, root, version string) (string, error) {
	changelog, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		return "", err
	}
	section, first, err := sectionOf(string(changelog), version)
	if err != nil {
		return "", err
	}
	entries, err := parseEntries(section)
	if err != nil {
		return "", err
	}
	ref := version
	if ref == "" {
		ref = "main"
	}
	return writeNotes(entries, ref, first), nil
}

// sectionOf returns the text of a version in the changelog, and reports whether no version is older.
func sectionOf(changelog, version string) (section string, first bool, err error) {
	start := -1
	if version != "" {
		if at := regexp.MustCompile(`(?m)^## ` + regexp.QuoteMeta(version) + `( .*)?$`).FindStringIndex(changelog); at != nil {
			start = at[1]
		}
	}
	if start < 0 {
		_, after, found := strings.Cut(changelog, unreleased+"\n")
		if !found {
			return "", false, fmt.Errorf("CHANGELOG.md has no section %q", unreleased)
		}
		start = len(changelog) - len(after)
	}
	section, _, older := strings.Cut(changelog[start:], "\n## ")
	return section, !older, nil
}

// parseEntries returns the entries of a section. A paragraph between them belongs to no entry and is left out.
func parseEntries(section string) (entries []entry, err error) {
	start := regexp.MustCompile(`^- \[([^]]+)\] (.*)$`)
	area, inEntry := "", false
	for line := range strings.Lines(section) {
		line = strings.TrimRight(line, "\n")
		m := start.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "### "):
			area, inEntry = strings.TrimPrefix(line, "### "), false
		case m != nil:
			entries, inEntry = append(entries, entry{area: area, kind: m[1], text: m[2]}), true
		case strings.HasPrefix(line, "- "):
			return nil, fmt.Errorf("CHANGELOG.md: entry without a kind such as [New]: %q", line)
		case inEntry && (line == "" || strings.HasPrefix(line, " ")):
			entries[len(entries)-1].text += "\n" + line
		default:
			inEntry = false
		}
	}
	for i := range entries {
		entries[i].text = strings.TrimRight(entries[i].text, "\n ")
	}
	if len(entries) == 0 {
		return nil, errors.New("CHANGELOG.md: the section has no entries")
	}
	return entries, nil
}

// writeNotes orders entries by what a reader must do. Notes of the first release have only what is new:
// the other entries are about commits that no release had.
func writeNotes(entries []entry, ref string, first bool) string {
	var b strings.Builder
	if first {
		b.WriteString("This is the first release. The changelog also has the changes between commits before it.\n\n")
	}
	b.WriteString("Before an upgrade, read [Upgrading](docs/upgrading.md). [Compatibility](docs/compatibility.md) has what may change before v1, " +
		"and the supported versions of Kubernetes and Go.\n")
	for _, s := range []struct{ kind, title string }{
		{"Changed API", "Changes of the Go API that need changes of your code"},
		{"Changed behaviour", "Changes of behaviour"},
		{"New", "New"},
		{"Faster", "Faster"},
		{"Fix", "Fixes"},
	} {
		if first && s.kind != "New" {
			continue
		}
		writeKind(&b, entries, s.kind, s.title)
	}
	b.WriteString("\n## Check the files\n\n")
	fmt.Fprintf(&b, "`sha256sum --check %s` checks what you have downloaded. `make release VERSION=%s` in a clone builds the same bytes, "+
		"with the Go version in `BUILD.txt`.\n", checksumFile, ref)
	fmt.Fprintf(&b, "Each program has a description of its modules in the format CycloneDX (`*.cdx.json`); `%s` has their licences.\n", thirdPartyFile)
	return absoluteLinks(b.String(), ref)
}

// writeKind writes the entries of one kind under their areas.
func writeKind(b *strings.Builder, entries []entry, kind, title string) {
	area, hasTitle := "", false
	for _, e := range entries {
		if e.kind != kind {
			continue
		}
		if !hasTitle {
			fmt.Fprintf(b, "\n## %s\n", title)
			hasTitle = true
		}
		if e.area != area {
			fmt.Fprintf(b, "\n### %s\n\n", e.area)
			area = e.area
		}
		fmt.Fprintf(b, "- %s\n", e.text)
	}
}

// absoluteLinks replaces links relative to the repository: notes are shown elsewhere.
func absoluteLinks(text, ref string) string {
	return regexp.MustCompile(`\]\(([^):#][^):]*)\)`).ReplaceAllString(text, "]("+repository+"/blob/"+ref+"/$1)")
}
