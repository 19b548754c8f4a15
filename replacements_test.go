// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kpng_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReplacementsExist checks that every name of this module in the documents about
// migration, such as `localsink.Update.All`, is exported by its package.
func TestReplacementsExist(t *testing.T) {
	name := regexp.MustCompile("`((?:[a-z0-9]+/)*[a-z0-9]+)\\.([A-Z]\\w*)(?:\\.([A-Z]\\w*))?`")
	exported := map[string]map[string]bool{}
	names := 0
	for _, doc := range []string{"docs/migrating-from-pkg-proxy.md"} {
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, m := range name.FindAllStringSubmatch(string(text), -1) {
			dir := m[1]
			if !slices.Contains(folders(), strings.Split(dir, "/")[0]) {
				continue // of another module, such as netip.Addr
			}
			if exported[dir] == nil {
				exported[dir] = exportedNames(t, dir)
			}
			names++
			if !exported[dir][strings.Trim(m[2]+"."+m[3], ".")] {
				t.Errorf("%s: %s does not exist", doc, m[0])
			}
		}
	}
	require.Greater(t, names, 100)
}

// exportedNames returns the exported names of a package: "Name" of declarations,
// "Type.Name" of fields and methods.
func exportedNames(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range tree.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				names[receiver(d)+d.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					addSpec(names, spec)
				}
			}
		}
	}
	return names
}

// receiver returns "Type." of a method and "" of a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	expr := f.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr: // one type parameter
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name + "."
		default:
			return ""
		}
	}
}

func addSpec(names map[string]bool, spec ast.Spec) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		for _, n := range s.Names {
			names[n.Name] = true
		}
	case *ast.TypeSpec:
		names[s.Name.Name] = true
		var members *ast.FieldList
		switch body := s.Type.(type) {
		case *ast.StructType:
			members = body.Fields
		case *ast.InterfaceType:
			members = body.Methods
		default:
			return
		}
		for _, field := range members.List {
			for _, n := range field.Names {
				names[s.Name.Name+"."+n.Name] = true
			}
		}
	}
}
