// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// A file is one file of the repository. path is relative to the root, with slashes.
type file struct {
	path string
	data []byte
}

// A goFile is a parsed Go file.
type goFile struct {
	file
	set       *token.FileSet
	tree      *ast.File
	generated bool
}

// readFiles reads all files under root. It skips version control, installed tools, results and
// installed npm packages.
func readFiles(root string) (files []file, err error) {
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", ".tools", "bin", "dist", "node_modules":
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		if !isChecked(relative) {
			return nil
		}
		data, err := os.ReadFile(name)
		files = append(files, file{relative, data})
		return err
	})
	return files, err
}

// isChecked reports whether any check reads the file called name.
func isChecked(name string) bool {
	return needsHeader(name) || path.Ext(name) == ".md"
}

func isGo(name string) bool { return path.Ext(name) == ".go" }

func isTest(name string) bool { return strings.HasSuffix(name, "_test.go") }

func (f file) lines() []string {
	return strings.Split(strings.TrimSuffix(string(f.data), "\n"), "\n")
}

// parseGo parses the Go files among files.
func parseGo(files []file) (parsed []goFile, err error) {
	for _, f := range files {
		if !isGo(f.path) {
			continue
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, f.path, f.data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, goFile{f, set, tree, ast.IsGenerated(tree)})
	}
	return parsed, nil
}

// line returns the line number of pos.
func (f goFile) line(pos token.Pos) int { return f.set.Position(pos).Line }
