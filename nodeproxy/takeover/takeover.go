// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/nodeproxy/takeover/internal/iptables"
	"sigs.k8s.io/kpng/nodeproxy/takeover/internal/ipvs"
)

// kubeProxyTable is the name of the tables of kube-proxy's nftables mode.
const kubeProxyTable = "kube-proxy"

// The delays of Run between removals.
const (
	minRetry = time.Second
	maxRetry = time.Minute
	minCheck = time.Minute
	maxCheck = time.Hour
)

// A Config configures a Takeover. The zero value removes everything that kube-proxy left.
type Config struct {
	// Tables lists nf_tables tables of other programs, which are removed in both families as
	// those of kube-proxy are.
	Tables []string
	// KeepChain reports whether the new proxy uses a chain of iptables itself, so that it and
	// the rules that jump to it stay. variant is nft or legacy; table is nat, filter or
	// mangle. If it is nil, the new proxy uses none.
	KeepChain func(variant, table, chain string) bool
	// KeepIPVS means that the new proxy uses virtual servers and the interface kube-ipvs0 itself,
	// so that these stay. The IP sets of kube-proxy are removed.
	KeepIPVS bool
	// Others removes what other backends of the caller left, before anything else. It is called at
	// each attempt; an error is repeated like others. It may be nil.
	Others func() error
	// Logger receives what operators need to know; nil is silent.
	Logger *slog.Logger
}

func (cfg Config) withDefaults() Config {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.KeepChain == nil {
		cfg.KeepChain = func(_, _, _ string) bool { return false }
	}
	return cfg
}

// A Takeover removes what kube-proxy left while another proxy runs. Its methods may be
// called concurrently.
type Takeover struct {
	cfg      Config
	remove   func(ctx context.Context, cfg Config) (counts, error)
	failures atomic.Uint64
}

// New returns a Takeover.
func New(cfg Config) *Takeover { return &Takeover{cfg: cfg.withDefaults(), remove: remove} }

// Failures returns the number of removals that failed, each of which is logged and repeated.
func (t *Takeover) Failures() uint64 { return t.failures.Load() }

// Run removes what kube-proxy left. The rules of the new proxy must be in place. After a
// failure it tries again, after 1 s and up to a minute. After it has removed something, it
// looks again, after a minute and up to an hour: kube-proxy may still have been running, and
// have created its rules again. It returns when there is nothing to remove, or when ctx is
// done. It may be called again.
//
// It acts in the network namespace of the calling thread: if that is not the namespace of the
// process, the goroutine must be locked to the thread.
func (t *Takeover) Run(ctx context.Context) {
	retry, check := minRetry, minCheck
	for ctx.Err() == nil {
		removed, err := t.remove(ctx, t.cfg)
		if ctx.Err() != nil {
			return // err may be a consequence
		}
		if removed.any() {
			t.cfg.Logger.InfoContext(ctx, "Removed the rules of kube-proxy", removed.attrs()...)
		}
		var delay time.Duration
		switch {
		case err != nil:
			t.failures.Add(1)
			t.cfg.Logger.ErrorContext(ctx, "Cannot remove all rules of kube-proxy", "err", err, "retryAfter", retry)
			delay, retry = retry, min(2*retry, maxRetry)
		case !removed.any():
			return
		default:
			delay, check = check, min(2*check, maxCheck)
		}
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// Cleanup removes what kube-proxy left in the network namespace of the calling thread. If
// there is nothing, it returns nil. It continues after errors and returns all of them.
func Cleanup(ctx context.Context, cfg Config) error {
	t := New(cfg)
	removed, err := t.remove(ctx, t.cfg)
	if removed.any() {
		t.cfg.Logger.InfoContext(ctx, "Removed the rules of kube-proxy", removed.attrs()...)
	}
	return err
}

// counts are the numbers of removed objects.
type counts struct{ tables, chains, rules, servers, interfaces, sets int }

func (r counts) any() bool { return r != counts{} }

func (r counts) attrs() []any {
	return []any{
		"nftablesTables", r.tables, "iptablesChains", r.chains, "iptablesRules", r.rules,
		"ipvsServers", r.servers, "interfaces", r.interfaces, "ipSets", r.sets,
	}
}

// remove removes everything once. The order matters: IP sets are in use until the iptables
// rules are gone.
func remove(ctx context.Context, cfg Config) (counts, error) {
	return removeWith(ctx, cfg, disableRouteLocalnet)
}

func removeWith(ctx context.Context, cfg Config, disableRouteLocalnet func() error) (removed counts, err error) {
	var errs []error
	if cfg.Others != nil {
		errs = append(errs, cfg.Others())
	}
	for _, table := range append([]string{kubeProxyTable}, cfg.Tables...) {
		deleted, err := nftables.DeleteTables(table)
		if err != nil {
			errs = append(errs, err)
		}
		removed.tables += deleted
	}
	owner := chainOwner{keep: cfg.KeepChain, disableRouteLocalnet: disableRouteLocalnet}
	chains, failed := iptables.Remover{Owns: owner.owns, KeepsRules: keepsRules, Logger: cfg.Logger}.Remove(ctx)
	removed.chains, removed.rules = chains.Chains, chains.Rules
	errs = append(errs, failed...)
	if owner.err != nil {
		cfg.Logger.WarnContext(ctx, "Keeping the iptables chain KUBE-FIREWALL of kube-proxy: it protects loopback addresses until route_localnet is 0",
			"file", routeLocalnet, "err", owner.err)
	}
	removeIPVS := ipvs.Remove
	if cfg.KeepIPVS {
		removeIPVS = ipvs.RemoveSets
	}
	servers, failed := removeIPVS(ctx)
	removed.servers, removed.interfaces, removed.sets = servers.Servers, servers.Interfaces, servers.Sets
	errs = append(errs, failed...)
	for _, name := range append(chains.Kept, servers.Kept...) {
		cfg.Logger.WarnContext(ctx, "Cannot remove what other rules use: remove those rules, then run the program with --cleanup", "kept", name)
	}
	return removed, errors.Join(errs...)
}

// routeLocalnet is the sysctl that makes loopback addresses reachable from other interfaces.
const routeLocalnet = "/proc/sys/net/ipv4/conf/all/route_localnet"

func disableRouteLocalnet() error {
	value, err := os.ReadFile(routeLocalnet)
	if err != nil || strings.TrimSpace(string(value)) == "0" {
		return err
	}
	return os.WriteFile(routeLocalnet, []byte("0"), 0)
}
