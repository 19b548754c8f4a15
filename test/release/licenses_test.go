// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

const mit = `MIT License

Copyright (c) 2026 Someone

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
`

// gpl is the start that files under the GNU General Public License have.
const gpl = `                    GNU GENERAL PUBLIC LICENSE
                       Version 3, 29 June 2007

    This program is free software: you can redistribute it and/or modify
    it under the terms of the GNU General Public License as published by
    the Free Software Foundation, either version 3 of the License, or
    (at your option) any later version.

    This program is distributed in the hope that it will be useful,
    but WITHOUT ANY WARRANTY; without even the implied warranty of
    MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
    GNU General Public License for more details.

    You should have received a copy of the GNU General Public License
    along with this program.  If not, see <https://www.gnu.org/licenses/>.
`

// newModule returns a dependency with files, of which the package inner/pkg is compiled.
func newModule(t *testing.T, files map[string]string) dependency {
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "inner", "pkg"), 0o755))
	return dependency{path: "example.com/module", version: "v1.2.3", dir: dir, packages: []string{filepath.Join(dir, "inner", "pkg")}}
}

func TestLicences(t *testing.T) {
	identify, err := newIdentifier()
	require.NoError(t, err)
	for name, c := range map[string]struct {
		files map[string]string
		err   string // empty: allowed
	}{
		"allowed":                      {map[string]string{"LICENSE": mit}, ""},
		"in a file with an extension":  {map[string]string{"License.txt": mit}, ""},
		"not in a Go file":             {map[string]string{"license.go": mit}, "example.com/module v1.2.3: no licence file"},
		"none":                         {map[string]string{"NOTICE": "Copyright"}, "example.com/module v1.2.3: no licence file"},
		"not allowed":                  {map[string]string{"LICENSE": gpl}, "LICENSE: licence GPL-3.0 is not in the list"},
		"unknown":                      {map[string]string{"COPYING": "Ask the author."}, "COPYING: unknown licence"},
		"above a compiled package":     {map[string]string{"LICENSE": mit, "inner/LICENSE": gpl}, "inner/LICENSE: licence GPL-3.0"},
		"of a package without a use":   {map[string]string{"LICENSE": mit, "other/LICENSE": gpl}, ""},
		"one of two is not allowed":    {map[string]string{"LICENSE": mit, "LICENSE.docs": gpl}, "LICENSE.docs: licence GPL-3.0"},
		"two in one file, one allowed": {map[string]string{"LICENSE": mit + "\n\n" + gpl}, "LICENSE: licence GPL-3.0"},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := checkLicenses([]dependency{newModule(t, c.files)}, allowedLicenses(), identify)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []string{"MIT"}, all[0].licenses)
		})
	}
}

func TestThirdPartyHasAllTexts(t *testing.T) {
	module := newModule(t, map[string]string{"LICENSE": mit, "NOTICE": "This product includes X.", "inner/PATENTS": "Grant"})
	all, err := checkLicenses([]dependency{module}, allowedLicenses(), func([]byte) []string { return []string{"MIT"} })
	require.NoError(t, err)
	text := thirdParty(all)
	require.Contains(t, text, "example.com/module v1.2.3: MIT\n")
	for _, want := range []string{"Permission is hereby granted", "This product includes X.", "v1.2.3: inner/PATENTS\n"} {
		require.Contains(t, text, want)
	}
}

// TestDependenciesOfAProgram checks a real program of this repository. It skips modules of the repository.
func TestDependenciesOfAProgram(t *testing.T) {
	dns := build{product: product{name: "kpng-dns", module: "export/dns", pkg: "./kpng-dns"}, goos: "linux", goarch: "arm64"}
	dependencies, err := findDependencies(t.Context(), []build{dns}, "../..")
	require.NoError(t, err)
	paths := map[string]bool{}
	for _, d := range dependencies {
		paths[d.path] = true
		require.False(t, isOwn(d.path), d.path)
		require.DirExists(t, d.dir)
	}
	for _, want := range []string{"Go standard library", "google.golang.org/grpc", "golang.org/x/net", "github.com/moby/ipvs"} {
		require.True(t, paths[want], want)
	}
	require.False(t, paths["github.com/miekg/dns"], "used by tests only")
}

func TestSBOMNamesOwnModules(t *testing.T) {
	dependencies := []*debug.Module{
		{Path: "example.com/module", Version: "v1.2.3"},
		{Path: "sigs.k8s.io/kpng", Version: "v0.1.0", Replace: &debug.Module{Path: "../..", Version: "(devel)"}},
	}
	sbom := `{"components": [{
		"bom-ref": "pkg:golang/../..@(devel)?type=module",
		"name": "../..",
		"version": "(devel)",
		"purl": "pkg:golang/../..@(devel)?goos=linux"}],
	"dependencies": [{"ref": "pkg:golang/../..@(devel)?type=module"}]}`
	require.JSONEq(t, `{"components": [{
		"bom-ref": "pkg:golang/sigs.k8s.io/kpng@v0.1.0?type=module",
		"name": "sigs.k8s.io/kpng",
		"version": "v0.1.0",
		"purl": "pkg:golang/sigs.k8s.io/kpng@v0.1.0?goos=linux"}],
	"dependencies": [{"ref": "pkg:golang/sigs.k8s.io/kpng@v0.1.0?type=module"}]}`, string(nameOwnModules([]byte(sbom), dependencies)))
}

func TestSBOMHasLicences(t *testing.T) {
	all := []licensed{{dependency: dependency{path: "example.com/module", version: "v1.2.3"}, licenses: []string{"ISC", "MIT"}}}
	sbom, err := addLicenses([]byte(`{"components":[{"name":"example.com/module","version":"v1.2.3"},{"name":"sigs.k8s.io/kpng","version":"v0.1.0"}]}`), all)
	require.NoError(t, err)
	require.JSONEq(t, `{"components":[
		{"name":"example.com/module","version":"v1.2.3","licenses":[{"license":{"id":"ISC"}},{"license":{"id":"MIT"}}]},
		{"name":"sigs.k8s.io/kpng","version":"v0.1.0","licenses":[{"license":{"id":"Apache-2.0"}}]}]}`, string(sbom))
	_, err = addLicenses([]byte(`{"components":[{"name":"example.com/module","version":"v1.3.0"}]}`), all)
	require.ErrorContains(t, err, "component example.com/module v1.3.0: its licence was not checked")
}
