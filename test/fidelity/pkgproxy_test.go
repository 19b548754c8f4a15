// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fidelity

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReplacementsAreComplete checks that docs/migrating-from-pkg-proxy.md names everything
// that the packages of kube-proxy export which network plugins import or copy: every
// declaration, and every method of the interfaces ServicePort and Endpoint.
func TestReplacementsAreComplete(t *testing.T) {
	page, err := os.ReadFile("../../docs/migrating-from-pkg-proxy.md")
	require.NoError(t, err)
	const proxy = "k8s.io/kubernetes/pkg/proxy"
	for _, pkg := range []string{"", "/apis", "/config", "/conntrack", "/healthcheck", "/localnodeportproxy", "/metaproxier", "/runner", "/util"} {
		out, err := exec.Command("go", "list", "-f", "{{.Dir}}", proxy+pkg).Output()
		require.NoError(t, err)
		names := exported(t, strings.TrimSpace(string(out)))
		require.NotEmpty(t, names, proxy+pkg)
		for _, name := range names {
			if !strings.Contains(string(page), "`"+name+"`") {
				t.Errorf("%s%s.%s: not on the page", proxy, pkg, name)
			}
		}
	}
}

// exported returns the exported declarations of a package without methods, and the methods
// of ServicePort and Endpoint.
func exported(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	add := func(idents ...*ast.Ident) {
		for _, id := range idents {
			if id.IsExported() {
				names = append(names, id.Name)
			}
		}
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil {
					add(n.Name)
				}
				return false
			case *ast.ValueSpec:
				add(n.Names...)
				return false
			case *ast.TypeSpec:
				add(n.Name)
				if body, ok := n.Type.(*ast.InterfaceType); ok && (n.Name.Name == "ServicePort" || n.Name.Name == "Endpoint") {
					for _, method := range body.Methods.List {
						add(method.Names...)
					}
				}
				return false
			}
			return true
		})
	}
	return names
}
