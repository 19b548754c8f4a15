// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package files

// The reasons of differences, as in docs/manifests.md.
const (
	endMarkers  = "Documents after `...` are served. kubectl loses them without an error."
	lineEnds    = "Separators at line ends CR, U+0085, U+2028 and U+2029 count. kubectl reads the first document only, without an error."
	encodings   = "UTF-16 without a byte order mark, and UTF-32, are decoded. kubectl has an error."
	marks       = "A byte order mark at the start of a line begins a document, because files were concatenated there. kubectl ignores the mark, and the last object replaces the others without an error."
	arrays      = "Arrays of objects are served. kubectl has an error."
	separators  = "A document may begin on the line of its separator, and directives may precede it, as in YAML. kubectl has an error."
	noBlank     = "A line that begins with `---` but no blank after it is part of its document, as in YAML. kubectl has an error."
	flowLines   = "Flow mappings may follow each other without separators. kubectl loses all but the first without an error."
	mixed       = "JSON and YAML may be mixed. kubectl has an error, or loses JSON values after the first one of a document."
	afterError  = "Documents after one with an error are served. kubectl stops reading a file at the first syntax error."
	firstWins   = "Of an object that occurs twice, the first one is served, and an error names the other: what is added cannot replace what is there. kubectl applies both, one after the other."
	nestedLists = "Lists within Lists are served. kubectl has an error."
)

// differences returns the files of the corpus that kubectl reads in another way.
func differences() map[string]string {
	return map[string]string{
		"diff-end-marker.yaml":           endMarkers,
		"diff-cr.yaml":                   lineEnds,
		"diff-line-separator.yaml":       lineEnds,
		"diff-utf16-no-mark.yaml":        encodings,
		"diff-utf32.yaml":                encodings,
		"diff-marks-concatenated.yaml":   marks,
		"diff-array.json":                arrays,
		"diff-sequence.yaml":             arrays,
		"diff-content-on-separator.yaml": separators,
		"diff-directive.yaml":            separators,
		"diff-flow-lines.yaml":           flowLines,
		"diff-json-lines-then-yaml.yaml": mixed,
		"diff-json-comments.yaml":        mixed,
		"diff-yaml-then-json-lines.yaml": mixed,
		"diff-syntax-error-first.yaml":   afterError,
		"diff-broken-line.json":          afterError,
		"diff-separator-prefix.yaml":     noBlank,
		"diff-nested-lists.json":         nestedLists,
		"diff-twice.yaml":                firstWins,
	}
}
