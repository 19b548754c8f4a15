// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
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

// removed waits until nothing of kube-proxy is left. The second look is after a minute, if
// kube-proxy has restored its rules before it ended.
func (fx *fixture) removed(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute+syncLimit, "the rules of kube-proxy are removed", func() error {
		if lines := fx.leftovers(t); len(lines) > 0 {
			return fmt.Errorf("%d lines, such as %s", len(lines), lines[0])
		}
		return nil
	})
}

// A swap is a sequence of proxies on one node under traffic.
type swap struct {
	*fixture
	traffic *load
	running *proxyUnderTest
}

// to starts a proxy, and a moment later stops the one that ran before, whose rules stay.
func (s *swap) to(t *testing.T, p *proxyUnderTest) {
	t.Helper()
	if p.process == nil {
		p.start(t, s.fixture)
	} else {
		p.restart(t, s.fixture)
	}
	if s.running != nil {
		s.barrier(t, syncLimit)
		s.traffic.await(t, 300)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		require.NoError(t, s.running.process.Stop(ctx))
	}
	s.running = p
	s.barrier(t, syncLimit)
	if s.traffic != nil {
		s.traffic.await(t, 300)
	}
}

// after starts a proxy after the one that ran before has ended, whose rules stay, as a restart
// with another configuration does.
func (s *swap) after(t *testing.T, p *proxyUnderTest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, s.running.process.Stop(ctx))
	s.running = nil
	s.to(t, p)
	s.traffic.await(t, 500)
}

// TestChangeOfModeKeepsConnections changes the mode of this project's proxy under traffic. The
// chains of the real kube-proxy's iptables mode are taken over in place. No exchange fails, and
// after each change nothing of the former mode is left.
func TestChangeOfModeKeepsConnections(t *testing.T) {
	s := &swap{fixture: newFixture(t)}
	inNFTables, theirs, inIPTables := proxies()[0], proxies()[2], proxies()[3]
	for _, p := range []*proxyUnderTest{inNFTables, theirs, inIPTables} {
		p.build(t, s.fixture)
	}
	services := []service{open("swap", "51", nil, "pod1", "pod2")}
	stale := []service{plain("stale", "pod1")}
	addresses := addressBook{}
	for _, o := range s.apply(t, nil, append(services, stale...)) {
		addresses.add(s.fixture, o)
	}
	s.to(t, theirs)
	s.traffic = startLoad(t, s.fixture, addresses, "swap", fmt.Sprintf(allClientsProbes, "/tcp"))
	defer s.traffic.stop()

	s.after(t, inIPTables)
	s.apply(t, stale, nil) // the chains of kube-proxy would still answer
	s.barrier(t, syncLimit)
	expect(t, s.fixture, addresses, "stale", "pod3 cluster:80/tcp = timeout")
	require.Empty(t, s.tables(t))

	s.after(t, inNFTables)
	s.removed(t)
	require.NotEmpty(t, s.tables(t))

	s.after(t, inIPTables)
	eventually(t, syncLimit, "the tables of the mode nftables are removed", func() error {
		if tables := s.tables(t); tables != "" {
			return fmt.Errorf("left: %s", tables)
		}
		return nil
	})
	s.traffic.await(t, 500)
	s.traffic.end(t)
	s.apply(t, services, nil)
	testCleanupWithAnyConfiguration(t, s.fixture, inIPTables)
}

// tables returns the lines about tables of this project's mode nftables.
func (fx *fixture) tables(t *testing.T) (lines string) {
	t.Helper()
	out, err := fx.Node.Namespace.Output(t.Context(), "nft", "list", "tables")
	require.NoError(t, err)
	for line := range strings.Lines(out) {
		if strings.Contains(line, "kpng") {
			lines += line
		}
	}
	return lines
}

// TestTakeoverKeepsConnections swaps each mode of the real kube-proxy and the proxy of this
// project, in both directions, under traffic. No exchange fails, after each takeover nothing
// of kube-proxy is left, and in the end nothing of either.
func TestTakeoverKeepsConnections(t *testing.T) {
	s := &swap{fixture: newFixture(t)}
	ours, inNFTables, inIPTables := proxies()[0], proxies()[1], proxies()[2]
	for _, p := range []*proxyUnderTest{ours, inNFTables, inIPTables} {
		p.build(t, s.fixture)
	}
	inLegacy := &proxyUnderTest{name: "kube-proxy-iptables-legacy", mode: "iptables", path: withLegacyIPTables(t, inIPTables.path)}
	services := []service{open("swap", "51", nil, "pod1", "pod2")}
	stale := []service{plain("stale", "pod1")}
	addresses := addressBook{}
	for _, o := range s.apply(t, nil, append(services, stale...)) {
		addresses.add(s.fixture, o)
	}

	s.to(t, inIPTables)
	s.traffic = startLoad(t, s.fixture, addresses, "swap", fmt.Sprintf(allClientsProbes, "/tcp"))
	defer s.traffic.stop()
	s.traffic.await(t, 500)
	require.NotEmpty(t, s.leftovers(t))
	s.to(t, ours)
	s.removed(t)
	s.apply(t, stale, nil) // the chains of kube-proxy would still answer
	s.barrier(t, syncLimit)
	expect(t, s.fixture, addresses, "stale", "pod3 cluster:80/tcp = timeout")

	s.to(t, inNFTables)
	for _, family := range []string{"ip", "ip6"} {
		out, err := s.Node.Namespace.Output(t.Context(), "nft", "delete", "table", family, "kpng")
		require.NoError(t, err, out)
	}
	s.traffic.await(t, 500)
	for _, o := range s.apply(t, nil, stale) {
		addresses.add(s.fixture, o)
	}
	expect(t, s.fixture, addresses, "stale", "pod3 cluster:80/tcp = pod1")
	s.to(t, ours)
	s.removed(t)

	s.to(t, inLegacy)
	legacy, err := s.Node.Namespace.Output(t.Context(), "iptables-legacy-save")
	require.NoError(t, err)
	require.Contains(t, legacy, "KUBE-SVC-")
	s.to(t, ours)
	s.removed(t)
	s.traffic.await(t, 500)
	s.traffic.end(t)
	s.apply(t, append(services, stale...), nil)
	testCleanupWithAnyConfiguration(t, s.fixture, ours)
}

// testCleanupWithAnyConfiguration checks that a cleanup leaves nothing of either proxy,
// whatever the configuration file contains.
func testCleanupWithAnyConfiguration(t *testing.T, fx *fixture, p *proxyUnderTest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, p.process.Stop(ctx))
	file := filepath.Join(t.TempDir(), "config.yaml")
	for _, mode := range []string{"iptables", "ipvs", "nftables", "", "unknown"} {
		require.NoError(t, os.WriteFile(file, []byte(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: "`+mode+`"
bindAddress: invalid
clusterCIDR: invalid
conntrack: {maxPerCore: -1}
`), 0o600))
		out, err := fx.Node.Namespace.Output(ctx, p.path, "--cleanup", "--config", file)
		require.NoError(t, err, "mode %q: %s", mode, out)
	}
	require.Empty(t, fx.leftovers(t))
	ruleset, err := fx.Node.Namespace.Output(ctx, "nft", "list", "ruleset")
	require.NoError(t, err)
	require.NotContains(t, ruleset, "kpng")
	canary := netip.AddrPortFrom(fx.canary.addrs[0], uint16(1000+fx.canary.count))
	require.Equal(t, cluster.Timeout, fx.Places["pod3"].Probe(ctx, "tcp", canary, 500*time.Millisecond).Server)
}
