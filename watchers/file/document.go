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

// A document is one object of a file, as JSON.
type document struct {
	line int    // where it begins
	text []byte // as it is in the file
	json []byte
	err  error // why there is no json
	at   int   // the line of err, or 0
}

// documents takes a file apart.
func documents(name string, data []byte) []document {
	if strings.EqualFold(filepath.Ext(name), ".json") {
		return splitJSON(data)
	}
	var out []document
	for _, d := range splitYAML(data) {
		if d.json, d.err = yaml.YAMLToJSONStrict(d.text); d.err != nil {
			d.at, d.err = absoluteLines(d.err, d.line)
		}
		// Now that the parser's lines are counted, begin where there is something.
		d.line += leadingLines(d.text)
		out = append(out, d)
	}
	return out
}

// splitYAML cuts at the lines that begin a document: these cannot be part of one,
// whatever else is broken.
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
		if rest, ok := bytes.CutPrefix(data[pos:end], []byte("---")); ok && (len(rest) == 0 || bytes.ContainsRune([]byte(" \t\r\n"), rune(rest[0]))) {
			flush(pos)
			start, startLine = pos, line
		}
		pos = end
	}
	flush(len(data))
	return out
}

// leadingLines counts the lines of a document before its content, or returns -1 when
// there is none.
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

// splitJSON takes JSON values that follow each other. There is no telling where the
// next one begins after a broken one.
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
			d.err, d.at = err, lineAt(data, len(data))
			if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
				d.at = lineAt(data, int(syntax.Offset))
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

// absoluteLines turns the lines that a YAML parser counts in a document into those of
// the file, and returns the first.
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

// lineOf returns the line of a document that first has a field, or else where the
// document begins.
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
			if bytes.HasPrefix(after, []byte(":")) && (len(before) == 0 || bytes.ContainsRune([]byte(" \t{,-"), rune(before[len(before)-1]))) {
				return n
			}
		}
		n++
	}
	return d.line
}

// guess says which object a document that cannot be parsed seems to be: for people,
// not for decisions.
func (d *document) guess() string {
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

// namespaced tells kinds whose objects have a namespace.
func namespaced(kind string) bool { return kind != "Node" && kind != "ServiceCIDR" }

// objectName names an object as Problems do.
func objectName(kind, namespace, name string) string {
	switch {
	case !namespaced(kind):
		return kind + " " + name
	case namespace == "":
		namespace = "default"
	}
	return kind + " " + namespace + "/" + name
}
