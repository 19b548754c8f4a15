// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/test/netns"
)

// An everySink is a kpng run with every kind of sink, and clients of its servers.
type everySink struct {
	process *netns.Process
	dir     string // with the lines that programs have received, by sink
}

// runEverySink runs kpng on the node, with sources as arguments.
func (fx *fixture) runEverySink(t *testing.T, sources ...string) *everySink {
	t.Helper()
	paths, err := fx.binaries.Build(t.Context(), "sigs.k8s.io/kpng/examples/kpng")
	require.NoError(t, err)
	run := &everySink{dir: t.TempDir()}
	server := "unix://" + filepath.Join(run.dir, "s")
	start := func(name string, args ...string) *netns.Process {
		process, err := fx.Node.Namespace.Run(netns.Program{Name: name, Path: paths[0], Dir: fx.dir, Args: append([]string{"run", "--node", cluster.NodeName}, args...)})
		require.NoError(t, err)
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("log of %s:\n%s", name, process.Tail(20))
			}
			require.NoError(t, process.Kill())
		})
		return process
	}
	run.process = start("kpng", append(sources, "--kubeconfig", fx.kubeconfig, "--to", "nftables", "--to", "text,json",
		"--to", "serve-node:"+server+",serve-cluster:"+server, "--to", fileSink(filepath.Join(run.dir, "exec")))...)
	start("kpng-node", "--from", "node:"+server, "--to", fileSink(filepath.Join(run.dir, "serve-node")))
	start("kpng-cluster", "--from", "cluster:"+server, "--to", fileSink(filepath.Join(run.dir, "serve-cluster")))
	return run
}

// received returns what a sink has received.
func (r *everySink) received(sink string) string {
	if sink == "text" || sink == "json" {
		return r.process.Tail(10_000)
	}
	data, err := os.ReadFile(filepath.Join(r.dir, sink))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// eventuallyHave waits until each sink has a Service: printed by its name as text, and as part of
// a line of JSON.
func (r *everySink) eventuallyHave(t *testing.T, name, json string) {
	t.Helper()
	for sink, want := range map[string]string{"text": "+ " + name, "json": json, "exec": json, "serve-node": json, "serve-cluster": json} {
		eventually(t, syncLimit, "the sink "+sink+" has "+name, func() error {
			if text := r.received(sink); !strings.Contains(text, want) {
				return fmt.Errorf("no %s in %s", want, text[max(0, len(text)-1000):])
			}
			return nil
		})
	}
}
