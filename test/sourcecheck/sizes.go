// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"io"
	"path"
)

// Limits, in lines. A function counts from its first line to its last, with comments.
const (
	maxFunctionLines = 80
	maxFileLines     = 500
	maxMainLines     = 120
)

func sizesRule() string {
	return fmt.Sprintf("functions have at most %d lines, files %d, examples/*/main.go %d", maxFunctionLines, maxFileLines, maxMainLines)
}

// tables lists the files and functions that may exceed a limit because they hold one
// table.
func tables() []exception {
	return nil
}

func checkSizes(files []file, _ io.Writer) (findings []finding, err error) {
	parsed, err := parseGo(files)
	if err != nil {
		return nil, err
	}
	generated := map[string]bool{}
	for _, f := range parsed {
		if f.generated {
			generated[f.path] = true
		} else {
			findings = append(findings, longFunctions(f)...)
		}
	}
	for _, f := range files {
		n := len(f.lines())
		limit := maxFileLines
		if isMain, _ := path.Match("examples/*/main.go", f.path); isMain {
			limit = maxMainLines
		}
		if isProgram(f.path) && !generated[f.path] && n > limit {
			findings = append(findings, finding{path: f.path, rule: "size", text: fmt.Sprintf("file has %d lines, limit %d", n, limit)})
		}
	}
	return exempt(findings, tables()), nil
}

// isProgram reports whether the file called name is code, to which the limit for files
// applies.
func isProgram(name string) bool {
	switch path.Ext(name) {
	case ".go", ".js", ".proto", ".sh":
		return true
	}
	return path.Base(name) == "Makefile" || name == ".ci/run"
}

// longFunctions returns the functions of f above the limit. A function literal counts
// as part of the function that holds it.
func longFunctions(f goFile) (findings []finding) {
	for _, decl := range f.tree.Decls {
		ast.Inspect(decl, func(n ast.Node) bool {
			var name string
			switch n := n.(type) {
			case *ast.FuncDecl:
				name = n.Name.Name
			case *ast.FuncLit:
				name = "func"
			default:
				return true
			}
			lines := f.line(n.End()) - f.line(n.Pos()) + 1
			if lines > maxFunctionLines {
				text := fmt.Sprintf("function %s has %d lines, limit %d", name, lines, maxFunctionLines)
				findings = append(findings, finding{f.path, f.line(n.Pos()), "size", text})
			}
			return false
		})
	}
	return findings
}
