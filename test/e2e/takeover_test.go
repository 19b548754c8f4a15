// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/test/cluster"
)

// leftovers returns the lines about kube-proxy's chains and tables in both variants of
// iptables and in nf_tables.
func (fx *fixture) leftovers(t *testing.T) (lines []string) {
	t.Helper()
	for _, command := range []string{"iptables-legacy-save", "ip6tables-legacy-save", "iptables-nft-save", "ip6tables-nft-save", "nft list tables"} {
		words := strings.Fields(command)
		out, err := fx.Node.Namespace.Output(t.Context(), words[0], words[1:]...)
		require.NoError(t, err)
		for line := range strings.Lines(out) {
			if strings.Contains(line, "KUBE-") || strings.Contains(line, "kube-proxy") {
				lines = append(lines, command+": "+strings.TrimSpace(line))
			}
		}
	}
	return lines
}

// removed waits until kube-proxy has left nothing.
func (fx *fixture) removed(t *testing.T) {
	t.Helper()
	eventually(t, syncLimit, "the rules of kube-proxy are removed", func() error {
		if lines := fx.leftovers(t); len(lines) > 0 {
			return fmt.Errorf("%d lines, such as %s", len(lines), lines[0])
		}
		return nil
	})
}

// TestTakeoverKeepsConnections swaps kube-proxy and the proxy of this project in both
// directions under traffic. No exchange fails, and in the end nothing is left of either.
func TestTakeoverKeepsConnections(t *testing.T) {
	fx := newFixture(t)
	ours, inNFTables, inIPTables := proxies()[0], proxies()[1], proxies()[2]
	for _, p := range []*proxyUnderTest{ours, inNFTables, inIPTables} {
		p.build(t, fx)
	}
	services := []service{open("swap", "51", nil, "pod1", "pod2")}
	stale := []service{plain("stale", "pod1")}
	addresses := addressBook{}
	for _, o := range fx.apply(t, nil, append(services, stale...)) {
		addresses.add(fx, o)
	}
	stop := func(p *proxyUnderTest) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		require.NoError(t, p.process.Stop(ctx))
	}

	inIPTables.start(t, fx)
	fx.barrier(t, syncLimit)
	require.NotEmpty(t, fx.leftovers(t))
	traffic := startLoad(t, fx, addresses, "swap", fmt.Sprintf(allClientsProbes, "/tcp"))
	defer traffic.stop()
	traffic.await(t, 500)
	stop(inIPTables)

	for i, p := range []*proxyUnderTest{ours, inNFTables, ours} {
		if p.process == nil {
			p.start(t, fx)
		} else {
			p.restart(t, fx)
		}
		fx.barrier(t, syncLimit)
		traffic.await(t, 500)
		if p == ours {
			fx.removed(t)
		} else {
			require.NotEmpty(t, fx.leftovers(t))
		}
		traffic.await(t, 500)
		if i == 0 { // the chains of kube-proxy would still answer
			fx.apply(t, stale, nil)
			fx.barrier(t, syncLimit)
			expect(t, fx, addresses, "stale", "pod3 cluster:80/tcp = timeout")
		}
		if i < 2 {
			stop(p)
		}
	}
	traffic.end(t)
	fx.apply(t, services, nil)

	ours.clean(t, fx)
	require.Empty(t, fx.leftovers(t))
	ruleset, err := fx.Node.Namespace.Output(t.Context(), "nft", "list", "ruleset")
	require.NoError(t, err)
	require.NotContains(t, ruleset, "kpng")
	canary := netip.AddrPortFrom(fx.canary.addrs[0], uint16(1000+fx.canary.count))
	require.Equal(t, cluster.Timeout, fx.Places["pod3"].Probe(t.Context(), "tcp", canary, 500*time.Millisecond).Server)
}
