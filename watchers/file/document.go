// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// A document is one YAML document, or one JSON value, of a file.
type document struct {
	line    int    // at which it begins
	text    []byte // the bytes of the file
	json    []byte
	err     error // a syntax error; json is nil then
	errLine int   // the line of err, or 0 if it is unknown
}

// splitDocuments splits the content of a file into documents.
func splitDocuments(name string, data []byte) []document {
	if strings.EqualFold(filepath.Ext(name), ".json") {
		return splitJSON(data)
	}
	var out []document
	for _, d := range splitYAML(data) {
		if d.json, d.err = yaml.YAMLToJSONStrict(d.text); d.err != nil {
			d.errLine, d.err = absoluteLines(d.err, d.line)
		}
		// absoluteLines needs the line of the separator. From here on, line is the first
		// one with content.
		d.line += leadingLines(d.text)
		out = append(out, d)
	}
	return out
}

// splitYAML splits at the separator lines "---", which cannot be part of a document, even
// one with syntax errors.
func splitYAML(data []byte) []document {
	var out []document
	start, line, startLine := 0, 1, 1
	flush := func(end int) {
		if text := data[start:end]; leadingLines(text) >= 0 {
			out = append(out, document{line: startLine, text: text})
		}
	}
	for pos := 0; pos < len(data); line++ {
		end := pos + bytes.IndexByte(data[pos:], '\n') + 1
		if end == pos {
			end = len(data)
		}
		if after, ok := bytes.CutPrefix(data[pos:end], []byte("---")); ok && (len(after) == 0 || strings.ContainsRune(" \t\r\n", rune(after[0]))) {
			flush(pos)
			start, startLine = pos, line
		}
		pos = end
	}
	flush(len(data))
	return out
}

// leadingLines returns the number of lines of a document before its content, or -1 if it
// has no content.
func leadingLines(text []byte) int {
	n := 0
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if n == 0 {
			line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte("---")))
		}
		if len(line) > 0 && line[0] != '#' && line[0] != '%' && !bytes.Equal(line, []byte("...")) {
			return n
		}
		n++
	}
	return -1
}

// splitJSON splits a sequence of JSON values. It stops at the first syntax error, because
// the beginning of the next value is unknown then.
func splitJSON(data []byte) []document {
	var out []document
	decoder := json.NewDecoder(bytes.NewReader(data))
	for {
		start := decoder.InputOffset()
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return out
		}
		space := len(data[start:]) - len(bytes.TrimLeft(data[start:], " \t\r\n"))
		d := document{line: lineAt(data, int(start)+space), text: data[start:], json: raw}
		if err != nil {
			d.err, d.errLine = err, lineAt(data, len(data))
			if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
				d.errLine = lineAt(data, int(syntax.Offset))
			}
			return append(out, d)
		}
		d.text = data[start:decoder.InputOffset()]
		out = append(out, d)
	}
}

func lineAt(data []byte, offset int) int {
	return 1 + bytes.Count(data[:min(offset, len(data))], []byte{'\n'})
}

// absoluteLines replaces the line numbers in the error of a YAML parser, which count
// from the document's separator at line first, by those of the file. It also returns the
// first of them, or 0.
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

// lineOf returns the first line of the document with a key of the given name, or the line
// at which the document begins.
func (d *document) lineOf(field string) int {
	n, skip := d.line, max(leadingLines(d.text), 0)
	for line := range bytes.Lines(d.text) {
		if skip > 0 {
			skip--
			continue
		}
		if i := bytes.Index(line, []byte(field)); i >= 0 {
			after := bytes.TrimLeft(line[i+len(field):], `"' `)
			before := bytes.TrimRight(line[:i], `"'`)
			if bytes.HasPrefix(after, []byte(":")) && (len(before) == 0 || strings.ContainsRune(" \t{,-", rune(before[len(before)-1]))) {
				return n
			}
		}
		n++
	}
	return d.line
}

// guessObject returns the name of the object that a document with a syntax error seems
// to contain, or "". It recognises block style YAML only.
func (d *document) guessObject() string {
	var kind, namespace, name string
	inMetadata := false
	for line := range strings.Lines(string(d.text)) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		indented := strings.HasPrefix(key, " ")
		switch key = strings.TrimSpace(key); {
		case !indented:
			inMetadata = key == "metadata"
			if key == "kind" {
				kind = value
			}
		case inMetadata && key == "name" && name == "":
			name = value
		case inMetadata && key == "namespace" && namespace == "":
			namespace = value
		}
	}
	if kind == "" || name == "" {
		return ""
	}
	return objectName(kind, namespace, name)
}

// namespaced reports whether the objects of a kind have a namespace.
func namespaced(kind string) bool { return kind != "Node" && kind != "ServiceCIDR" }

// objectName returns the name of an object in the form of Problem.Object.
func objectName(kind, namespace, name string) string {
	switch {
	case !namespaced(kind):
		return kind + " " + name
	case namespace == "":
		namespace = "default"
	}
	return kind + " " + namespace + "/" + name
}
