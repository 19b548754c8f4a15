// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/test/controlplane"
)

// TestIN64NodeIsDeleted deletes the Node object under traffic, restarts the proxy without
// it, and creates it again with another address and zone. Node ports and health check ports
// are served throughout: kube-proxy exits when the Node is deleted, and serves again after
// its supervisor has restarted it.
func TestIN64NodeIsDeleted(t *testing.T) {
	fx := newFixture(t)
	p := &proxyUnderTest{name: "kpng", pkg: controlplane.KPNGProxyPackage, mode: "nftables"}
	p.build(t, fx)
	p.start(t, fx)
	withNodePort := func(port int32) func(*corev1.ServiceSpec) {
		return func(s *corev1.ServiceSpec) { s.Ports[0].NodePort = port }
	}
	local := edited(service{name: "local", kind: corev1.ServiceTypeLoadBalancer, ports: []string{"80/tcp"}, slices: endpoints("pod1", "rpod1")},
		func(s *corev1.ServiceSpec) { externalLocal(s); withNodePort(30081)(s) })
	everywhere := edited(service{name: "cluster", kind: nodePort, ports: []string{"80/tcp"}, slices: endpoints("pod1 zone=a", "pod2 zone=b")}, withNodePort(30082))
	addresses := addressBook{}
	for _, o := range fx.apply(t, nil, []service{local, everywhere}) {
		addresses.add(fx, o)
	}
	fx.barrier(t, syncLimit)
	const served = "client local/nodeport:80/tcp = pod1 src=self\nclient local/health:80/tcp = 200\n"
	zoneA := served + "client nodeport:80/tcp = pod1\nclient inner:80/tcp = refused"
	expect(t, fx, addresses, "cluster", zoneA)

	traffic := startLoad(t, fx, addresses, "cluster", "client nodeport:80/tcp = pod1\nclient local/nodeport:80/tcp = pod1")
	defer traffic.stop()
	nodes := fx.client.CoreV1().Nodes()
	require.NoError(t, nodes.Delete(t.Context(), cluster.NodeName, metav1.DeleteOptions{}))
	node := fx.Node.Addrs[0].String()
	eventually(t, syncLimit, "load balancers are sent away", func() error {
		return fx.wantStatus(t, node+":10256", "/healthz", http.StatusServiceUnavailable)
	})
	fx.barrier(t, syncLimit)
	expect(t, fx, addresses, "cluster", zoneA)
	require.Contains(t, p.process.Tail(50), "its last addresses, pod networks and zone stay in use")
	traffic.await(t, 300)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, p.process.Stop(ctx))
	p.restart(t, fx)
	fx.barrier(t, syncLimit)
	traffic.await(t, 300)
	traffic.end(t)
	require.Contains(t, p.process.Tail(50), "(default route)")
	expect(t, fx, addresses, "cluster", served+"client nodeport:80/tcp = pod1 pod2\nclient inner:80/tcp = refused")

	created, err := nodes.Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: cluster.NodeName, Labels: map[string]string{corev1.LabelTopologyZone: "b"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	for _, addr := range fx.Node.Aliases {
		created.Status.Addresses = append(created.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: addr.String()})
	}
	_, err = nodes.UpdateStatus(t.Context(), created, metav1.UpdateOptions{})
	require.NoError(t, err)
	expect(t, fx, addresses, "cluster", "client inner:80/tcp = pod2\nclient nodeport:80/tcp = refused\nclient local/inner:80/tcp = pod1 src=self")
	require.NoError(t, fx.wantStatus(t, node+":10256", "/healthz", http.StatusOK))
	p.alive(t)
}

// wantStatus returns an error unless a request from the node gets the given status.
func (fx *fixture) wantStatus(t *testing.T, address, path string, want int) error {
	code, body, err := fx.get(t.Context(), address, path)
	if err == nil && code != want {
		err = fmt.Errorf("status %d, want %d: %s", code, want, body)
	}
	return err
}
