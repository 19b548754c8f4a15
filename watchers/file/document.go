// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	yamlv2 "go.yaml.in/yaml/v2"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// A document is one YAML document, or one JSON value, of a file.
type document struct {
	number     int    // within the file, from 1
	line       int    // at which it begins
	text       []byte // as in the file, in UTF-8
	json       []byte // nil if the document has a syntax error
	err        error
	errLine    int          // the line of err, or 0 if it is unknown
	duplicates []fieldError // keys that a later equal key replaces
	nodes      *nodes       // for positions of fields; parsed when they are needed
}

// splitDocuments splits normalized text into documents. Each byte of the text other than
// blanks, comments and directives is part of a document, if need be of one with an error.
//
// Documents end at separator lines, "---" or "...", and at a byte order mark at the start
// of a line, where files were concatenated. Within such a chunk, JSON values may follow
// each other without separators, and YAML may follow them.
func splitDocuments(text []byte) []document {
	var s splitter
	exotic := bytes.IndexFunc(text, isExoticBreak) >= 0
	start, line, startLine := 0, 1, 1
	flush := func(end, next int) {
		s.chunk(text[start:end], startLine)
		start, startLine = next, line
	}
	for pos := 0; pos < len(text); line++ {
		end := lineEnd(text, pos, exotic)
		if bytes.HasPrefix(text[pos:end], []byte(byteOrderMark)) {
			flush(pos, pos+len(byteOrderMark))
			pos += len(byteOrderMark)
		}
		if isSeparator(text[pos:end]) {
			flush(pos, pos+3)
		}
		pos = end
	}
	flush(len(text), len(text))
	return s.documents
}

// isSeparator reports whether a line ends a document. Such a line cannot be part of a
// document, even one with syntax errors.
func isSeparator(line []byte) bool {
	after, ok := bytes.CutPrefix(line, []byte("---"))
	if !ok {
		after, ok = bytes.CutPrefix(line, []byte("..."))
	}
	return ok && isBreakOrBlank(after)
}

// A splitter collects documents.
type splitter struct{ documents []document }

func (s *splitter) add(d document) {
	d.number = len(s.documents) + 1
	s.documents = append(s.documents, d)
}

// chunk adds the documents of a chunk whose first byte is in the given line.
func (s *splitter) chunk(text []byte, line int) {
	wholeTried := false
	for first := true; ; first = false {
		blank := leadingBlank(text)
		if blank == len(text) {
			return
		}
		contentLine := line + countLines(text[:blank])
		if n, ok := jsonValue(text[blank:]); ok {
			s.add(newJSONDocument(text[blank:blank+n], contentLine))
			line = contentLine + countLines(text[blank:blank+n])
			text = text[blank+n:]
			continue
		}
		// Blanks before the content are part of YAML's indentation.
		rest, restLine := text, line
		if !first {
			rest, restLine = text[lastLineStart(text[:blank]):], contentLine
		}
		if !wholeTried {
			wholeTried = true // at most once, because each attempt may read the rest of the file
			d, trailing := parseYAML(rest, restLine)
			if d.err == nil && trailing == nil && !isScalar(d.json) {
				d.line = contentLine
				s.add(d)
				return
			}
		}
		end := nextJSONLine(text, blank)
		s.segment(rest[:len(rest)-(len(text)-end)], restLine, contentLine, first)
		line += countLines(text[:end])
		text = text[end:]
	}
}

// segment adds a YAML document and, if text follows its end, a document with an error.
func (s *splitter) segment(text []byte, line, contentLine int, first bool) {
	d, trailing := parseYAML(text, line)
	d.line = contentLine
	content := bytes.TrimSpace(text[leadingBlank(text):])
	switch {
	case d.err == nil:
	case looksLikeJSON(content):
		// YAML parsers describe errors in JSON badly.
		d.err = jsonError(content)
		end := len(content)
		if ok, offset := kjson.SyntaxErrorOffset(d.err); ok {
			end = max(0, min(int(offset)-1, end))
		}
		d.errLine = contentLine + countLines(content[:end])
	case !first:
		d.err = fmt.Errorf("text after a JSON value, %q: %w", abbreviate(content), d.err)
	}
	if d.err != nil && bytes.Contains(text, []byte("{{")) {
		d.err = fmt.Errorf("%w (the text contains \"{{\"; templates must be rendered first)", d.err)
	}
	s.add(d)
	if trailing != nil {
		s.add(document{line: max(contentLine, trailing.line), text: text, err: trailing.err})
	}
}

// leadingBlank returns the length of the white space, byte order marks, comments and
// directives that text begins with.
func leadingBlank(text []byte) int {
	pos := 0
	for pos < len(text) {
		r, size := utf8.DecodeRune(text[pos:])
		switch {
		case r == ' ' || r == '\t' || r == '\n' || isExoticBreak(r) || r == '\uFEFF':
			pos += size
		case r == '#' || r == '%' && (pos == 0 || text[pos-1] == '\n'):
			pos = lineEnd(text, pos, true)
		default:
			return pos
		}
	}
	return pos
}

// lastLineStart returns the offset of the last line of blank.
func lastLineStart(blank []byte) int { return bytes.LastIndexByte(blank, '\n') + 1 }

// nextJSONLine returns the offset of the next line after pos that begins with a brace, or
// the length of text. After a syntax error, the next JSON document most likely begins there.
func nextJSONLine(text []byte, pos int) int {
	if i := bytes.Index(text[pos:], []byte("\n{")); i >= 0 {
		return pos + i + 1
	}
	return len(text)
}

// jsonValue returns the length of the JSON object or array at the start of text.
func jsonValue(text []byte) (length int, ok bool) {
	if text[0] != '{' && text[0] != '[' {
		return 0, false
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	var raw json.RawMessage
	if decoder.Decode(&raw) != nil {
		return 0, false
	}
	return int(decoder.InputOffset()), true
}

// jsonError returns the error of the JSON value at the start of text.
func jsonError(text []byte) error {
	var raw json.RawMessage
	return json.NewDecoder(bytes.NewReader(text)).Decode(&raw)
}

func looksLikeJSON(text []byte) bool {
	if len(text) == 0 || text[0] != '{' && text[0] != '[' {
		return false
	}
	inner := bytes.TrimLeft(text[1:], " \t\n")
	return len(inner) == 0 || strings.IndexByte("\"{}[]", inner[0]) >= 0 && !bytes.HasPrefix(text, []byte("{{"))
}

func isScalar(raw []byte) bool {
	return len(raw) > 0 && raw[0] != '{' && raw[0] != '[' && string(raw) != "null"
}

func newJSONDocument(text []byte, line int) document {
	d := document{line: line, text: text, json: text}
	var value any
	strict, err := kjson.UnmarshalStrict(text, &value, kjson.DisallowDuplicateFields)
	if err != nil {
		d.json, d.err = nil, err
		return d
	}
	if len(strict) == 0 {
		return d
	}
	// Decoded into a struct, equal keys would be merged. kubectl uses the last one.
	if d.json, d.err = json.Marshal(value); d.err != nil {
		d.json = nil
	}
	for _, err := range strict {
		if f, ok := errors.AsType[kjson.FieldError](err); ok {
			d.duplicates = append(d.duplicates, fieldError{line: d.fieldLine(f.FieldPath()), field: f.FieldPath(), err: errDuplicate(f.FieldPath())})
		}
	}
	return d
}

// trailingText is an error about text after the end of a document.
type trailingText struct {
	line int
	err  error
}

// parseYAML parses the first YAML document in text as kubectl does: of equal keys, the
// last one counts. trailing is not nil if text follows the end of the document.
func parseYAML(text []byte, line int) (d document, trailing *trailingText) {
	d = document{line: line, text: text}
	var strict error
	if d.json, strict = yaml.YAMLToJSONStrict(text); strict != nil {
		if d.json, d.err = yaml.YAMLToJSON(text); d.err != nil {
			d.json = nil
			d.errLine, d.err = absoluteLines(d.err, line)
			return d, nil
		}
		d.nodes = parseNodes(text, line)
		d.duplicates = d.nodes.duplicates()
		if d.nodes == nil {
			first, err := absoluteLines(strict, line)
			d.duplicates = []fieldError{{line: max(first, line), err: err}}
		}
	}
	// The libraries read the first document and ignore the rest of the text.
	decoder := yamlv2.NewDecoder(bytes.NewReader(text))
	var skipped skipValue
	if err := decoder.Decode(&skipped); err != nil {
		return d, nil
	}
	err := decoder.Decode(&skipped)
	if errors.Is(err, io.EOF) {
		return d, nil
	}
	if err == nil {
		err = errors.New("more than one document without a separator line")
	}
	n, err := absoluteLines(err, line)
	return d, &trailingText{line: n, err: fmt.Errorf("text after the end of the document: %w", err)}
}

// A skipValue is decoded without an effect.
type skipValue struct{}

func (*skipValue) UnmarshalYAML(func(any) error) error { return nil }

// absoluteLines replaces the line numbers in the error of a YAML parser, which count
// from line first, by those of the file. It also returns the first of them, or 0.
func absoluteLines(err error, first int) (line int, _ error) {
	text := regexp.MustCompile(`line \d+`).ReplaceAllStringFunc(err.Error(), func(s string) string {
		n, _ := strconv.Atoi(strings.TrimPrefix(s, "line "))
		if line == 0 {
			line = first + n - 1
		}
		return fmt.Sprintf("line %d", first+n-1)
	})
	return line, errors.New(text)
}
