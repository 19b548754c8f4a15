// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/test/netns"
)

// TestReadinessFlags runs kpng with --startup-taint and --pod-condition: as a server with one agent, and
// on its own.
func TestReadinessFlags(t *testing.T) {
	fx := newFixture(t)
	paths, err := fx.binaries.Build(t.Context(), "sigs.k8s.io/kpng/examples/kpng")
	require.NoError(t, err)
	socket := filepath.Join(t.TempDir(), "s")
	run := func(t *testing.T, name string, args ...string) {
		process, err := fx.Node.Namespace.Run(netns.Program{
			Name: name, Path: paths[0], Dir: fx.dir, Args: append([]string{"run", "--node", cluster.NodeName}, args...),
		})
		require.NoError(t, err)
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("log of %s:\n%s", name, process.Tail(20))
			}
			require.NoError(t, process.Kill())
		})
	}
	t.Run("server", func(t *testing.T) {
		fx.addStartupTaint(t)
		fx.createPod(t, "gated", "10.244.1.77", programmed)
		fx.createPod(t, "plain", "10.244.1.78")
		fx.apply(t, nil, []service{{name: "web", ports: []string{"80/tcp"}}})
		fx.createPodSlice(t)
		run(t, "kpng-server", "--from", "kube", "--kubeconfig", fx.kubeconfig, "--to", "serve-node:unix://"+socket,
			"--startup-taint", startupTaint, "--pod-condition", programmed, "--pod-quantile", "1", "--pod-nodes", "connected")
		eventually(t, syncLimit, "the server listens", func() error {
			_, err := os.Stat(socket)
			return err
		})
		require.True(t, fx.hasStartupTaint(t), "no node has applied anything")
		require.Nil(t, conditionOf(fx.pod(t, "gated")))
		run(t, "kpng-agent", "--from", "node:unix://"+socket, "--to", "text")
		eventually(t, syncLimit, "the taint is removed and the condition is set", func() error {
			condition := conditionOf(fx.pod(t, "gated"))
			if fx.hasStartupTaint(t) || condition == nil || condition.Status != corev1.ConditionTrue {
				return fmt.Errorf("taint %v, condition %v", fx.hasStartupTaint(t), condition)
			}
			return nil
		})
	})
	t.Run("one node", func(t *testing.T) {
		fx.addStartupTaint(t)
		run(t, "kpng", "--from", "kube", "--kubeconfig", fx.kubeconfig, "--to", "text", "--to", "json", "--startup-taint", startupTaint)
		eventually(t, syncLimit, "the taint is removed", func() error {
			if fx.hasStartupTaint(t) {
				return errors.New("the node has it")
			}
			return nil
		})
	})
}

// addStartupTaint adds the taint to the node.
func (fx *fixture) addStartupTaint(t *testing.T) {
	t.Helper()
	fx.patchNode(t, `{"spec":{"taints":[{"key":"`+startupTaint+`","effect":"NoSchedule"}]}}`)
	require.True(t, fx.hasStartupTaint(t))
}

func (fx *fixture) hasStartupTaint(t *testing.T) bool {
	t.Helper()
	node, err := fx.client.CoreV1().Nodes().Get(t.Context(), cluster.NodeName, metav1.GetOptions{})
	require.NoError(t, err)
	for _, taint := range node.Spec.Taints {
		if taint.Key == startupTaint {
			return true
		}
	}
	return false
}
