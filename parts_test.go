// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kpng_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPartsWithoutASink builds a module that uses one part of the library, as a vendor
// without a localsink.Sink would, and checks which modules it compiles: no Kubernetes library,
// and no more of this one than the part and the types of its arguments.
func TestPartsWithoutASink(t *testing.T) {
	dependOnModuleFiles(t)
	for _, part := range []struct {
		file             string   // in testdata/parts
		packages, others []string // those of this module, and other modules
	}{
		{"healthcheck.go", []string{"backends/healthcheck", "localsink"}, nil},
		{
			"conntrack.go",
			[]string{"backends/conntrack", "localsink"},
			[]string{"github.com/vishvananda/netlink", "github.com/vishvananda/netns", "golang.org/x/sys"},
		},
		{"nodeports.go", []string{"localsink", "nodelocal/nodeports"}, nil},
	} {
		t.Run(part.file, func(t *testing.T) {
			source, err := os.ReadFile("testdata/parts/" + part.file)
			require.NoError(t, err)
			m := newOutsideModule(t, map[string]string{"main.go": string(source)})
			m.run("build", "-o", os.DevNull, ".")
			var packages []string
			modules := map[string]bool{}
			for line := range strings.Lines(m.output("list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}} {{.ImportPath}}", ".")) {
				fields := strings.Fields(line)
				switch {
				case len(fields) < 2: // standard library
				case fields[0] == module:
					packages = append(packages, pathInModule(fields[1]))
				case fields[0] != "example.com/vendor":
					modules[fields[0]] = true
				}
			}
			require.ElementsMatch(t, part.packages, packages)
			require.Len(t, modules, len(part.others), "%v", modules)
			for _, other := range part.others {
				require.True(t, modules[other], other)
			}
		})
	}
}
