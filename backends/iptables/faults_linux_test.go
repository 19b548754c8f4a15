// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// forVariants runs a test with a backend of each variant.
func forVariants(t *testing.T, cfg Config, test func(t *testing.T, b *backendInNamespace, d *sinktest.Driver)) {
	for _, v := range variants() {
		t.Run(string(v), func(t *testing.T) {
			cfg := cfg
			cfg.Variant = v
			b := backendIn(t, netnstest.New(t), cfg)
			test(t, b, &sinktest.Driver{Sink: b, Node: goldenNode()})
		})
	}
}

func TestMissingCommandIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, v := range variants() {
		_, err := New(Config{Variant: v})
		require.ErrorIs(t, err, exec.ErrNotFound)
		require.ErrorContains(t, err, "iptables-"+string(v))
	}
	_, err := New(Config{})
	require.ErrorContains(t, err, "no usable variant")
	require.NoError(t, Cleanup(Config{}), "without commands there is nothing to remove")
}

// Another program holds the lock: Sync reports it, changes nothing, and succeeds afterwards.
func TestHeldLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	t.Setenv("XTABLES_LOCKFILE", path)
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{Variant: VariantLegacy, LockTimeout: time.Second})
	d := &sinktest.Driver{Sink: b, Node: goldenNode()}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(web("10.0.0.1:80"))))
	before := savedRules(t, ns, VariantLegacy)

	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	require.NoError(t, unix.Flock(int(file.Fd()), unix.LOCK_EX))
	require.ErrorContains(t, d.Sync(t.Context(), sinktest.NewState(web("10.0.0.2:80"))), "xtables lock")
	require.Equal(t, before, savedRules(t, ns, VariantLegacy))
	require.Empty(t, b.NotProgrammed())

	require.NoError(t, file.Close())
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(web("10.0.0.2:80"))))
	require.Contains(t, savedRules(t, ns, VariantLegacy), "10.0.0.2:80")
}

// tooLong is more seconds than the option --seconds accepts.
const tooLong = 200 * 365 * 24 * time.Hour

// iptables-restore refuses one Service: the others are served, and it is named.
func TestRefusedService(t *testing.T) {
	forVariants(t, Config{}, func(t *testing.T, b *backendInNamespace, d *sinktest.Driver) {
		var all []*localsink.Service
		for i := range 9 {
			s := service(fmt.Sprint("s", i), localsink.Port{
				Frontends: []localsink.Frontend{frontendOf(localsink.KindClusterIP, fmt.Sprintf("10.96.0.%d:80", i+1), localsink.Route{})},
				Pools:     []localsink.Pool{endpoints(fmt.Sprintf("10.0.0.%d:80", i+1))},
			})
			all = append(all, s)
		}
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(all...)))
		require.Empty(t, b.NotProgrammed())

		refused := *all[4]
		refused.Ports = []localsink.Port{refused.Ports[0]}
		refused.Ports[0].Affinity = tooLong
		all[4] = &refused
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(all...)))
		require.Contains(t, b.NotProgrammed(), refused.Name)
		require.Len(t, b.NotProgrammed(), 1)
		rules := savedRules(t, b.ns, b.Variant())
		require.Contains(t, rules, "10.0.0.4:80")
		require.Contains(t, rules, "10.0.0.9:80")
		require.NotContains(t, rules, "10.0.0.5:80")
		require.NotContains(t, rules, prefixProbe)

		all[4] = service("s4", localsink.Port{
			Frontends: []localsink.Frontend{frontendOf(localsink.KindClusterIP, "10.96.0.5:80", localsink.Route{})},
			Pools:     []localsink.Pool{endpoints("10.0.0.5:80")},
		})
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(all...)))
		require.Empty(t, b.NotProgrammed())
		require.Contains(t, savedRules(t, b.ns, b.Variant()), "10.0.0.5:80")
	})
}

// The end of the context ends a running command.
func TestContextEndsCommands(t *testing.T) {
	script := filepath.Join(t.TempDir(), "restore")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\nexec sleep 600\n"), 0o755))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	p := &programs{restore: script, wait: time.Second}
	err := p.apply(ctx, []byte("*nat\n"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, isRefusal(err))
}

func TestInvalidPartsAreReported(t *testing.T) {
	r, _ := goldenRenderer(ipv4())
	s := service("bad", localsink.Port{
		Frontends: []localsink.Frontend{frontendOf(localsink.KindClusterIP, "10.96.0.1:80", localsink.Route{Pool: 3}), frontendOf(localsink.KindClusterIP, "10.96.0.1:81", localsink.Route{})},
		Pools:     []localsink.Pool{endpoints("10.0.0.1:80")},
	})
	rendered := r.render(s)
	require.Len(t, rendered.problems, 1)
	require.ErrorContains(t, rendered.problems[0], "ports[0].frontends[0]: ClusterIP 10.96.0.1:80/TCP: routes[0].pool: 3 is out of range [0,1)")
	require.Len(t, rendered.chains, 1, "the other frontend is served")
}

// Whatever another program removes, the backend requests a resync, which restores it.
func TestDriftIsRepaired(t *testing.T) {
	forVariants(t, Config{PollInterval: 10 * time.Millisecond}, func(t *testing.T, b *backendInNamespace, d *sinktest.Driver) {
		state := sinktest.NewState(goldenServices()...)
		require.NoError(t, d.Sync(t.Context(), state))
		want := savedRules(t, b.ns, b.Variant())
		for _, args := range []string{"-t nat -F", "-t filter -F", "-t nat -F PREROUTING", "-t mangle -F"} {
			b.ns.Do(func() error {
				return exec.Command("iptables-"+string(b.Variant()), append([]string{"-w"}, strings.Fields(args)...)...).Run()
			})
			select {
			case <-b.ResyncRequested():
			case <-time.After(20 * time.Second):
				require.Fail(t, "no resync was requested after "+args)
			}
			require.False(t, b.DriftedSince().IsZero())
			require.NoError(t, d.Sync(t.Context(), state))
			require.True(t, b.DriftedSince().IsZero())
			require.Equal(t, want, savedRules(t, b.ns, b.Variant()), args)
		}
	})
}

// Rules that another program removes between the end of a write and the reading of the kernel's
// numbers are missed by these numbers.
func TestDriftDuringWriteIsDetected(t *testing.T) {
	forVariants(t, Config{PollInterval: 10 * time.Millisecond}, func(t *testing.T, b *backendInNamespace, d *sinktest.Driver) {
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(goldenServices()...)))
		b.watcher.beginWrite()
		b.ns.Do(func() error { return exec.Command("iptables-"+string(b.Variant()), "-w", "-t", "nat", "-F").Run() })
		b.ns.Do(b.watcher.rememberWrite)
		select {
		case <-b.ResyncRequested():
		case <-time.After(20 * time.Second):
			require.Fail(t, "no resync was requested")
		}
	})
}

func TestCleanupRemovesEverything(t *testing.T) {
	forVariants(t, Config{LocalhostNodePorts: true}, func(t *testing.T, b *backendInNamespace, d *sinktest.Driver) {
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(goldenServices()...)))
		for range 2 {
			b.ns.Do(func() error { return Cleanup(Config{Variant: b.Variant()}) })
		}
		rules := strings.ReplaceAll(savedRules(t, b.ns, b.Variant()), "KUBE-FIREWALL", "")
		require.NotContains(t, rules, "KUBE-")
	})
}

// kubeProxyRules are rules as kube-proxy leaves them, and one of another program.
const kubeProxyRules = `*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]
:KUBE-SVC-BBBBBBBBBBBBBBBB - [0:0]
:OTHER - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -j OTHER
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-CDGGSHYLG3RE2FKL
-A KUBE-SERVICES -d 10.96.0.99/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-BBBBBBBBBBBBBBBB
-A KUBE-SVC-CDGGSHYLG3RE2FKL -j KUBE-SEP-AAAAAAAAAAAAAAAA
-A KUBE-SVC-BBBBBBBBBBBBBBBB -j KUBE-SEP-AAAAAAAAAAAAAAAA
-A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m tcp -j DNAT --to-destination 10.0.0.1:80
-A OTHER -d 192.0.2.1/32 -j RETURN
COMMIT
*filter
:KUBE-FORWARD - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
COMMIT
`

// The first Sync replaces rules of kube-proxy, and leaves those of others.
func TestTakeoverFromKubeProxy(t *testing.T) {
	forVariants(t, Config{}, func(t *testing.T, b *backendInNamespace, d *sinktest.Driver) {
		p, err := findPrograms(ipv4(), b.Variant(), time.Second)
		require.NoError(t, err)
		b.ns.Do(func() error { return p.apply(t.Context(), []byte(kubeProxyRules)) })
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(web("10.0.0.7:80"))))
		rules := savedRules(t, b.ns, b.Variant())
		require.NotContains(t, rules, "KUBE-SEP-")
		require.NotContains(t, rules, "KUBE-SVC-BBBBBBBBBBBBBBBB")
		require.Contains(t, rules, "-A OTHER -d 192.0.2.1/32 -j RETURN")
		require.Contains(t, rules, "-A PREROUTING -j OTHER")
		require.Contains(t, rules, "-A INPUT -j KUBE-FIREWALL")
		require.Equal(t, 1, strings.Count(ipv4Part(rules), `-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES`))
		require.Contains(t, rules, "-A KUBE-SVC-CDGGSHYLG3RE2FKL -p tcp -j DNAT --to-destination 10.0.0.7:80")
	})
}

// A kube-proxy that starts later empties KUBE-SERVICES and deletes all chains with the prefixes of
// its own. That must succeed, although it does not know the dispatch chains.
func TestKubeProxyTakesBack(t *testing.T) {
	forVariants(t, Config{}, func(t *testing.T, b *backendInNamespace, d *sinktest.Driver) {
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(goldenServices()...)))
		p, err := findPrograms(ipv4(), b.Variant(), time.Second)
		require.NoError(t, err)
		var present map[string]*savedTable
		b.ns.Do(func() error {
			present, err = p.read(t.Context())
			return err
		})
		var in restoreInput
		in.begin(tableNAT)
		for _, name := range []string{chainServices, chainNodePorts, chainPostrouting, chainMarkMasq} {
			in.declare(name)
		}
		stale := slices.DeleteFunc(present[tableNAT].chains, func(name string) bool { return !isServiceChain(name) })
		require.Greater(t, len(stale), buckets)
		for _, name := range stale {
			in.declare(name)
		}
		for _, name := range stale {
			in.deleteChain(name)
		}
		in.commit()
		b.ns.Do(func() error { return p.apply(t.Context(), in.Bytes()) })
		require.NotContains(t, ipv4Part(savedRules(t, b.ns, b.Variant())), "KUBE-SVC-")
	})
}

// Without a configured variant the backend uses the one that has rules of Kubernetes.
func TestVariantIsDetected(t *testing.T) {
	for _, v := range variants() {
		requirePrograms(t, v)
		ns := netnstest.New(t)
		p, err := findPrograms(ipv4(), v, time.Second)
		require.NoError(t, err)
		ns.Do(func() error { return p.apply(t.Context(), []byte(kubeProxyRules)) })
		ns.Do(func() error {
			b, err := New(Config{})
			if err != nil {
				return err
			}
			require.Equal(t, v, b.Variant())
			return b.Close()
		})
	}
}

// A refused Service is tried by itself after a while, and then programmed if it is accepted.
func TestRefusedServiceIsRetried(t *testing.T) {
	forVariants(t, Config{}, func(t *testing.T, b *backendInNamespace, d *sinktest.Driver) {
		state := sinktest.NewState(web("10.0.0.1:80"))
		require.NoError(t, d.Sync(t.Context(), state))
		st := b.families[0]
		delete(st.applied, web().Name)
		st.refused, st.retried = map[localsink.ServiceName]error{web().Name: errClosed}, time.Now()
		require.NoError(t, d.Sync(t.Context(), state))
		require.NotEmpty(t, b.NotProgrammed(), "it is not time yet")
		b.ns.Do(func() error {
			return st.load(t.Context(), sinktest.NewUpdate(goldenNode(), nil, sinktest.NewState()), nil)
		})
		st.refused, st.retried = map[localsink.ServiceName]error{web().Name: errClosed}, time.Time{}
		require.NoError(t, d.Sync(t.Context(), state))
		require.Empty(t, b.NotProgrammed())
		require.Contains(t, savedRules(t, b.ns, b.Variant()), "10.0.0.1:80")
	})
}

// TestRefusedServicesAreTriedTogether: those with the same reason are programmed at once when it ends; of
// those with several, one is tried at a time, after all changes.
func TestRefusedServicesAreTriedTogether(t *testing.T) {
	forVariants(t, Config{}, func(t *testing.T, b *backendInNamespace, d *sinktest.Driver) {
		one, two, three := web("10.0.0.1:80"), web("10.0.0.2:80"), web("10.0.0.3:80")
		two.Name.Name, three.Name.Name = "web-2", "web-3"
		two.Ports[0].Frontends[0].Addr, three.Ports[0].Frontends[0].Addr = netip.MustParseAddrPort("10.96.7.2:80"), netip.MustParseAddrPort("10.96.7.3:80")
		all := sinktest.NewState(one, two, three)
		require.NoError(t, d.Sync(t.Context(), all))
		st := b.families[0]
		refuse := func(services ...*localsink.Service) {
			b.ns.Do(func() error {
				return st.load(t.Context(), sinktest.NewUpdate(goldenNode(), nil, sinktest.NewState()), nil)
			})
			for _, s := range services {
				delete(st.applied, s.Name)
				st.refused[s.Name] = errClosed
			}
			st.retried = time.Time{}
		}
		refuse(one, two, three)
		require.NoError(t, d.Sync(t.Context(), all))
		require.Empty(t, b.NotProgrammed())
		rules := savedRules(t, b.ns, b.Variant())
		for _, endpoint := range []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"} {
			require.Contains(t, rules, endpoint)
		}

		invalid := *two
		invalid.Ports = slices.Clone(two.Ports)
		invalid.Ports[0].Affinity = tooLong
		mixed := sinktest.NewState(one, &invalid, three)
		require.NoError(t, d.Sync(t.Context(), mixed))
		require.Len(t, b.NotProgrammed(), 1, "two is refused")
		refuse(one, &invalid, three)
		for round := range 3 {
			require.NoError(t, d.Sync(t.Context(), mixed))
			require.Len(t, b.NotProgrammed(), []int{2, 2, 1}[round], round)
			st.retried = time.Time{}
		}
		require.Contains(t, b.NotProgrammed(), two.Name)
	})
}

// TestLoopbackParameterIsReadOnly: in a container that is not privileged, all but node ports on loopback
// addresses is programmed.
func TestLoopbackParameterIsReadOnly(t *testing.T) {
	forVariants(t, Config{LocalhostNodePorts: true}, func(t *testing.T, b *backendInNamespace, d *sinktest.Driver) {
		st := b.families[0]
		calls := 0
		st.setLoopback = func() error { calls++; return os.ErrPermission }
		d.Node = goldenNode()
		d.Node.LoopbackNodePorts = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(web("10.0.0.1:80"))))
		require.Contains(t, savedRules(t, b.ns, b.Variant()), "10.0.0.1:80")
		require.Positive(t, calls)
		require.True(t, st.known, "the rules are not loaded again")
	})
}

func ipv4Part(rules string) string {
	four, _, _ := strings.Cut(rules, "IPv6 ")
	return four
}
