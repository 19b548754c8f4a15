// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// libraryModule is the path of the module at the root of the repository; those of others begin with it.
const libraryModule = "sigs.k8s.io/kpng"

// isOwn reports whether a module is one of this repository.
func isOwn(module string) bool {
	return module == libraryModule || strings.HasPrefix(module, libraryModule+"/")
}

// prepare sets version in the changelog, the charts, the go.mod files, and where images are built or named.
func prepare(root, version, date string) error {
	if version == "" {
		return errors.New("-version is required")
	}
	if err := edit(filepath.Join(root, "CHANGELOG.md"), func(text string) (string, error) { return releaseChangelog(text, version, date) }); err != nil {
		return err
	}
	for _, name := range filesWithImages() {
		if err := edit(filepath.Join(root, name), func(text string) (string, error) { return releaseImages(text, version) }); err != nil {
			return err
		}
	}
	charts, err := filepath.Glob(filepath.Join(root, "examples/deploy/charts/*/Chart.yaml"))
	if err != nil {
		return err
	}
	for _, chart := range charts {
		if err := edit(chart, func(text string) (string, error) { return releaseChart(text, version) }); err != nil {
			return err
		}
	}
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules" || d.Name() == "dist") {
			return filepath.SkipDir
		}
		if d.Name() != "go.mod" {
			return nil
		}
		return edit(name, func(text string) (string, error) { return releaseModule(text, version), nil })
	})
}

// edit replaces the content of a file.
func edit(name string, change func(string) (string, error)) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	text, err := change(string(data))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if text == string(data) {
		return nil
	}
	fmt.Println("Edited", name)
	return os.WriteFile(name, []byte(text), 0o644)
}

// releaseChangelog makes the unreleased changes those of version.
func releaseChangelog(text, version, date string) (string, error) {
	if regexp.MustCompile(`(?m)^## ` + regexp.QuoteMeta(version) + `( |$)`).MatchString(text) {
		return "", fmt.Errorf("has a section %s already", version)
	}
	section, _, err := sectionOf(text, "")
	if err != nil {
		return "", err
	}
	if _, err := parseEntries(section); err != nil {
		return "", err
	}
	return strings.Replace(text, unreleased+"\n", unreleased+"\n\n## "+version+" - "+date+"\n", 1), nil
}

// releaseChart sets appVersion, and increments the version of the chart, which changes with it. Before
// the first release appVersion is v0, and the chart has no earlier version.
func releaseChart(text, version string) (string, error) {
	appVersion := regexp.MustCompile(`(?m)^appVersion: (\S+)$`)
	chartVersion := regexp.MustCompile(`(?m)^version: (\d+\.\d+\.)(\d+)$`)
	old, chart := appVersion.FindStringSubmatch(text), chartVersion.FindStringSubmatch(text)
	if old == nil || chart == nil {
		return "", errors.New("has no lines appVersion and version")
	}
	if old[1] == version {
		return text, nil
	}
	text = appVersion.ReplaceAllLiteralString(text, "appVersion: "+version)
	if old[1] == "v0" {
		return text, nil
	}
	patch, err := strconv.Atoi(chart[2])
	if err != nil {
		return "", err
	}
	return chartVersion.ReplaceAllLiteralString(text, "version: "+chart[1]+strconv.Itoa(patch+1)), nil
}

// filesWithImages returns the files that name images of this repository, or have commands that build
// them. Other manifests are rendered from the charts.
func filesWithImages() []string {
	return []string{"Containerfile", "docs/migrating-from-kube-proxy.md", "examples/deploy/README.md", "examples/deploy/kube-proxy/windows.yaml"}
}

// releaseImages sets the tags of the images of this repository.
func releaseImages(text, version string) (string, error) {
	image := regexp.MustCompile(`(registry\.example/kpng[a-z-]*):v[0-9][0-9A-Za-z.-]*`)
	if !image.MatchString(text) {
		return "", errors.New("has no image of registry.example")
	}
	return image.ReplaceAllString(text, "${1}:"+version), nil
}

// releaseModule sets the version of each required module of this repository. Lines that replace them
// stay, for builds in the repository.
func releaseModule(text, version string) string {
	required := regexp.MustCompile(`(?m)^(\t|require )(` + regexp.QuoteMeta(libraryModule) + `(?:/\S+)?) v\S+((?: // indirect)?)$`)
	return required.ReplaceAllString(text, "${1}${2} "+version+"${3}")
}
