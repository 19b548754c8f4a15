// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodeproxy/takeover/internal/iptables"
)

// TestRunRepeatsUntilNothingIsLeft checks the delays after failures, and after removals,
// when kube-proxy may still be running.
func TestRunRepeatsUntilNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		takeover := New(Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		failed := errors.New("injected")
		type outcome struct {
			removed counts
			err     error
		}
		outcomes := []outcome{
			{err: failed}, {err: failed}, {removed: counts{chains: 3}, err: failed},
			{removed: counts{chains: 2, rules: 1}}, {removed: counts{tables: 2}}, {},
		}
		var at []time.Duration
		begin := time.Now()
		takeover.remove = func(context.Context, Config) (counts, error) {
			o := outcomes[len(at)]
			at = append(at, time.Since(begin))
			return o.removed, o.err
		}
		takeover.Run(t.Context())
		require.Equal(t, []time.Duration{0, 1 * time.Second, 3 * time.Second, 7 * time.Second, 67 * time.Second, 187 * time.Second}, at)
		require.Equal(t, uint64(3), takeover.Failures())
		require.Equal(t, 3, strings.Count(log.String(), "level=ERROR"))
		require.Equal(t, 3, strings.Count(log.String(), "level=INFO"))
		require.Contains(t, log.String(), "iptablesChains=2 iptablesRules=1")
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		takeover := New(Config{})
		calls := 0
		takeover.remove = func(context.Context, Config) (counts, error) {
			calls++
			return counts{}, errors.New("injected")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		begin := time.Now()
		takeover.Run(ctx)
		require.Equal(t, 10*time.Minute, time.Since(begin))
		require.Equal(t, 15, calls, "after 1, 3, 7, 15, 31 and 63 s, and every minute")
	})
}

// TestChainsOfKubeProxy checks names, including those of other programs that begin alike.
func TestChainsOfKubeProxy(t *testing.T) {
	for _, c := range []struct {
		table, chain string
		kubelet      bool
		want         bool
	}{
		{"nat", "KUBE-SERVICES", true, true},
		{"mangle", "KUBE-PROXY-CANARY", true, true},
		{"filter", "KUBE-SOURCE-RANGES-FIREWALL", true, true},
		{"nat", "KUBE-XLB-ABCDEFGHIJKLMN27", true, true},
		{"nat", "KUBE-SEP-ABCDEFGHIJKLMN27", true, true},
		{"nat", "KUBE-SVC", true, false},
		{"nat", "X-KUBE-SVC-ABCDEFGHIJKLMN27", true, false},
		{"nat", "KUBE-MARK-DROP", true, false},
		{"mangle", "KUBE-IPTABLES-HINT", true, false},
		{"filter", "KUBE-KUBELET-CANARY", true, false},
		{"filter", "KUBE-FIREWALL", true, false},
		{"filter", "KUBE-FIREWALL", false, true},
		{"nat", "KUBE-FIREWALL", true, true},
		{"filter", "KUBE-POD-FW-ABCDEFGHIJKLMN27", true, false},
		{"filter", "KUBE-NWPLCY-ABCDEFGHIJKLMN27", true, false},
		{"nat", "KUBE-ROUTER-SERVICES", true, false},
		{"nat", "PREROUTING", true, false},
	} {
		names := iptables.Names{"filter": {"INPUT"}}
		if c.kubelet {
			names["mangle"] = []string{"KUBE-IPTABLES-HINT"}
		}
		owner := chainOwner{keep: Config{}.withDefaults().KeepChain, disableRouteLocalnet: func() error { return nil }}
		require.Equal(t, c.want, owner.owns("legacy", c.table, c.chain, names), "%+v", c)
	}
}
