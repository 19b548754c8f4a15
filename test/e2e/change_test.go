// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kpng/test/controlplane"
)

// testServiceCIDRs adds a network of Services to the running cluster and serves from
// it. The controller that would call the network ready is not there.
func testServiceCIDRs(t *testing.T, w *world, _ *proxyUnderTest) {
	networks := w.client.NetworkingV1().ServiceCIDRs()
	added, err := networks.Create(t.Context(), &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "added"},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{"172.31.0.0/24", "fd00:97::/112"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	defer func() { require.NoError(t, networks.Delete(t.Context(), "added", metav1.DeleteOptions{})) }()
	added.Status.Conditions = []metav1.Condition{{Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Reason: "Test", LastTransitionTime: metav1.Now()}}
	_, err = networks.UpdateStatus(t.Context(), added, metav1.UpdateOptions{})
	require.NoError(t, err)

	inside := edited(plain("inside", "pod1", "rpod1"), func(s *corev1.ServiceSpec) {
		s.ClusterIP, s.ClusterIPs = "172.31.0.10", []string{"172.31.0.10", "fd00:97::10"}
	})
	eventually(t, 30*time.Second, "the API server takes addresses of the network", func() error {
		_, err := w.client.CoreV1().Services(namespace).Create(t.Context(), inside.object(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	})
	addresses := book{}
	addresses.add(w, w.apply(t, nil, []service{inside})["inside"])
	expect(t, w, addresses, "inside", "pod3,node,client cluster:80 = pod1 rpod1")
	w.apply(t, []service{inside}, nil)
	expect(t, w, addresses, "inside", "pod3,node cluster:80 = timeout")
}

// testRollingUpdate replaces pods one after another, as a rolling update does, under
// TCP that may not notice, whatever the policy. (Datagram flows move to another pod,
// and what is under way then may be lost.)
func testRollingUpdate(t *testing.T, w *world, _ *proxyUnderTest) {
	for n, policy := range []func(*corev1.ServiceSpec){nil, externalLocal} {
		t.Run([]string{"externalTrafficPolicy=Cluster", "externalTrafficPolicy=Local"}[n], func(t *testing.T) {
			name := fmt.Sprintf("rolling-%d", n)
			with := func(list ...string) []service { return []service{open(name, fmt.Sprint(53+n), policy, list...)} }
			now := with("pod1")
			addresses := book{}
			addresses.add(w, w.apply(t, nil, now)[name])
			w.barrier(t, syncLimit)
			traffic := startLoad(t, w, addresses, name, fmt.Sprintf(everywhere, "/tcp"))
			defer traffic.stop()
			old, new := "pod1", "pod2"
			for range 3 {
				for _, next := range [][]service{with(old, new), with(old+" terminating", new), with(new)} {
					w.apply(t, now, next)
					now = next
					w.barrier(t, syncLimit)
					traffic.await(t, 100)
				}
				old, new = new, old
			}
			traffic.end(t)
			w.apply(t, now, nil)
		})
	}
}

// testDeletedRules takes all rules away, behind the proxy's back.
func testDeletedRules(t *testing.T, w *world, p *proxyUnderTest) {
	if !p.heals {
		t.Skip("it would take up to an hour")
	}
	services := []service{of(nodePort, plain("deleted", "pod1"))}
	addresses := book{}
	addresses.add(w, w.apply(t, nil, services)["deleted"])
	w.barrier(t, syncLimit)
	out, err := w.Node.Namespace.Output(t.Context(), "nft", "flush", "ruleset")
	require.NoError(t, err, out)
	expect(t, w, addresses, "deleted", "pod3,node cluster:80 = pod1\nclient nodeport:80 = pod1")
	w.apply(t, services, nil)
	w.barrier(t, syncLimit)
}

// testLocalhost asks for node ports on loopback addresses, which nftables modes open
// only then, and for TCP only.
func testLocalhost(t *testing.T, w *world, p *proxyUnderTest) {
	if p.mode == "iptables" {
		t.Skip("it opens them unasked, see DP-60")
	}
	restart := func(extra ...string) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		require.NoError(t, p.process.Stop(ctx))
		p.extra = extra
		p.startAgain(t, w)
		w.barrier(t, syncLimit)
	}
	extra := []string{"--nodeport-addresses=primary,localhost"}
	if p.pkg == controlplane.KubeProxyPackage {
		extra = append(extra, "--feature-gates=KubeProxyNFTablesLocalhostNodePorts=true")
	}
	services := []service{
		of(nodePort, plain("looped", "pod1", "rpod1")),
		edited(of(nodePort, plain("looped-sticky", "pod1", "pod2", "rpod1")), affinity),
	}
	addresses := book{}
	for _, o := range w.apply(t, nil, services) {
		addresses.add(w, o)
	}
	restart(extra...)
	expect(t, w, addresses, "looped", "node loop:80/tcp = pod1 rpod1\nclient nodeport:80 = pod1 rpod1\nclient inner:80 = refused")
	expect(t, w, addresses, "looped-sticky", "node loop:80/tcp = one pod1 pod2 rpod1")
	restart()
	expect(t, w, addresses, "looped", "node loop:80/tcp = refused")
	w.apply(t, services, nil)
}
