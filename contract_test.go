// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kpng_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
)

const rowsFile = "docs/contract-rows.txt"

// A row is one requirement of the contract and the tests that prove it.
type row struct {
	id, kinds, requirement string
	tests                  []string // files with a test whose name contains the ID
	proofs                 []string // "packets FILE NAME", "e2e FILE NAME", "open REASON"
}

// TestContractRows checks that each row of kind C has a test with its ID in the name, a
// proof by packets or end to end, or a reason why it is open. UPDATE_ROWS=1 rewrites the
// lists of files.
func TestContractRows(t *testing.T) {
	head, rows := readRows(t)
	filesByID := map[string][]string{}
	for _, file := range testFiles(t) {
		for _, id := range idsOf(namesIn(t, file)) {
			filesByID[id] = append(filesByID[id], file)
		}
	}
	known := map[string]bool{}
	for _, r := range rows {
		known[r.id] = true
	}
	for id, files := range filesByID {
		require.True(t, known[id], "%s is not in %s, but in test names of %v", id, rowsFile, files)
	}
	if os.Getenv("UPDATE_ROWS") != "" {
		for i := range rows {
			rows[i].tests = filesByID[rows[i].id]
		}
		require.NoError(t, os.WriteFile(rowsFile, writeRows(head, rows), 0o644))
	}
	semantics, err := os.ReadFile("docs/semantics.md")
	require.NoError(t, err)
	for _, r := range rows {
		t.Run(r.id, func(t *testing.T) {
			require.Equal(t, filesByID[r.id], r.tests, "run this test with UPDATE_ROWS=1 to rewrite the list")
			for _, proof := range r.proofs {
				checkProof(t, proof)
			}
			if strings.Contains(r.kinds, "C") {
				require.NotEmpty(t, slices.Concat(r.tests, r.proofs), "the row has no test and no proof")
			}
			if strings.Contains(r.kinds, "Q") {
				require.Regexp(t, `(?m)^\| [^|]*\b`+r.id+`\b`, string(semantics), "docs/semantics.md has no decision for the row")
			}
		})
	}
}

// checkProof checks that the test named by a proof exists.
func checkProof(t *testing.T, proof string) {
	words := strings.Fields(proof)
	switch words[0] {
	case "packets", "e2e":
		_, name, _ := strings.Cut(proof, words[1]+" ")
		require.Contains(t, namesIn(t, words[1]), name, "no such test in %s", words[1])
	case "open":
		require.Greater(t, len(words), 3, "the reason is missing")
	default:
		t.Fatalf("unknown kind of proof: %s", proof)
	}
}

func readRows(t *testing.T) (head string, rows []row) {
	data, err := os.ReadFile(rowsFile)
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		switch {
		case len(rows) == 0 && (strings.HasPrefix(line, "#") || len(words) == 0):
			head += line
		case len(words) == 0:
		case !strings.HasPrefix(line, " "):
			require.GreaterOrEqual(t, len(words), 3, line)
			rows = append(rows, row{id: words[0], kinds: words[1], requirement: strings.Join(words[2:], " ")})
		case words[0] == "test":
			rows[len(rows)-1].tests = append(rows[len(rows)-1].tests, words[1])
		default:
			rows[len(rows)-1].proofs = append(rows[len(rows)-1].proofs, strings.Join(words, " "))
		}
	}
	require.NotEmpty(t, rows)
	return head, rows
}

func writeRows(head string, rows []row) []byte {
	var b bytes.Buffer
	b.WriteString(head)
	for _, r := range rows {
		fmt.Fprintf(&b, "%s %s %s\n", r.id, r.kinds, r.requirement)
		for _, f := range r.tests {
			fmt.Fprintf(&b, "  test %s\n", f)
		}
		for _, proof := range r.proofs {
			fmt.Fprintf(&b, "  %s\n", proof)
		}
	}
	return b.Bytes()
}

// testFiles returns the paths of Go tests, stories (.txtar) and packet test cases.
func testFiles(t *testing.T) (files []string) {
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		packetCases, _ := filepath.Match("backends/backendtest/cases_*.go", path)
		if strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".txtar") || packetCases {
			files = append(files, path)
		}
		return err
	}))
	return files
}

// idsOf returns the IDs of rows in names, sorted and without duplicates.
func idsOf(names []string) (ids []string) {
	inText := regexp.MustCompile(`\b(IN|SEL|DP|HC|CT|OP|KN)-(\d\db?)\b`)
	inFunc := regexp.MustCompile(`(IN|SEL|DP|HC|CT|OP|KN)(\d\d)`)
	for _, name := range names {
		exp := inText
		if strings.HasPrefix(name, "Test") {
			exp = inFunc
		}
		for _, m := range exp.FindAllStringSubmatch(name, -1) {
			ids = append(ids, m[1]+"-"+m[2])
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// namesIn returns the names of tests in a file: functions, subtests, table rows and the
// expectations of stories.
func namesIn(t *testing.T, file string) (names []string) {
	if strings.HasSuffix(file, ".txtar") {
		archive, err := txtar.ParseFile(file)
		require.NoError(t, err)
		for _, f := range archive.Files {
			if ext := filepath.Ext(f.Name); ext == ".state" || ext == ".probes" {
				names = append(names, strings.TrimSuffix(f.Name, ext))
			}
		}
		return names
	}
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if strings.HasPrefix(n.Name.Name, "Test") {
				names = append(names, n.Name.Name)
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Run" && len(n.Args) == 2 {
				ast.Inspect(n.Args[0], func(n ast.Node) bool { return addText(&names, n) })
			}
		case *ast.CompositeLit:
			for i, e := range n.Elts {
				pair, ok := e.(*ast.KeyValueExpr)
				switch {
				case !ok && i == 0:
					addText(&names, e)
				case ok && isName(pair.Key):
					addText(&names, pair.Value)
				case ok:
					addText(&names, pair.Key)
				}
			}
		}
		return true
	})
	return names
}

func isName(key ast.Expr) bool {
	k, ok := key.(*ast.Ident)
	return ok && (k.Name == "id" || k.Name == "name")
}

// addText adds n to names if it is a string literal, or a sum that starts with one. It always
// returns true, as ast.Inspect requires to continue.
func addText(names *[]string, n ast.Node) bool {
	if sum, ok := n.(*ast.BinaryExpr); ok {
		n = sum.X
	}
	if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		text, _ := strconv.Unquote(lit.Value)
		*names = append(*names, text)
	}
	return true
}
