// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/test/controlplane"
	"sigs.k8s.io/kpng/test/netns"
)

func TestControlPlaneKeepsObjectsAcrossRestarts(t *testing.T) {
	binaries, err := controlplane.OpenBinaries()
	require.NoError(t, err)
	paths, err := binaries.Build(t.Context(), controlplane.EtcdPackage, controlplane.APIServerPackage)
	require.NoError(t, err)
	host, err := netns.Host()
	require.NoError(t, err)
	defer host.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	begin := time.Now()
	c, err := controlplane.Start(ctx, controlplane.Config{
		Dir: t.TempDir(), Addr: netip.MustParseAddr("127.0.0.1"), Namespace: host, Etcd: paths[0], APIServer: paths[1],
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	t.Logf("control plane ready after %v", time.Since(begin).Round(time.Millisecond))

	client, err := c.Client()
	require.NoError(t, err)
	policy := corev1.IPFamilyPolicyRequireDualStack
	service, err := client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{IPFamilyPolicy: &policy, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Len(t, service.Spec.ClusterIPs, 2)

	kubeconfig, err := c.WriteKubeconfig()
	require.NoError(t, err)
	require.FileExists(t, kubeconfig)

	require.NoError(t, c.APIServer.Kill())
	require.NoError(t, c.Etcd.Stop(ctx))
	_, err = client.CoreV1().Services("default").Get(ctx, "web", metav1.GetOptions{})
	require.Error(t, err)
	begin = time.Now()
	require.NoError(t, c.StartEtcd())
	require.NoError(t, c.StartAPIServer(ctx))
	t.Logf("control plane ready again after %v", time.Since(begin).Round(time.Millisecond))
	again, err := client.CoreV1().Services("default").Get(ctx, "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, service.UID, again.UID)
	require.NoError(t, c.Compact(ctx))
	require.NoError(t, c.Compact(ctx))
	requireStored(ctx, t, c, client, service)
}

// requireStored checks that the API server serves a copy of a Service that it has not written, and
// does not assign its address again.
func requireStored(ctx context.Context, t *testing.T, c *controlplane.ControlPlane, client kubernetes.Interface, service *corev1.Service) {
	t.Helper()
	watch, err := client.CoreV1().Services("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=copy"})
	require.NoError(t, err)
	defer watch.Stop()
	address, err := client.NetworkingV1().IPAddresses().Get(ctx, service.Spec.ClusterIPs[0], metav1.GetOptions{})
	require.NoError(t, err)
	const free = "10.96.7.7"
	service, address = service.DeepCopy(), address.DeepCopy()
	service.Name, service.UID, service.ResourceVersion = "copy", "11111111-1111-1111-1111-111111111111", ""
	service.Spec.ClusterIP, service.Spec.ClusterIPs, service.Spec.IPFamilies = free, []string{free}, service.Spec.IPFamilies[:1]
	address.Name, address.UID, address.ResourceVersion = free, "22222222-2222-2222-2222-222222222222", ""
	address.Spec.ParentRef.Name = service.Name
	store := c.OpenStore()
	defer store.Close()
	require.NoError(t, store.Put(ctx, address, service))
	require.Error(t, store.Put(ctx, &corev1.Pod{}))

	event := <-watch.ResultChan()
	got, ok := event.Object.(*corev1.Service)
	require.True(t, ok, event)
	require.NotEmpty(t, got.ResourceVersion)
	got.ResourceVersion = ""
	require.Equal(t, service.Spec, got.Spec)
	require.Equal(t, service.ObjectMeta, got.ObjectMeta)
	_, err = client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "other"},
		Spec:       corev1.ServiceSpec{ClusterIP: free, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	require.ErrorContains(t, err, "provided IP is already allocated")
}

func TestPrebuiltBinariesAreNotRebuilt(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("KPNG_TEST_BIN", dir)
	require.NoError(t, os.WriteFile(dir+"/server", nil, 0o755))
	binaries, err := controlplane.OpenBinaries()
	require.NoError(t, err)
	paths, err := binaries.Build(t.Context(), controlplane.EtcdPackage)
	require.NoError(t, err)
	require.Equal(t, []string{dir + "/server"}, paths)
}
