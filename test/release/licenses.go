// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licenseclassifier/v2/assets"
)

// thirdPartyFile is the name of the file with the licences of all dependencies.
const thirdPartyFile = "THIRD-PARTY-LICENSES"

// allowedLicenses returns the SPDX identifiers of the licences that dependencies may have: those of
// the CNCF's allow list that occur or are likely to.
func allowedLicenses() []string {
	return []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-2-Clause-FreeBSD", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "Zlib"}
}

// A dependency is one module of which packages are compiled into a program.
type dependency struct {
	path, version string
	dir           string   // where its source is
	packages      []string // directories of the compiled packages
}

// A licensed dependency has the texts that its licence requires to be passed on.
type licensed struct {
	dependency

	licenses []string // SPDX identifiers, sorted
	texts    []legalText
}

type legalText struct {
	name string // relative to the module
	text string
}

// findDependencies returns the modules outside of this repository that the builds compile, and the
// standard library, ordered by path.
func findDependencies(ctx context.Context, builds []build, source string) ([]dependency, error) {
	found := map[string]dependency{}
	for _, b := range builds {
		env := []string{"CGO_ENABLED=0", "GOOS=" + b.goos, "GOARCH=" + b.goarch, "GOWORK=off"}
		out, err := output(ctx, filepath.Join(source, filepath.FromSlash(b.module)), env, "go", "list", "-deps", "-json=Dir,Standard,Module", b.pkg)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b, err)
		}
		if err := addDependencies(found, out); err != nil {
			return nil, fmt.Errorf("%s: %w", b, err)
		}
	}
	root, err := output(ctx, source, nil, "go", "env", "GOROOT", "GOVERSION")
	if err != nil {
		return nil, err
	}
	goroot, version, _ := strings.Cut(strings.TrimSpace(string(root)), "\n")
	found["std"] = dependency{path: "Go standard library", version: version, dir: goroot}
	var all []dependency
	for _, d := range found {
		slices.Sort(d.packages)
		d.packages = slices.Compact(d.packages)
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b dependency) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.version, b.version))
	})
	return all, nil
}

// addDependencies adds the modules in the output of go list to found. Modules of this repository have
// no version, or are replaced by a directory.
func addDependencies(found map[string]dependency, list []byte) error {
	type module struct {
		Path    string  `json:"Path"`
		Version string  `json:"Version"`
		Dir     string  `json:"Dir"`
		Main    bool    `json:"Main"`
		Replace *module `json:"Replace"`
	}
	for decoder := json.NewDecoder(bytes.NewReader(list)); ; {
		var pkg struct {
			Dir      string  `json:"Dir"`
			Standard bool    `json:"Standard"`
			Module   *module `json:"Module"`
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		m := pkg.Module
		if pkg.Standard || m == nil || m.Main {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Version == "" {
			continue
		}
		d := found[m.Path+"@"+m.Version]
		d.path, d.version, d.dir = m.Path, m.Version, m.Dir
		d.packages = append(d.packages, pkg.Dir)
		found[m.Path+"@"+m.Version] = d
	}
}

// newIdentifier returns a function that returns the SPDX identifiers of the licences in a text, by their
// full texts or by the notice that refers to one.
func newIdentifier() (func(text []byte) []string, error) {
	classifier, err := assets.DefaultClassifier()
	if err != nil {
		return nil, err
	}
	return func(text []byte) (ids []string) {
		for _, m := range classifier.Match(text).Matches {
			if m.MatchType == "License" || m.MatchType == "Header" {
				ids = append(ids, m.Name)
			}
		}
		slices.Sort(ids)
		return slices.Compact(ids)
	}, nil
}

// checkLicenses returns the licences of all dependencies, or an error that names each dependency that
// has none, or one that is not allowed.
func checkLicenses(dependencies []dependency, allowed []string, identify func(text []byte) []string) (all []licensed, err error) {
	var problems []error
	for _, d := range dependencies {
		l, err := license(d, allowed, identify)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s %s: %w", d.path, d.version, err))
		}
		all = append(all, l)
	}
	return all, errors.Join(problems...)
}

// license reads the legal files beside the compiled packages of d and in the directories above them,
// up to the root of the module, and checks their licences.
func license(d dependency, allowed []string, identify func([]byte) []string) (licensed, error) {
	result := licensed{dependency: d}
	files, err := legalFiles(d)
	if err != nil {
		return result, err
	}
	var problems []error
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(d.dir, name))
		if err != nil {
			return result, err
		}
		result.texts = append(result.texts, legalText{name: filepath.ToSlash(name), text: string(text)})
		if !isLicense(filepath.Base(name)) {
			continue
		}
		ids := identify(text)
		if len(ids) == 0 {
			problems = append(problems, fmt.Errorf("%s: unknown licence", name))
		}
		for _, id := range ids {
			if !slices.Contains(allowed, id) {
				problems = append(problems, fmt.Errorf("%s: licence %s is not in the list of allowed licences", name, id))
			}
		}
		result.licenses = append(result.licenses, ids...)
	}
	slices.Sort(result.licenses)
	result.licenses = slices.Compact(result.licenses)
	if len(result.licenses) == 0 && len(problems) == 0 {
		problems = append(problems, errors.New("no licence file"))
	}
	return result, errors.Join(problems...)
}

// legalFiles returns the names, relative to the module, of the files of d that contain licences, notices
// or grants of patents.
func legalFiles(d dependency) (names []string, err error) {
	dirs := map[string]bool{d.dir: true}
	for _, dir := range d.packages {
		for ; len(dir) > len(d.dir); dir = filepath.Dir(dir) {
			dirs[dir] = true
		}
	}
	for dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !isLicense(e.Name()) && !isNotice(e.Name()) {
				continue
			}
			name, err := filepath.Rel(d.dir, filepath.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// isLicense reports whether a file of this name contains a licence. Go files do not.
func isLicense(name string) bool {
	return filepath.Ext(name) != ".go" && regexp.MustCompile(`(?i)^((un)?licen[cs]e|copying)([.-].*)?$`).MatchString(name)
}

func isNotice(name string) bool {
	return filepath.Ext(name) != ".go" && regexp.MustCompile(`(?i)^(notice|patents)([.-].*)?$`).MatchString(name)
}

// thirdParty returns the text of thirdPartyFile.
func thirdParty(all []licensed) string {
	var b strings.Builder
	b.WriteString("The programs of this release contain code of the following modules.\n\n")
	for _, l := range all {
		fmt.Fprintf(&b, "%s %s: %s\n", l.path, l.version, strings.Join(l.licenses, ", "))
	}
	for _, l := range all {
		for _, t := range l.texts {
			fmt.Fprintf(&b, "\n%s\n%s %s: %s\n%s\n\n%s\n", strings.Repeat("=", 80), l.path, l.version, t.name, strings.Repeat("-", 80), strings.TrimSpace(t.text))
		}
	}
	return b.String()
}
