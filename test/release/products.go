// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
)

// A product is one program of a release.
type product struct {
	name      string
	module    string // directory of its module, relative to the root; also the prefix of the module's tags
	pkg       string // package relative to module
	platforms []string
	archive   string // name of a tar.gz that has the program too, and of the program there; empty: none
}

// products returns the programs of a release with their platforms.
func products() []product {
	linux := []string{"linux/amd64", "linux/arm64"}
	windows := []string{"windows/amd64", "windows/arm64"}
	all := slices.Concat(linux, []string{"darwin/amd64", "darwin/arm64", "windows/amd64"})
	return []product{
		{name: "kube-proxy", module: ".", pkg: "./examples/kube-proxy", platforms: linux},
		{name: "kube-proxy", module: "examples/kube-proxy/windows", pkg: ".", platforms: windows},
		// As a plugin of kubectl, kpng has another name, in the archives that krew.yaml names.
		{name: "kpng", module: ".", pkg: "./examples/kpng", platforms: all, archive: "kubectl-kpng"},
		{name: "kpng-dns", module: "export/dns", pkg: "./kpng-dns", platforms: linux},
		{name: "kpng-xds", module: "export/xds", pkg: "./kpng", platforms: linux},
	}
}

// nestedModules returns the directories of the modules that are tagged beside the library. They
// require the version of the library that they are tagged with.
func nestedModules() []string {
	return []string{"backends/hns/hcn", "examples/kube-proxy/windows", "export/dns", "export/xds"}
}

// tags returns the tags of a version: one for each module that importers can get.
func tags(version string) []string {
	all := []string{version}
	for _, module := range nestedModules() {
		all = append(all, module+"/"+version)
	}
	return all
}

// A build is one product for one platform.
type build struct {
	product

	goos, goarch string
}

// selectBuilds returns the builds for platforms; none selects all.
func selectBuilds(all []product, platforms []string) (builds []build, err error) {
	used := map[string]bool{}
	for _, p := range all {
		for _, platform := range p.platforms {
			if len(platforms) > 0 && !slices.Contains(platforms, platform) {
				continue
			}
			used[platform] = true
			goos, goarch, _ := strings.Cut(platform, "/")
			builds = append(builds, build{product: p, goos: goos, goarch: goarch})
		}
	}
	for _, platform := range platforms {
		if !used[platform] {
			return nil, fmt.Errorf("platform %q: no program is released for it", platform)
		}
	}
	return builds, nil
}

func (b build) String() string { return b.name + " for " + b.goos + "/" + b.goarch }

// file returns the name of the program in the results of one build.
func (b build) file() string {
	name := b.name + "_" + b.goos + "_" + b.goarch
	if b.goos == "windows" {
		name += ".exe"
	}
	return name
}

// archiveFile returns the name of the archive, for products that have one.
func (b build) archiveFile() string { return b.archive + "_" + b.goos + "_" + b.goarch + ".tar.gz" }

// programName returns the name of the program in the archive.
func (b build) programName() string {
	if b.goos == "windows" {
		return b.archive + ".exe"
	}
	return b.archive
}
