// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A target is one fuzz function.
type target struct {
	module string // directory of the module
	pkg    string // import path
	dir    string // directory of the package
	name   string
}

func (t target) String() string { return t.pkg + "." + t.name }

// findTargets returns the targets of all modules below root that match, ordered by module and package.
func findTargets(ctx context.Context, root string, match *regexp.Regexp) (targets []target, err error) {
	modules, err := findModules(root)
	if err != nil {
		return nil, err
	}
	for _, module := range modules {
		found, err := targetsOf(ctx, module)
		if err != nil {
			return nil, fmt.Errorf("module in %s: %w", module, err)
		}
		for _, t := range found {
			if match.MatchString(t.String()) {
				targets = append(targets, t)
			}
		}
	}
	return targets, nil
}

// findModules returns the directories below root that have a go.mod.
func findModules(root string) (dirs []string, err error) {
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (d.Name() == "testdata" || d.Name() == "node_modules" || d.Name() == "dist" || strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if d.Name() == "go.mod" {
			dirs = append(dirs, filepath.Dir(name))
		}
		return nil
	})
	return dirs, err
}

// targetsOf returns the targets in the packages of one module. go list applies build constraints.
func targetsOf(ctx context.Context, module string) (targets []target, err error) {
	out, err := output(ctx, module, "go", "list", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles", "./...")
	if err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg struct {
			ImportPath   string   `json:"ImportPath"`
			Dir          string   `json:"Dir"`
			TestGoFiles  []string `json:"TestGoFiles"`
			XTestGoFiles []string `json:"XTestGoFiles"`
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			return targets, nil
		} else if err != nil {
			return nil, err
		}
		for _, file := range slices.Concat(pkg.TestGoFiles, pkg.XTestGoFiles) {
			source, err := os.ReadFile(filepath.Join(pkg.Dir, file))
			if err != nil {
				return nil, err
			}
			for _, name := range fuzzFunctions(source) {
				targets = append(targets, target{module: module, pkg: pkg.ImportPath, dir: pkg.Dir, name: name})
			}
		}
	}
}

// fuzzFunctions returns the names of the fuzz functions in a gofmt-formatted file.
func fuzzFunctions(source []byte) (names []string) {
	for _, m := range regexp.MustCompile(`(?m)^func (Fuzz\w*)\(\w+ \*testing\.F\)`).FindAllSubmatch(source, -1) {
		names = append(names, string(m[1]))
	}
	return names
}

// fuzz runs the target for the given time. If an input fails, the go command writes it to testdata/fuzz.
func (t target) fuzz(ctx context.Context, duration time.Duration) error {
	command := exec.CommandContext(ctx, "go", "test", "-vet=off", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", duration.String(), t.pkg)
	command.Dir = t.module
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	return command.Run()
}

// output runs a command in dir and returns its standard output.
func output(ctx context.Context, dir string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.Dir = dir
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return out, nil
}
