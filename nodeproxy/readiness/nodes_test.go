// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package readiness

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestNodesAreQueuedOnce(t *testing.T) {
	var n nodes
	now := time.Unix(1, 0)
	n.set("a", true, now)
	n.set("b", true, now)
	first := n.due(map[string]uint64{"a": 1, "unknown": 3}, now)
	require.Equal(t, []string{"a"}, names(first))
	require.True(t, n.isQueued(first[0]))
	require.Empty(t, n.due(map[string]uint64{"a": 2, "b": 0}, now))

	n.set("a", true, now) // another Node, if the source has missed that the first was deleted
	require.False(t, n.isQueued(first[0]))
	second := n.due(map[string]uint64{"a": 2}, now)
	require.Equal(t, []string{"a"}, names(second))
	require.True(t, n.isQueued(second[0]))
	require.False(t, n.isQueued(first[0]))
}

// TestRecreatedNodeWaits: a Node that was deleted and created again has another machine. The stream of
// the former one does not count, nor do tasks about it.
func TestRecreatedNodeWaits(t *testing.T) {
	var n nodes
	now := time.Unix(1, 0)
	applied := map[string]uint64{"a": 7}
	n.set("a", true, now)
	old := n.due(applied, now)
	require.Len(t, old, 1)
	n.set("a", false, now)
	require.False(t, n.isQueued(old[0]))
	now = now.Add(30 * time.Second)
	n.set("a", true, now)
	for range 3 {
		require.Empty(t, n.due(applied, now), "the stream of the former machine")
		now = now.Add(10 * time.Second)
	}
	require.Empty(t, n.due(map[string]uint64{"a": 0}, now), "the new machine has applied nothing")
	require.Equal(t, []string{"a"}, names(n.due(map[string]uint64{"a": 8}, now)))

	// The new machine has applied the same revision as the former: that is known when the stream of
	// the former has certainly ended.
	n.set("a", false, now)
	n.set("a", true, now)
	require.Empty(t, n.due(applied, now))
	require.Equal(t, []string{"a"}, names(n.due(applied, now.Add(formerLife+1))))

	// A former machine without a stream.
	n.set("a", false, now)
	n.set("a", true, now)
	require.Empty(t, n.due(nil, now))
	require.Equal(t, []string{"a"}, names(n.due(applied, now)))

	n.expire(now.Add(2 * formerLife))
	require.Empty(t, n.deleted, "names of deleted Nodes are forgotten")
}

// TestTaintOfNodeThatIsRegisteredLater: the proxy may be started before the kubelet registers the Node.
func TestTaintOfNodeThatIsRegisteredLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		taint, err := NewTaint(TaintConfig{Client: client, NodeName: "node-1", Key: "acme.example/starting"})
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { done <- taint.Run(t.Context()) }()
		taint.Applied()
		time.Sleep(10 * time.Second)
		select {
		case err := <-done:
			t.Fatal("Run has not waited for the Node", err)
		default:
		}
		_, err = client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "node-1"},
			Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "acme.example/starting", Effect: corev1.TaintEffectNoSchedule}}},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		require.NoError(t, <-done)
		node, err := client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
		require.NoError(t, err)
		require.Empty(t, node.Spec.Taints)
	})
}
