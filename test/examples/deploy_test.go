// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// The flags in the manifests exist: the command reaches -h at the end only if it parses the
// flags before it.
func TestManifestsUseExistingFlags(t *testing.T) {
	containers := 0
	for _, name := range []string{"state-server", "node-agent"} {
		data, err := os.ReadFile("../../examples/deploy/" + name + ".yaml")
		require.NoError(t, err)
		for document := range bytes.SplitSeq(data, []byte("\n---\n")) {
			var workload struct {
				Spec struct {
					Template struct {
						Spec struct {
							Containers []struct{ Command, Args []string }
						}
					}
				}
			}
			require.NoError(t, yaml.Unmarshal(document, &workload))
			for _, c := range workload.Spec.Template.Spec.Containers {
				containers++
				require.Equal(t, []string{"/kpng"}, c.Command)
				out, err := exec.Command(program, slices.Concat(c.Args, []string{"-h"})...).CombinedOutput()
				require.NoError(t, err, string(out))
				require.Contains(t, string(out), "run --from SOURCE")
				out, err = exec.Command(program, slices.Concat(c.Args, []string{"--no-such-flag", "-h"})...).CombinedOutput()
				require.Error(t, err, string(out))
			}
		}
	}
	require.Equal(t, 2, containers)
}
