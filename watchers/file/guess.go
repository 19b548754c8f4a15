// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Keys of objects.
const (
	kindKey     = "kind"
	metadataKey = "metadata"
)

// A guess is what is known of the objects in a document that cannot be used. An empty
// field is unknown.
type guess struct {
	kind, namespace, name string
	list                  bool // the document contains several objects
}

// object returns the name of the object, or "" if kind or name is unknown.
func (g *guess) object() string {
	if g.list || g.kind == "" || g.name == "" {
		return ""
	}
	return objectName(g.kind, g.namespace, g.name)
}

// matches reports whether the document could contain the object. Without a name after
// it, a kind may be cut off.
func (g *guess) matches(id objectID) bool {
	if g.list {
		return g.kind == "" || g.kind == "List" || g.kind == id.kind+"List"
	}
	if g.name == "" {
		return strings.HasPrefix(id.kind, g.kind)
	}
	return (g.kind == "" || g.kind == id.kind) && g.name == id.name &&
		(g.namespace == "" || !namespaced(id.kind) || g.namespace == id.namespace)
}

// guessText guesses what a document with a syntax error contains.
func guessText(text []byte) guess {
	content := text[leadingBlank(text):]
	var g guess
	if len(content) > 0 && (content[0] == '{' || content[0] == '[') {
		g = guessJSON(content)
	} else {
		g = guessBlock(content)
	}
	g.list = g.list || strings.HasSuffix(g.kind, "List")
	if !isWord(g.kind) {
		g.kind = ""
	}
	if g.list || !isWord(g.name) {
		g.namespace, g.name = "", ""
	}
	return g
}

// isWord reports whether s could be a kind or a name. What follows a syntax error often
// could not.
func isWord(s string) bool {
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.') {
			return false
		}
	}
	return s != ""
}

// guessJSON reads the tokens before the syntax error.
func guessJSON(text []byte) (g guess) {
	if text[0] == '[' {
		return guess{list: true}
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	path := make([]string, 0, 8) // the key of each open object; "[" for an array
	key, isKey := "", false
	for {
		token, err := decoder.Token()
		if err != nil {
			return g
		}
		value, isString := token.(string)
		if isKey && isString {
			key, isKey = value, false
			g.list = g.list || len(path) == 1 && key == "items"
			continue
		}
		switch token {
		case json.Delim('{'):
			path = append(path, key)
		case json.Delim('['):
			path = append(path, "[")
		case json.Delim('}'), json.Delim(']'):
			path = path[:len(path)-1]
		default:
			g.set(path, key, value)
		}
		if len(path) == 0 {
			return g
		}
		isKey = path[len(path)-1] != "["
	}
}

// set sets the field that the value of a key of JSON text belongs to.
func (g *guess) set(path []string, key, value string) {
	switch {
	case len(path) == 1 && key == kindKey:
		g.kind = value
	case len(path) == 2 && path[1] == metadataKey && key == "name":
		g.name = value
	case len(path) == 2 && path[1] == metadataKey && key == "namespace":
		g.namespace = value
	}
}

// guessBlock recognises the keys of block style YAML, by their indentation.
func guessBlock(text []byte) (g guess) {
	inMetadata, indentation := false, 0
	for line := range strings.Lines(string(text)) {
		trimmed := strings.TrimLeft(line, " ")
		indent := len(line) - len(trimmed)
		key, value, ok := strings.Cut(trimmed, ":")
		if !ok || strings.HasPrefix(trimmed, "#") {
			continue
		}
		value, _, _ = strings.Cut(value, " #")
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		key = strings.Trim(key, `"'`)
		switch {
		case indent == 0:
			inMetadata, indentation = key == metadataKey, 0
			g.list = g.list || key == "items"
			if key == kindKey && g.kind != "" {
				return guess{list: true} // a separator line is missing
			}
			if key == kindKey {
				g.kind = value
			}
		case inMetadata && indentation == 0:
			indentation = indent
		}
		if inMetadata && indent == indentation && indent > 0 {
			switch key {
			case "name":
				g.name = value
			case "namespace":
				g.namespace = value
			}
		}
	}
	return g
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
