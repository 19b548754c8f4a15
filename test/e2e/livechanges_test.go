// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/test/controlplane"
)

// testServiceCIDRs adds a ServiceCIDR and creates a Service with addresses of it. The test
// marks the ServiceCIDR ready itself, because its controller does not run.
func testServiceCIDRs(t *testing.T, fx *fixture, _ *proxyUnderTest) {
	cidrs := fx.client.NetworkingV1().ServiceCIDRs()
	added, err := cidrs.Create(t.Context(), &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "added"},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{"172.31.0.0/24", "fd00:97::/112"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	defer func() { require.NoError(t, cidrs.Delete(t.Context(), "added", metav1.DeleteOptions{})) }()
	added.Status.Conditions = []metav1.Condition{{Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Reason: "Test", LastTransitionTime: metav1.Now()}}
	_, err = cidrs.UpdateStatus(t.Context(), added, metav1.UpdateOptions{})
	require.NoError(t, err)

	inside := edited(plain("inside", "pod1", "rpod1"), func(s *corev1.ServiceSpec) {
		s.ClusterIP, s.ClusterIPs = "172.31.0.10", []string{"172.31.0.10", "fd00:97::10"}
	})
	eventually(t, 30*time.Second, "the API server allocates addresses of the ServiceCIDR", func() error {
		_, err := fx.client.CoreV1().Services(namespace).Create(t.Context(), inside.object(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	})
	addresses := addressBook{}
	addresses.add(fx, fx.apply(t, nil, []service{inside})["inside"])
	expect(t, fx, addresses, "inside", "pod3,node,client cluster:80 = pod1 rpod1")
	fx.apply(t, []service{inside}, nil)
	expect(t, fx, addresses, "inside", "pod3,node cluster:80 = timeout")
}

// testRollingUpdate replaces pods one after another, as a rolling update does: no TCP
// exchange fails, with either policy. (UDP flows move to another pod, and datagrams on
// the way at that time may be lost.)
func testRollingUpdate(t *testing.T, fx *fixture, _ *proxyUnderTest) {
	for n, policy := range []func(*corev1.ServiceSpec){nil, externalLocal} {
		t.Run([]string{"externalTrafficPolicy=Cluster", "externalTrafficPolicy=Local"}[n], func(t *testing.T) {
			name := fmt.Sprintf("rolling-%d", n)
			with := func(list ...string) []service { return []service{open(name, fmt.Sprint(53+n), policy, list...)} }
			current := with("pod1")
			addresses := addressBook{}
			addresses.add(fx, fx.apply(t, nil, current)[name])
			fx.barrier(t, syncLimit)
			traffic := startLoad(t, fx, addresses, name, fmt.Sprintf(allClientsProbes, "/tcp"))
			defer traffic.stop()
			old, new := "pod1", "pod2"
			for range 3 {
				for _, next := range [][]service{with(old, new), with(old+" terminating", new), with(new)} {
					fx.apply(t, current, next)
					current = next
					fx.barrier(t, syncLimit)
					traffic.await(t, 100)
				}
				old, new = new, old
			}
			traffic.end(t)
			fx.apply(t, current, nil)
		})
	}
}

// testDeletedRules deletes all rules with nft; the proxy must restore them.
func testDeletedRules(t *testing.T, fx *fixture, p *proxyUnderTest) {
	if !p.restoresRules {
		t.Skip("this proxy restores rules only once an hour")
	}
	services := []service{of(nodePort, plain("deleted", "pod1"))}
	addresses := addressBook{}
	addresses.add(fx, fx.apply(t, nil, services)["deleted"])
	fx.barrier(t, syncLimit)
	out, err := fx.Node.Namespace.Output(t.Context(), "nft", "flush", "ruleset")
	require.NoError(t, err, out)
	expect(t, fx, addresses, "deleted", "pod3,node cluster:80 = pod1\nclient nodeport:80 = pod1")
	if p.pkg == controlplane.KPNGProxyPackage {
		for range 8 {
			pause(time.Second) // deleting rules a second after each repair must not delay the next
			requireRepair(t, fx, addresses)
		}
	}
	if p.pkg == controlplane.KPNGProxyPackage && p.mode == "nftables" {
		requireFlowsAfterRepair(t, fx, addresses)
	}
	fx.apply(t, services, nil)
	fx.barrier(t, syncLimit)
}

// requireRepair deletes all rules and waits for the repair. The proxy is unhealthy while it
// lasts: a response of /healthz between two failed connections, long after the deletion, is
// not 200.
func requireRepair(t *testing.T, fx *fixture, addresses addressBook) {
	t.Helper()
	parsed, err := parseProbes("node cluster:80 = pod1", "deleted")
	require.NoError(t, err)
	probe, r := parsed[0], &prober{fixture: fx}
	probe.at, _ = addresses.find(probe.service, probe.kind, probe.family, probe.port, probe.proto)
	fails := func() bool { return r.run(t.Context(), probe).fail }
	start := time.Now()
	out, err := fx.Node.Namespace.Output(t.Context(), "nft", "flush", "ruleset")
	require.NoError(t, err, out)
	for fails() {
		absent := time.Since(start)
		code, _, err := fx.get(t.Context(), "127.0.0.1:10256", "/healthz")
		require.NoError(t, err)
		if absent > 300*time.Millisecond && fails() {
			require.Equal(t, http.StatusServiceUnavailable, code, "the rules are absent for %v", absent)
		}
		// A second until a backend polls, the repair, and a second because a connection that began
		// before the repair succeeds, or fails, only when its SYN is repeated.
		require.Less(t, absent, 4*time.Second, "the rules are still absent")
	}
}

// requireFlowsAfterRepair deletes the proxy's tables, and begins UDP flows before the repair. The table
// of another program tracks them, and their clients do not stop to send, so that connection tracking
// never forgets them: the proxy must.
func requireFlowsAfterRepair(t *testing.T, fx *fixture, addresses addressBook) {
	t.Helper()
	nft := func(commands string) {
		out, err := fx.Node.Namespace.Output(t.Context(), "nft", commands)
		require.NoError(t, err, out)
	}
	nft("add table inet tracking; add chain inet tracking c { type filter hook prerouting priority 0; }; add rule inet tracking c ct state new counter")
	defer nft("delete table inet tracking")
	nft("delete table ip kpng; delete table ip6 kpng")
	var flows []*cluster.Conn
	for _, family := range []string{"4", "6"} {
		at, found := addresses.find("deleted", "cluster", family, 80, "udp")
		require.True(t, found)
		flow, err := fx.Places["pod3"].Dial(t.Context(), "udp", at)
		require.NoError(t, err)
		defer flow.Close()
		flow.Ask(time.Millisecond)
		flows = append(flows, flow)
	}
	for _, flow := range flows {
		eventually(t, 20*time.Second, "an answer to a UDP flow that began without rules", func() error {
			if a := flow.Ask(100 * time.Millisecond); !strings.HasPrefix(a.Server, "pod1:") {
				return fmt.Errorf("%s from %s", a.Server, flow.RemoteAddr())
			}
			return nil
		})
	}
}

// testLocalhost enables node ports on loopback addresses, which are off by default in
// nftables modes and support TCP only.
func testLocalhost(t *testing.T, fx *fixture, p *proxyUnderTest) {
	if p.mode == "iptables" {
		t.Skip("this mode opens them by default, see DP-60")
	}
	restart := func(extra ...string) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		require.NoError(t, p.process.Stop(ctx))
		p.extra = extra
		p.restart(t, fx)
		fx.barrier(t, syncLimit)
	}
	extra := []string{"--nodeport-addresses=primary,localhost"}
	if p.pkg == controlplane.KubeProxyPackage {
		extra = append(extra, "--feature-gates=KubeProxyNFTablesLocalhostNodePorts=true")
	}
	services := []service{
		of(nodePort, plain("looped", "pod1", "rpod1")),
		edited(of(nodePort, plain("looped-sticky", "pod1", "pod2", "rpod1")), affinity),
	}
	addresses := addressBook{}
	for _, o := range fx.apply(t, nil, services) {
		addresses.add(fx, o)
	}
	restart(extra...)
	expect(t, fx, addresses, "looped", "node loop:80/tcp = pod1 rpod1\nclient nodeport:80 = pod1 rpod1\nclient inner:80 = refused")
	expect(t, fx, addresses, "looped-sticky", "node loop:80/tcp = one pod1 pod2 rpod1")
	restart()
	expect(t, fx, addresses, "looped", "node loop:80/tcp = refused")
	fx.apply(t, services, nil)
}
