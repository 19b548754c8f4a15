// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/test/controlplane"
)

// A world is a cluster with a control plane, and no proxy yet.
type world struct {
	*cluster.Cluster
	control    *controlplane.ControlPlane
	client     kubernetes.Interface
	kubeconfig string
	binaries   *controlplane.Binaries
	dir        string
	canary     canary
}

// requireRoot skips a test that lacks the rights to make namespaces.
func requireRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 && os.Getenv("KPNG_REQUIRE_NETNS") != "1" {
		t.Skip("needs root")
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	requireRoot(t)
	w := &world{dir: t.TempDir()}
	var err error
	w.binaries, err = controlplane.OpenBinaries()
	require.NoError(t, err)
	programs, err := w.binaries.Build(t.Context(), controlplane.EtcdPackage, controlplane.APIServerPackage)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w.Cluster, err = cluster.New(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	begin := time.Now()
	w.control, err = controlplane.Start(ctx, controlplane.Options{
		Dir: w.dir, Addr: w.LanAddr, Namespace: w.Lan, Etcd: programs[0], APIServer: programs[1],
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of kube-apiserver:\n%s", w.control.APIServer.Tail(15))
		}
		require.NoError(t, w.control.Close())
	})
	t.Logf("control plane ready after %v", time.Since(begin).Round(time.Millisecond))
	w.kubeconfig, err = w.control.WriteKubeconfig()
	require.NoError(t, err)
	w.client, err = w.control.Client()
	require.NoError(t, err)
	w.createNode(t)
	w.canary.create(t, w)
	return w
}

// createNode creates the object of the node on which the proxy runs, in zone a.
func (w *world) createNode(t testing.TB) {
	t.Helper()
	nodes := w.client.CoreV1().Nodes()
	node, err := nodes.Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: cluster.NodeName, Labels: map[string]string{corev1.LabelTopologyZone: "a"}},
		Spec:       corev1.NodeSpec{PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24", "fd00:244:1::/64"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	for _, addr := range w.Node.Addrs {
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: addr.String()})
	}
	_, err = nodes.UpdateStatus(t.Context(), node, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// patchNode changes the node by a merge patch.
func (w *world) patchNode(t testing.TB, patch string) {
	t.Helper()
	_, err := w.client.CoreV1().Nodes().Patch(t.Context(), cluster.NodeName, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	require.NoError(t, err)
}

// A canary is a Service that shows how far a proxy has come. Each of the two
// watches delivers in order, so when the canary's newest Service and newest slice
// are in force, so is all that was written before.
type canary struct {
	addrs [2]netip.Addr
	count int
}

const canaryName = "canary"

func (c *canary) description() service {
	return service{
		name: canaryName, ports: []string{fmt.Sprintf("p:%d/tcp", 1000+c.count)},
		slices: []slice{{ports: []string{fmt.Sprintf("p:%d/tcp", cluster.ServerPort+c.count%2)}, endpoints: []string{"pod1"}}},
	}
}

func (c *canary) create(t testing.TB, w *world) {
	t.Helper()
	created := w.apply(t, nil, []service{c.description()})
	for i, ip := range created[canaryName].Spec.ClusterIPs {
		c.addrs[i] = netip.MustParseAddr(ip)
	}
}

// barrier returns when the proxy has acted on all that was written before, in
// both address families.
func (w *world) barrier(t testing.TB, limit time.Duration) {
	t.Helper()
	old := []service{w.canary.description()}
	w.canary.count++
	w.apply(t, old, []service{w.canary.description()})
	want := fmt.Sprintf("pod1:%d", cluster.ServerPort+w.canary.count%2)
	deadline := time.Now().Add(limit)
	for _, addr := range w.canary.addrs {
		to := netip.AddrPortFrom(addr, uint16(1000+w.canary.count))
		var last string
		for last != want {
			require.True(t, time.Now().Before(deadline), "the proxy did not act on a change within %v: %v answers %q", limit, to, last)
			last = w.Client.Probe(t.Context(), "tcp", to, 200*time.Millisecond).Server
			pause(5 * time.Millisecond)
		}
	}
}

// pause spaces out the polls of a kernel or process, which send no signal.
func pause(d time.Duration) { <-time.After(d) }

// eventually polls a condition of a kernel or process.
func eventually(t testing.TB, limit time.Duration, what string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.NoError(t, err, "%s, for %v", what, limit)
		}
		pause(20 * time.Millisecond)
	}
}

// family is "4" or "6".
func family(i int) string { return []string{"4", "6"}[i] }

func protocol(s string) corev1.Protocol { return corev1.Protocol(strings.ToUpper(s)) }
