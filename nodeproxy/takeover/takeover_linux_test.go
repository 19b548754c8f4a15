// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// inNamespace runs f on a thread in a new network namespace. Commands that f starts are in
// the namespace too. Without the privilege it skips the test, or fails it if
// KPNG_REQUIRE_NETNS is 1.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a network namespace: skipped with -short")
	}
	done, failed := make(chan struct{}), error(nil)
	go func() {
		defer close(done)
		runtime.LockOSThread() // not unlocked, so that the thread ends with the goroutine
		if failed = unix.Unshare(unix.CLONE_NEWNET); failed == nil {
			f()
		}
	}()
	<-done
	if failed != nil && os.Getenv("KPNG_REQUIRE_NETNS") != "1" {
		t.Skipf("needs root to create network namespaces: %v", failed)
	}
	require.NoError(t, failed)
}

// command runs a command in the network namespace of the calling thread.
func command(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s %v: %s", name, args, &stderr)
	return string(out)
}

// save returns the rules of a variant, such as ip6tables-legacy, with their counters.
func save(t *testing.T, variant string) string {
	t.Helper()
	out := command(t, "", variant+"-save", "-c")
	return regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(out, "")
}

// variants are the commands of all variants of iptables.
func variants() []string {
	return []string{"iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft"}
}

// requireVariants skips a test where the commands of iptables are missing.
func requireVariants(t *testing.T) {
	t.Helper()
	for _, variant := range variants() {
		if _, err := exec.LookPath(variant); err != nil {
			if os.Getenv("KPNG_REQUIRE_NETNS") == "1" {
				t.Fatalf("needs %s: %v", variant, err)
			}
			t.Skipf("needs %s, which test/tools.sh installs: %v", variant, err)
		}
	}
}

// loadKubeProxy adds the rules that the real kube-proxy v1.37 wrote in iptables mode. Like
// kube-proxy, it inserts jumps at the beginning of built-in chains. Where the kubelet has
// created KUBE-FIREWALL, kube-proxy adds nothing to it.
func loadKubeProxy(t *testing.T, variant string, withKubelet bool) {
	t.Helper()
	createAccounting(t, "ct_state_invalid_dropped_pkts")
	createAccounting(t, "localhost_nps_accepted_pkts")
	file, _, _ := strings.Cut(variant, "-")
	rules := regexp.MustCompile(`(?m)^-A ([A-Z]+) `).ReplaceAllString(read(t, "testdata/kube-proxy-"+file+".txt"), "-I $1 1 ")
	if withKubelet {
		rules = regexp.MustCompile(`(?m)^.*KUBE-FIREWALL.*\n`).ReplaceAllString(rules, "")
	}
	command(t, rules, variant+"-restore", "--noflush")
	if withKubelet { // iptables-legacy has reset the counters of policies
		policies := regexp.MustCompile(`(?m)^(\*.*|:[A-Z]+ [A-Z].*|COMMIT)\n`).FindAllString(read(t, "testdata/foreign.txt"), -1)
		command(t, strings.Join(policies, ""), variant+"-restore", "--noflush", "--counters")
	}
}

// createAccounting creates an object to which a rule of kube-proxy refers.
func createAccounting(t *testing.T, name string) {
	const newAccounting, nameAttr = unix.NFNL_SUBSYS_ACCT << 8, 1
	req := nl.NewNetlinkRequest(newAccounting, unix.NLM_F_CREATE|unix.NLM_F_ACK)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	req.AddData(nl.NewRtAttr(nameAttr, nl.ZeroTerminated(name)))
	if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); !errors.Is(err, unix.EBUSY) { // it exists
		require.NoError(t, err, "create accounting object %s", name)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(data)
}

// loadForeign loads rules of other programs and the kubelet, with counters.
func loadForeign(t *testing.T, variant string) {
	t.Helper()
	command(t, read(t, "testdata/foreign.txt"), variant+"-restore", "--noflush", "--counters")
	if variant != "ip6tables-nft" { // of Debian 12, which loses the counters
		require.Contains(t, save(t, variant), "[24:1440] -A KUBE-SVCmine -p udp")
	}
}

// cleanup runs Cleanup and returns its log.
func cleanup(t *testing.T) string {
	t.Helper()
	var log strings.Builder
	require.NoError(t, Cleanup(t.Context(), Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	return log.String()
}

func TestChainsOfIPTablesAreRemoved(t *testing.T) {
	requireVariants(t)
	inNamespace(t, func() {
		before := map[string]string{}
		for _, variant := range variants() {
			loadForeign(t, variant)
			before[variant] = save(t, variant)
			loadKubeProxy(t, variant, true)
			require.Greater(t, strings.Count(save(t, variant), "KUBE-"), 150)
		}
		require.Contains(t, cleanup(t), "Removed the rules of kube-proxy")
		for _, variant := range variants() {
			require.Equal(t, before[variant], save(t, variant), variant)
		}
		require.Empty(t, cleanup(t), "a second removal finds nothing")
		for _, variant := range variants() {
			require.Equal(t, before[variant], save(t, variant), variant)
		}
	})
}

// TestChainsInUseAreKept removes what a backend with chains of its own does not use: the other
// variant, and chains of another mode.
func TestChainsInUseAreKept(t *testing.T) {
	requireVariants(t)
	inNamespace(t, func() {
		require.NoError(t, os.WriteFile(routeLocalnet, []byte("1"), 0))
		for _, variant := range variants() {
			loadKubeProxy(t, variant, false)
		}
		before := save(t, "iptables-legacy")
		require.NoError(t, Cleanup(t.Context(), Config{KeepChain: func(variant, _, chain string) bool {
			return variant == "legacy" && chain != "KUBE-PROXY-CANARY"
		}}))
		require.Equal(t, "1\n", read(t, routeLocalnet), "KUBE-FIREWALL of the kept variant protects loopback addresses")
		for _, variant := range []string{"iptables-nft", "ip6tables-nft"} {
			require.NotContains(t, save(t, variant), "KUBE-", variant)
		}
		require.Equal(t, 3, strings.Count(before, "KUBE-PROXY-CANARY"))
		require.Equal(t, regexp.MustCompile(`:KUBE-PROXY-CANARY.*\n`).ReplaceAllString(before, ""), save(t, "iptables-legacy"))
	})
}

// TestTablesOfOtherBackends removes tables that the configuration names, and no others.
func TestTablesOfOtherBackends(t *testing.T) {
	requireVariants(t)
	inNamespace(t, func() {
		for _, table := range []string{"ip mine", "ip6 mine", "ip theirs", "ip6 kube-proxy"} {
			command(t, "", "nft", append([]string{"add", "table"}, strings.Fields(table)...)...)
		}
		require.NoError(t, Cleanup(t.Context(), Config{Tables: []string{"mine"}}))
		require.Equal(t, "table ip theirs\n", command(t, "", "nft", "list", "tables"))
	})
}

// TestNothingIsCreated checks that a removal in an empty namespace creates no tables.
func TestNothingIsCreated(t *testing.T) {
	requireVariants(t)
	inNamespace(t, func() {
		require.Empty(t, cleanup(t))
		require.Empty(t, read(t, "/proc/thread-self/net/ip_tables_names"))
		require.Empty(t, read(t, "/proc/thread-self/net/ip6_tables_names"))
		require.Empty(t, command(t, "", "nft", "list", "ruleset"))
	})
}

// TestFirewallChainWithoutKubelet checks that kube-proxy's copy of the kubelet's chain goes
// only together with the sysctl that makes it necessary.
func TestFirewallChainWithoutKubelet(t *testing.T) {
	requireVariants(t)
	inNamespace(t, func() {
		require.NoError(t, os.WriteFile(routeLocalnet, []byte("1"), 0))
		for _, variant := range variants() {
			loadKubeProxy(t, variant, false)
		}
		var log strings.Builder
		cfg := Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		_, err := removeWith(t.Context(), cfg.withDefaults(), func() error { return unix.EROFS })
		require.NoError(t, err)
		require.Contains(t, log.String(), "Keeping the iptables chain KUBE-FIREWALL")
		for _, variant := range []string{"iptables-legacy", "iptables-nft"} {
			require.Equal(t, 4, strings.Count(save(t, variant), "KUBE-"), "the chain, its rule and two jumps in %s", variant)
		}
		require.Equal(t, "1\n", read(t, routeLocalnet))

		cleanup(t)
		for _, variant := range variants() {
			require.NotContains(t, save(t, variant), "KUBE-", variant)
		}
		require.Equal(t, "0\n", read(t, routeLocalnet))
	})
}

// TestChainsThatOtherRulesUse checks that jumps from user-defined chains stay valid, and
// that they do not prevent the removal of the rest.
func TestChainsThatOtherRulesUse(t *testing.T) {
	requireVariants(t)
	inNamespace(t, func() {
		for _, variant := range variants() {
			loadKubeProxy(t, variant, false)
			command(t, "*nat\n:USER - [0:0]\n-A USER -p tcp -j KUBE-SERVICES\n-A USER -p udp -g KUBE-NODEPORTS\n-A USER -j KUBE-MARK-MASQ\nCOMMIT\n",
				variant+"-restore", "--noflush")
		}
		for range 2 {
			log := cleanup(t)
			for _, variant := range variants() {
				for _, chain := range []string{"KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-MARK-MASQ"} {
					require.Contains(t, log, "Cannot remove what other rules use")
					require.Contains(t, log, variant+" table nat chain "+chain+" (used by USER)")
				}
				require.Equal(t, []string{
					":KUBE-MARK-MASQ - [0:0]", ":KUBE-NODEPORTS - [0:0]", ":KUBE-SERVICES - [0:0]",
					"[0:0] -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
					"[0:0] -A USER -j KUBE-MARK-MASQ", "[0:0] -A USER -p tcp -j KUBE-SERVICES", "[0:0] -A USER -p udp -g KUBE-NODEPORTS",
				}, linesWith(save(t, variant), "KUBE-"), variant)
			}
		}
	})
}

// TestChainInVerdictMap checks a reference that is not a rule's own: the nft variant finds it
// only when the kernel refuses to delete the chain.
func TestChainInVerdictMap(t *testing.T) {
	requireVariants(t)
	inNamespace(t, func() {
		loadKubeProxy(t, "iptables-nft", false)
		command(t, "add map ip nat users { type inet_proto : verdict; elements = { tcp : jump KUBE-SERVICES } }\n", "nft", "-f", "-")
		require.Contains(t, cleanup(t), "iptables-nft table nat chain KUBE-SERVICES (used by a rule or a verdict map)")
		ruleset := command(t, "", "nft", "list", "ruleset")
		require.Equal(t, []string{"chain KUBE-SERVICES {", "elements = { tcp : jump KUBE-SERVICES }"}, linesWith(ruleset, "KUBE-"))
	})
}

// linesWith returns the lines that contain a text, sorted.
func linesWith(text, part string) (lines []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	slices.Sort(lines)
	return lines
}

func TestTablesOfNFTablesModeAreRemoved(t *testing.T) {
	requireVariants(t)
	inNamespace(t, func() {
		command(t, "add table ip other\nadd table inet kube-proxy\n", "nft", "-f", "-")
		before := command(t, "", "nft", "list", "ruleset")
		command(t, "add table ip kube-proxy\nadd table ip6 kube-proxy\nadd chain ip kube-proxy services\n", "nft", "-f", "-")
		require.Contains(t, cleanup(t), "nftablesTables=2")
		require.Equal(t, before, command(t, "", "nft", "list", "ruleset"))
	})
}

// TestFailureOfOneVariant holds the lock of iptables-legacy: the rest is removed, the error
// names what is not, and the next removal finds it.
func TestFailureOfOneVariant(t *testing.T) {
	requireVariants(t)
	inNamespace(t, func() {
		for _, variant := range variants() {
			loadKubeProxy(t, variant, false)
		}
		lock, err := os.OpenFile("/run/xtables.lock", os.O_CREATE|os.O_RDONLY, 0o600)
		require.NoError(t, err)
		defer lock.Close()
		require.NoError(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		err = Cleanup(ctx, Config{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "iptables-legacy: table nat: lock /run/xtables.lock: another program holds it")
		require.ErrorContains(t, err, "ip6tables-legacy: table filter: lock /run/xtables.lock")
		require.NotContains(t, save(t, "iptables-nft"), "KUBE-")
		require.NotContains(t, save(t, "ip6tables-nft"), "KUBE-")
		require.Contains(t, save(t, "iptables-legacy"), "KUBE-")

		require.NoError(t, lock.Close())
		require.NotEmpty(t, cleanup(t))
		for _, variant := range variants() {
			require.NotContains(t, save(t, variant), "KUBE-", variant)
		}
	})
}
