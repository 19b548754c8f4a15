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

// A fixture is a cluster with a control plane, without a proxy.
type fixture struct {
	*cluster.Cluster
	control    *controlplane.ControlPlane
	client     kubernetes.Interface
	kubeconfig string
	binaries   *controlplane.Binaries
	dir        string
	canary     canary
}

// requireRoot skips a test if the process may not create network namespaces.
func requireRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 && os.Getenv("KPNG_REQUIRE_NETNS") != "1" {
		t.Skip("needs root")
	}
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	requireRoot(t)
	fx := &fixture{dir: t.TempDir()}
	var err error
	fx.binaries, err = controlplane.OpenBinaries()
	require.NoError(t, err)
	programs, err := fx.binaries.Build(t.Context(), controlplane.EtcdPackage, controlplane.APIServerPackage)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), startLimit())
	defer cancel()
	fx.Cluster, err = cluster.New(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fx.Close()) })
	begin := time.Now()
	fx.control, err = controlplane.Start(ctx, controlplane.Config{
		Dir: fx.dir, Addr: fx.LanAddr, Namespace: fx.Lan, Etcd: programs[0], APIServer: programs[1],
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of kube-apiserver:\n%s", fx.control.APIServer.Tail(15))
		}
		require.NoError(t, fx.control.Close())
	})
	t.Logf("control plane ready after %v", time.Since(begin).Round(time.Millisecond))
	fx.kubeconfig, err = fx.control.WriteKubeconfig()
	require.NoError(t, err)
	fx.client, err = fx.control.Client()
	require.NoError(t, err)
	fx.createNode(t)
	fx.canary.create(t, fx)
	return fx
}

// startLimit is the maximum time for the control plane to start. A kernel in user mode has one
// processor, which is slower than the host's.
func startLimit() time.Duration {
	if os.Getenv(umlEnv) == "1" {
		return 5 * time.Minute
	}
	return time.Minute
}

// answerLimit is the maximum time until an answer.
func answerLimit() time.Duration {
	if os.Getenv(umlEnv) == "1" {
		return 30 * time.Second
	}
	return 4 * time.Second
}

// createNode creates the Node object of the node on which the proxy runs, in zone a.
func (fx *fixture) createNode(t testing.TB) {
	t.Helper()
	nodes := fx.client.CoreV1().Nodes()
	node, err := nodes.Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: cluster.NodeName, Labels: map[string]string{corev1.LabelTopologyZone: "a"}},
		Spec:       corev1.NodeSpec{PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24", "fd00:244:1::/64"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	for _, addr := range fx.Node.Addrs {
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: addr.String()})
	}
	_, err = nodes.UpdateStatus(t.Context(), node, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// patchNode applies a merge patch to the Node object.
func (fx *fixture) patchNode(t testing.TB, patch string) {
	t.Helper()
	_, err := fx.client.CoreV1().Nodes().Patch(t.Context(), cluster.NodeName, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	require.NoError(t, err)
}

// A canary is a Service that shows which changes a proxy has applied. Each watch delivers
// its events in order, so when the newest Service and the newest slice of the canary are
// in effect, so are all earlier changes.
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

func (c *canary) create(t testing.TB, fx *fixture) {
	t.Helper()
	created := fx.apply(t, nil, []service{c.description()})
	for i, ip := range created[canaryName].Spec.ClusterIPs {
		c.addrs[i] = netip.MustParseAddr(ip)
	}
}

// barrier returns when the proxy has applied all earlier changes, in both address families.
func (fx *fixture) barrier(t testing.TB, limit time.Duration) {
	t.Helper()
	old := []service{fx.canary.description()}
	fx.canary.count++
	fx.apply(t, old, []service{fx.canary.description()})
	want := fmt.Sprintf("pod1:%d", cluster.ServerPort+fx.canary.count%2)
	deadline := time.Now().Add(limit)
	for _, addr := range fx.canary.addrs {
		to := netip.AddrPortFrom(addr, uint16(1000+fx.canary.count))
		var last string
		for last != want {
			require.True(t, time.Now().Before(deadline), "the proxy did not apply a change within %v: probe of %v got %q", limit, to, last)
			last = fx.Client.Probe(t.Context(), "tcp", to, 200*time.Millisecond).Server
			pause(5 * time.Millisecond)
		}
	}
}

// pause waits between two polls of the kernel or a process, which send no notification.
func pause(d time.Duration) { <-time.After(d) }

// eventually polls a condition until it returns nil, for at most limit.
func eventually(t testing.TB, limit time.Duration, description string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.NoError(t, err, "%s: not within %v", description, limit)
		}
		pause(20 * time.Millisecond)
	}
}

// family returns the suffix of address family i: "4" or "6".
func family(i int) string { return []string{"4", "6"}[i] }

func protocol(s string) corev1.Protocol { return corev1.Protocol(strings.ToUpper(s)) }
