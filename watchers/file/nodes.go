// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// A fieldError is about a field that is unknown, or that a later equal key replaces.
type fieldError struct {
	line  int
	field string // its path, as in Problem.Field
	err   error
}

func errDuplicate(path string) error {
	return fmt.Errorf("duplicate field %q; the last one counts", path)
}

// nodes are the syntax tree of a document, for positions and for keys that the decoded
// value does not show.
type nodes struct {
	root *yamlv3.Node
	line int // at which the text begins
}

// parseNodes returns the syntax tree of YAML or JSON text, or nil if this parser, another
// one than that for values, rejects the text.
func parseNodes(text []byte, line int) *nodes {
	var root yamlv3.Node
	if yamlv3.Unmarshal(text, &root) != nil || len(root.Content) != 1 {
		return nil
	}
	return &nodes{root: root.Content[0], line: line}
}

// fieldLine returns the line of the field with the given path, or of the innermost field
// on the path that exists. Without a syntax tree it is the line of the document.
func (d *document) fieldLine(path string) int {
	if path == "" {
		return d.line
	}
	if d.nodes == nil {
		line, text := d.line, d.text
		if blank := leadingBlank(text); len(text) > blank && (text[blank] == '{' || text[blank] == '[') {
			text = text[blank:] // JSON may have tabs before it, YAML must not
		} else {
			line -= countLines(text[:blank])
		}
		if d.nodes = parseNodes(text, line); d.nodes == nil {
			return d.line
		}
	}
	n, line := d.nodes.root, d.line
	for n != nil && path != "" {
		var found int
		n, found, path = step(n, path)
		if found > 0 {
			line = d.nodes.line + found - 1
		}
	}
	return line
}

// step returns the value of the first field on a path, the line of its key, and the rest
// of the path. Keys may contain dots, so the longest key that fits is used.
func step(n *yamlv3.Node, path string) (value *yamlv3.Node, line int, rest string) {
	for n.Kind == yamlv3.AliasNode {
		n = n.Alias
	}
	if index, after, ok := strings.Cut(strings.TrimPrefix(path, "["), "]"); ok && path[0] == '[' {
		i, err := strconv.Atoi(index)
		if n.Kind != yamlv3.SequenceNode || err != nil || i < 0 || i >= len(n.Content) {
			return nil, 0, ""
		}
		return n.Content[i], n.Content[i].Line, strings.TrimPrefix(after, ".")
	}
	length := -1
	eachKey(n, func(key, v *yamlv3.Node) {
		after, ok := strings.CutPrefix(path, key.Value)
		if ok && len(key.Value) >= length && (after == "" || after[0] == '.' || after[0] == '[') {
			value, line, rest, length = v, key.Line, strings.TrimPrefix(after, "."), len(key.Value)
		}
	})
	return value, line, rest
}

// eachKey calls f with each key of a mapping and its value, including those of merged
// mappings. Equal keys are in the order in which they count.
func eachKey(n *yamlv3.Node, f func(key, value *yamlv3.Node)) {
	eachKeyWithin(n, 0, f)
}

// maxMergeDepth limits the mappings that merge each other; deeper ones are not searched.
const maxMergeDepth = 10

func eachKeyWithin(n *yamlv3.Node, depth int, f func(key, value *yamlv3.Node)) {
	if n.Kind == yamlv3.AliasNode {
		n = n.Alias
	}
	switch {
	case depth > maxMergeDepth:
	case n.Kind == yamlv3.SequenceNode && depth > 0:
		for _, merged := range slices.Backward(n.Content) {
			eachKeyWithin(merged, depth+1, f)
		}
	case n.Kind == yamlv3.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Tag == "!!merge" {
				eachKeyWithin(n.Content[i+1], depth+1, f)
				continue
			}
			f(n.Content[i], n.Content[i+1])
		}
	}
}

// duplicates returns an error for each key that a later equal key of the same mapping
// replaces. A key that replaces one of a merged mapping is how merge keys are used, and
// gives none; a merge key after the key that it replaces gives one.
func (n *nodes) duplicates() []fieldError {
	if n == nil {
		return nil
	}
	var out []fieldError
	n.appendDuplicates(n.root, "", &out)
	return out
}

func (n *nodes) appendDuplicates(node *yamlv3.Node, path string, out *[]fieldError) {
	switch node.Kind { //nolint:exhaustive // only these have children
	case yamlv3.SequenceNode:
		for i, item := range node.Content {
			n.appendDuplicates(item, fmt.Sprintf("%s[%d]", path, i), out)
		}
	case yamlv3.MappingNode:
		seen := map[string]bool{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			if key.Tag == "!!merge" {
				eachKeyWithin(value, 1, func(merged, _ *yamlv3.Node) {
					if field := join(path, merged.Value); seen[merged.Value] {
						*out = append(*out, fieldError{line: n.line + key.Line - 1, field: field,
							err: fmt.Errorf("field %q is replaced by a merge key that follows it; the last one counts", field)})
					}
				})
				continue
			}
			field := join(path, key.Value)
			if seen[key.Value] {
				*out = append(*out, fieldError{line: n.line + key.Line - 1, field: field, err: errDuplicate(field)})
			}
			seen[key.Value] = true
			n.appendDuplicates(value, field, out)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// A replacedObject is an object whose metadata other metadata of its document replaces.
type replacedObject struct {
	guess
	line int
}

// replacedObjects returns the objects that the document has before its last one.
func (d *document) replacedObjects() []replacedObject {
	d.fieldLine(metadataKey) // parses the nodes
	if d.nodes == nil {
		return nil
	}
	var out []replacedObject
	kind := ""
	eachKey(d.nodes.root, func(key, value *yamlv3.Node) {
		switch key.Value {
		case kindKey:
			kind = value.Value
			if i := len(out) - 1; i >= 0 && out[i].kind == "" {
				out[i].kind = kind // which follows metadata
			}
		case metadataKey:
			o := replacedObject{line: d.nodes.line + key.Line - 1}
			o.kind, kind = kind, ""
			eachKey(value, func(key, value *yamlv3.Node) {
				switch key.Value {
				case "name":
					o.name = value.Value
				case "namespace":
					o.namespace = value.Value
				}
			})
			out = append(out, o)
		}
	})
	last := len(out) - 1
	return slices.DeleteFunc(out, func(o replacedObject) bool { return o.guess == out[last].guess })
}
