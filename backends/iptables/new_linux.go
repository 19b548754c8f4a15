// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"sigs.k8s.io/kpng/backends/internal/drift"
	"sigs.k8s.io/kpng/localsink"
)

// probeTimeout is the maximum duration of the commands of New and [Cleanup].
const probeTimeout = time.Minute

// New returns a backend for the network namespace of the calling thread; Sync must be called in
// the same namespace. New changes no rules; the first Sync does.
//
// New returns an error if a command is missing or may not read the rules. If only IPv6 is
// missing, the backend works without it, and [Backend.Unsupported] contains that feature.
func New(cfg Config) (*Backend, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	if cfg.Variant == VariantAuto {
		if cfg.Variant, err = detectVariant(ctx); err != nil {
			return nil, err
		}
	}
	b := &Backend{cfg: cfg}
	for _, f := range []*family{ipv4(), ipv6()} {
		st, err := newFamilyState(ctx, f, &b.cfg)
		switch {
		case err == nil:
			b.families = append(b.families, st)
		case f.v6:
			b.unsupported |= localsink.FeatureIPv6
			cfg.Logger.Warn("IPv6 Services are not supported on this system", "err", err)
		default:
			return nil, err
		}
	}
	cfg.Logger.Info("Using iptables", "variant", cfg.Variant)
	if cfg.Variant == VariantNFT {
		cfg.Logger.Warn("The nft variant of iptables is unusable with more than about 1000 Services: use the nftables backend")
	}
	if b.watcher, err = newWatcher(&b.cfg, b.families); err != nil {
		return nil, err
	}
	b.monitor = drift.NewMonitor(b.watcher.source, cfg.Logger)
	return b, nil
}

// newFamilyState returns the state of a family, or an error if the host does not support it.
func newFamilyState(ctx context.Context, f *family, cfg *Config) (*familyState, error) {
	if f.v6 {
		if _, err := os.Stat("/proc/thread-self/net/if_inet6"); errors.Is(err, os.ErrNotExist) {
			return nil, errors.New("iptables: IPv6 is disabled")
		}
	}
	p, err := findPrograms(f, cfg.Variant, cfg.LockTimeout)
	if err != nil {
		return nil, err
	}
	if _, err := run(ctx, nil, p.main, "-w", p.waitSeconds(), "-t", tableNAT, "-S", hookPrerouting); err != nil {
		return nil, fmt.Errorf("%w: the backend needs CAP_NET_ADMIN, CAP_NET_RAW and the tables nat and filter", err)
	}
	return &familyState{family: f, cfg: cfg, programs: p, refused: map[localsink.ServiceName]error{}, setLoopback: allowLoopback}, nil
}
