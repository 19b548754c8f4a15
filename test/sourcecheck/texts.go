// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A kind is where a text stands.
type kind string

const (
	kindComment  kind = "comment"
	kindMessage  kind = "message" // a string literal outside tests: errors, logs, help
	kindName     kind = "name"    // a declared name, or the name of a file
	kindDocument kind = "document"
)

// A text is one line of a comment or document, one string literal, or one name with its
// words separated by spaces.
type text struct {
	path string
	line int
	kind kind
	text string
}

// allTexts returns the texts of all files. Generated Go files have none: they repeat
// what their source holds.
func allTexts(files []file) (texts []text, err error) {
	parsed, err := parseGo(files)
	if err != nil {
		return nil, err
	}
	for _, f := range parsed {
		if !f.generated {
			texts = slices.Concat(texts, comments(f), names(f), messages(f))
		}
	}
	for _, f := range files {
		if isGo(f.path) {
			continue
		}
		switch path.Ext(f.path) {
		case ".md":
			for i, line := range f.lines() {
				texts = append(texts, text{f.path, i + 1, kindDocument, line})
			}
		case ".proto", ".js":
			texts = append(texts, commentLines(f, "//")...)
		default:
			texts = append(texts, commentLines(f, "#")...)
		}
	}
	return texts, nil
}

// commentLines returns the comments of a file in which each line's comment starts with
// mark. It may take a string that holds mark for a comment.
func commentLines(f file, mark string) (texts []text) {
	for i, line := range f.lines() {
		if _, comment, ok := strings.Cut(line, mark); ok && isProse(comment) {
			texts = append(texts, text{f.path, i + 1, kindComment, comment})
		}
	}
	return texts
}

// comments returns the lines of the comments of f that hold prose.
func comments(f goFile) (texts []text) {
	for _, group := range f.tree.Comments {
		for _, comment := range group.List {
			directive := strings.HasPrefix(comment.Text, "//go:") || strings.HasPrefix(comment.Text, "//nolint")
			for i, line := range strings.Split(comment.Text, "\n") {
				line = strings.TrimPrefix(line, "//")
				if !directive && isProse(line) {
					texts = append(texts, text{f.path, f.line(comment.Pos()) + i, kindComment, line})
				}
			}
		}
	}
	return texts
}

// isProse reports whether line has words that are not part of the licence header.
func isProse(line string) bool {
	return strings.ContainsFunc(line, unicode.IsLetter) && !slices.Contains(headerLines(), strings.TrimSpace(line))
}

// messages returns the string literals of f, without import paths and tags of fields.
// Tests have none: their strings are mostly input.
func messages(f goFile) (texts []text) {
	if isTest(f.path) {
		return nil
	}
	ast.Inspect(f.tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.Field:
			return n.Tag == nil
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				if value, err := strconv.Unquote(n.Value); err == nil {
					texts = append(texts, text{f.path, f.line(n.Pos()), kindMessage, value})
				}
			}
		}
		return true
	})
	return texts
}

// names returns the names that f declares, and its own.
func names(f goFile) (texts []text) {
	add := func(line int, name string) {
		texts = append(texts, text{f.path, line, kindName, splitName(name)})
	}
	add(0, strings.TrimSuffix(path.Base(f.path), ".go"))
	addAll := func(exprs ...ast.Expr) {
		for _, e := range exprs {
			if id, ok := e.(*ast.Ident); ok {
				add(f.line(id.Pos()), id.Name)
			}
		}
	}
	ast.Inspect(f.tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			addAll(n.Name)
		case *ast.TypeSpec:
			addAll(n.Name)
		case *ast.ValueSpec:
			for _, id := range n.Names {
				addAll(id)
			}
		case *ast.Field:
			for _, id := range n.Names {
				addAll(id)
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				addAll(n.Lhs...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				addAll(n.Key, n.Value)
			}
		}
		return true
	})
	return texts
}

// splitName returns the words of a name in mixedCaps or snake_case, in lower case and
// separated by spaces.
func splitName(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if r == '_' || r == '-' {
			b.WriteRune(' ')
			continue
		}
		if i > 0 && unicode.IsUpper(r) {
			afterLower := !unicode.IsUpper(runes[i-1])
			beforeLower := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if afterLower || beforeLower {
				b.WriteRune(' ')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
