// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

// requireNftEnv is an environment variable. If it is set, a missing version of nft is an error.
const requireNftEnv = "KPNG_REQUIRE_NFT_VERSIONS"

// nftOf returns the nft of a Debian suite, which test/nft-versions.sh installs. It skips the
// test if that has not run.
func nftOf(t *testing.T, suite string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	path := filepath.Join(cache, "kpng-test", "nft", suite, "nft")
	if _, err := os.Stat(path); err != nil {
		if os.Getenv(requireNftEnv) != "" {
			t.Fatalf("%s is set, but test/nft-versions.sh has not installed the nft of %s: %v", requireNftEnv, suite, err)
		}
		t.Skipf("test/nft-versions.sh has not installed the nft of %s: %v", suite, err)
	}
	return path
}

// hostFirewall stands for the rules of other programs in the same file.
const hostFirewall = `
table inet host {
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		meta mark set 0x1230
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct direction original meta mark & 0xbfff != 0x1230 drop
	}
}
`

// savedServices returns Services with all that leads to rules, maps and sets of their own.
func savedServices(ip ipFamily) []*localsink.Service {
	external := newFrontend(localsink.KindLoadBalancer, ip.vip(3, 80), localsink.Route{From: localsink.FromLocalPods},
		localsink.Route{From: localsink.FromThisNode, Pool: 1}, localsink.Route{Pool: 1, Masquerade: true})
	external.SourceRanges = []netip.Prefix{netip.PrefixFrom(ip.client, ip.client.BitLen())}
	nodePort := newFrontend(localsink.KindNodePort, net.JoinHostPort(ip.unspecified, "30081"),
		localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Masquerade: true})
	plain := newTCPAndUDPService("plain", []localsink.Pool{newLocalPool(ip.pod(0), ip.pod(1), ip.pod(2)), newLocalPool(ip.pod(1), ip.pod(2))},
		newFrontend(localsink.KindClusterIP, ip.vip(4, 80)), external, nodePort)
	empty := newTCPAndUDPService("empty", []localsink.Pool{{}}, newFrontend(localsink.KindClusterIP, ip.vip(5, 80)),
		newFrontend(localsink.KindExternalIP, ip.vip(6, 80), localsink.Route{EmptyVerdict: localsink.VerdictDrop}))
	// Neither pool contains the other, so there are indexes of slots.
	pools := affinityService(ip, time.Hour, 0, 1, 2)
	pools.Name.Name = "pools"
	for i := range pools.Ports {
		p := &pools.Ports[i]
		p.Pools = append(p.Pools[:1:1], newLocalPool(ip.pod(2), ip.pod(3)))
		p.Frontends = []localsink.Frontend{newFrontend(localsink.KindClusterIP, ip.vip(7, 80)),
			newFrontend(localsink.KindExternalIP, ip.vip(8, 80), localsink.Route{Pool: 1, Masquerade: true})}
	}
	refusing := newTCPAndUDPService("refusing", []localsink.Pool{newLocalPool(ip.pod(0), ip.pod(1)), {}},
		newFrontend(localsink.KindClusterIP, ip.vip(13, 80)), newFrontend(localsink.KindExternalIP, ip.vip(14, 80), localsink.Route{Pool: 1, EmptyVerdict: localsink.VerdictPass}))
	for i := range refusing.Ports {
		refusing.Ports[i].RefusedPerMille = 500
		refusing.Ports[i].Pools[0].Endpoints[1].Weight = 3
	}
	sticky := affinityService(ip, time.Hour, 0, 1, 2)
	sticky.Name.Name = "sticky"
	for i := range sticky.Ports {
		p := &sticky.Ports[i]
		p.RefusedPerMille = 500
		p.Pools = append(p.Pools[:1:1], newLocalPool(ip.pod(2), ip.pod(3)))
		p.Frontends = []localsink.Frontend{newFrontend(localsink.KindClusterIP, ip.vip(15, 80)), newFrontend(localsink.KindExternalIP, ip.vip(16, 80), localsink.Route{Pool: 1})}
	}
	client, flow := consistentService(ip, localsink.SelectionClient, weightedPool(ip, 1, 1, 2)), consistentService(ip, localsink.SelectionFlow, weightedPool(ip, 1, 1, 2))
	client.Name.Name, flow.Name.Name = "client", "flow"
	for i := range client.Ports {
		client.Ports[i].Frontends = []localsink.Frontend{newFrontend(localsink.KindClusterIP, ip.vip(17, 80))}
		flow.Ports[i].Frontends = []localsink.Frontend{newFrontend(localsink.KindClusterIP, ip.vip(18, 80))}
	}
	hairpin := newTCPAndUDPService("hairpin", []localsink.Pool{newLocalPool(ip.pod(0))}, newFrontend(localsink.KindClusterIP, ip.vip(9, 80)))
	return []*localsink.Service{plain, empty, refusing, sticky, client, flow, hairpin, affinityService(ip, time.Hour, 0, 1, 2), pools}
}

// requireService checks the packets of savedServices. held are the endpoints that the client has
// by affinity; those of new clients are added.
func (w *testbed) requireService(ip ipFamily, held map[string]string) {
	w.t.Helper()
	w.clearUDPFlows()
	pod := netip.MustParseAddrPort(ip.pod(0)).Addr().String()
	for _, network := range networks() {
		plain := map[string]bool{}
		for range 40 {
			plain[w.endpointFor(w.client, network, "", ip.vip(4, 80))] = true
		}
		require.Len(w.t, plain, 3, "endpoints of the ClusterIP")
		g, err := w.request(w.client, network, "", ip.vip(3, 80))
		require.NoError(w.t, err)
		require.Equal(w.t, ip.gateway, g.client, "masqueraded")
		require.NotEqual(w.t, ip.pod(0), g.server)
		w.requireSilent(w.otherPod, network, ip.vip(3, 80)) // not in the source ranges
		g, err = w.request(w.client, network, "", net.JoinHostPort(ip.node, "30081"))
		require.NoError(w.t, err)
		require.Equal(w.t, ip.gateway, g.client, "masqueraded")
		w.requireRefused(w.client, network, "", ip.vip(5, 80))
		w.requireRefused(w.client, network, "", ip.vip(4, 81))
		w.requireSilent(w.client, network, ip.vip(6, 80))
		for i, addr := range []string{ip.vip(1, 80), ip.vip(2, 80), ip.vip(7, 80), ip.vip(8, 80)} {
			key := network + addr
			for range 8 {
				g, err := w.request(w.client, network, "", addr)
				require.NoError(w.t, err)
				if held[key] == "" {
					held[key] = g.server
				}
				require.Equal(w.t, held[key], g.server, "affinity of %s", key)
				require.Equal(w.t, map[bool]netip.Addr{true: ip.gateway, false: ip.client}[i%2 == 1], g.client, "masquerading of %s", key)
			}
			if i == 2 {
				delete(held, key) // the next frontend has another pool and may change the entry
			}
		}
		delete(held, network+ip.vip(8, 80))
		for addr, s := range map[string]localsink.Selection{ip.vip(17, 80): localsink.SelectionClient, ip.vip(18, 80): localsink.SelectionFlow} {
			for range 5 {
				client, server := w.requestFrom(network, "", addr)
				require.Equal(w.t, predict(s, weightedPool(ip, 1, 1, 2), client), server)
			}
		}
		w.requireResponse(w.pods, network, pod, ip.vip(9, 80), response{ip.gateway, ip.pod(0)})
	}
}

// variable matches what differs between two listings of the same rules.
var variable = regexp.MustCompile(` expires [0-9dhms]+|\s*# count \d+|packets \d+ bytes \d+`)

func TestSavedRulesetLoads(t *testing.T) {
	for _, suite := range []string{"bookworm", "trixie", "sid"} {
		t.Run(suite, func(t *testing.T) { testSavedRuleset(t, suite, Config{}) })
		t.Run(suite+" counted", func(t *testing.T) { testSavedRuleset(t, suite, Config{CountConnections: true}) })
	}
}

func testSavedRuleset(t *testing.T, suite string, cfg Config) {
	nft := nftOf(t, suite)
	w := newTestbed(t)
	require.NoError(t, w.backend.Close())
	w.cfg = cfg
	w.backend = w.newBackend()
	run := func(args ...string) string {
		out, err := w.node.Command(nft, args...)
		require.NoError(t, err)
		return out
	}
	for _, ip := range ipFamilies() {
		for i := range 4 {
			w.startServers(w.pods, ip.pod(i))
		}
	}
	var services []*localsink.Service
	for _, ip := range ipFamilies() {
		for _, s := range savedServices(ip) {
			s.Name.Name += ip.name
			services = append(services, s)
		}
	}
	w.sync(services...)
	file := filepath.Join(t.TempDir(), "rules.nft")
	require.NoError(t, os.WriteFile(file, []byte(hostFirewall), 0o600))
	run("-f", file)
	held := []map[string]string{{}, {}}
	for i, ip := range ipFamilies() {
		w.requireService(ip, held[i])
	}
	require.NoError(t, w.backend.Close())

	saved := run("list", "ruleset")
	run("flush", "ruleset")
	require.NoError(t, os.WriteFile(file, []byte(saved), 0o600))
	run("-f", file)
	loaded := run("list", "ruleset")
	want, got := linesOf(saved), linesOf(loaded)
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i], got[i], "line %d", i+1)
	}
	for i, ip := range ipFamilies() {
		w.requireService(ip, held[i])
	}

	// A backend that starts afterwards replaces the tables and keeps the affinity.
	w.backend = w.newBackend()
	w.sync(services...)
	for i, ip := range ipFamilies() {
		w.requireService(ip, held[i])
	}
	cfg.Table = "fresh"
	fresh := backendIn(t, w.node, cfg)
	require.NoError(t, fresh.Sync(context.Background(), firstUpdate(testNode(), services...)))
	for _, family := range []string{"ip", "ip6"} {
		require.Equal(t, listTable(t, w.node, family, "fresh").nonEmpty(), listTable(t, w.node, family, "kpng").nonEmpty())
	}
}

// linesOf returns the lines of a listing without what varies.
func linesOf(listing string) []string {
	return strings.Split(variable.ReplaceAllString(listing, ""), "\n")
}

// nft 0.9.8 loads no map in which key and data are concatenations of different types. The rules of
// other programs load if the tables of the backend are taken out, as docs/operating.md describes.
func TestOldNftLoadsRulesetWithoutTables(t *testing.T) {
	nft := nftOf(t, "bullseye")
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), append(savedServices(ipFamilies()[0]), clusterIPService(99))...)))
	require.NoError(t, b.Close())
	file := filepath.Join(t.TempDir(), "rules.nft")
	load := func(text string) error {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := ns.Command(nft, "-f", file)
		return err
	}
	require.NoError(t, load(hostFirewall))
	saved, err := ns.Command(nft, "list", "ruleset")
	require.NoError(t, err)
	_, err = ns.Command(nft, "flush", "ruleset")
	require.NoError(t, err)
	require.ErrorContains(t, load(saved), "datatype mismatch", "if this version loads the tables now, correct docs/operating.md")
	withoutTables, err := ns.Command("sh", "-c", `awk '/^table ip6? kpng /{skip=1} !skip; /^}/{skip=0}' `+file)
	require.NoError(t, err)
	require.NoError(t, load(withoutTables))
	out, err := ns.Command(nft, "list", "ruleset")
	require.NoError(t, err)
	require.Contains(t, out, "table inet host")
	require.NotContains(t, out, "kpng")
}
