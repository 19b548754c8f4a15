// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func TestMain(m *testing.M) { os.Exit(netnstest.Main(m)) }

// variants returns the variants with which tests run.
func variants() []Variant { return []Variant{VariantLegacy, VariantNFT} }

// requirePrograms skips a test without the commands of a variant.
func requirePrograms(t testing.TB, v Variant) {
	t.Helper()
	if _, err := findPrograms(ipv6(), v, 0); err != nil {
		t.Skip(err)
	}
}

// backendIn returns a backend whose methods run in a namespace.
func backendIn(t testing.TB, ns *netnstest.Namespace, cfg Config) *backendInNamespace {
	t.Helper()
	requirePrograms(t, cfg.Variant)
	b := &backendInNamespace{ns: ns}
	ns.Do(func() (err error) {
		b.Backend, err = New(cfg)
		return err
	})
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

type backendInNamespace struct {
	*Backend
	ns *netnstest.Namespace
}

func (b *backendInNamespace) Sync(ctx context.Context, u *localsink.Update) error {
	return b.ns.Run(func() error { return b.Backend.Sync(ctx, u) })
}

// savedRules returns the output of iptables-save for all tables and families, without comments
// and counters. Rules in chains of which the order is irrelevant are sorted.
func savedRules(t testing.TB, ns *netnstest.Namespace, v Variant) string {
	t.Helper()
	var all []string
	for _, f := range []*family{ipv4(), ipv6()} {
		p, err := findPrograms(f, v, 0)
		require.NoError(t, err)
		for _, table := range tables() {
			var out []byte
			ns.Do(func() (err error) {
				out, err = exec.Command(p.save, "-t", table).Output()
				return err
			})
			all = append(all, f.name+" "+table)
			all = append(all, normalized(string(out))...)
		}
	}
	return strings.Join(all, "\n") + "\n"
}

// normalized returns the lines of a table. Those of chains with entries are sorted.
func normalized(saved string) []string {
	var chains []string
	rules := map[string][]string{}
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, ":"):
			name, _, _ := strings.Cut(line[1:], " ")
			chains = append(chains, name)
		case strings.HasPrefix(line, "-A "):
			name, _, _ := strings.Cut(line[3:], " ")
			rules[name] = append(rules[name], line)
		}
	}
	slices.Sort(chains)
	var all []string
	for _, name := range chains {
		if hasEntries(name) {
			slices.Sort(rules[name])
		}
		all = append(append(all, ":"+name), rules[name]...)
	}
	return all
}

func hasEntries(chain string) bool {
	switch chain {
	case chainServices, chainNodePorts, chainHairpin, chainProxyFirewall, chainExternalServices, chainNodePortFirewall, chainNodePortVerdicts:
		return true
	}
	return strings.HasPrefix(chain, prefixDispatch) || strings.HasPrefix(chain, prefixClusterIPs)
}

// TestSinkContract runs the tests of all sinks with the real kernel.
func TestSinkContract(t *testing.T) {
	for _, v := range variants() {
		t.Run(string(v), func(t *testing.T) {
			sinktest.TestSink(t, sinktest.Harness{
				Unsupported: ^supported,
				New: func(t *testing.T) (localsink.Sink, func() string) {
					ns := netnstest.New(t)
					return backendIn(t, ns, Config{Variant: v, LocalhostNodePorts: true}), func() string { return savedRules(t, ns, v) }
				},
			})
		})
	}
}
