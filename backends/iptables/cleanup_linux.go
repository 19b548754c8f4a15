// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"os/exec"
	"slices"
)

// Cleanup removes all rules and chains that a Backend or kube-proxy's iptables mode has
// programmed, from the network namespace of the calling thread, with both variants unless
// [Config.Variant] selects one. Connections through Services end with them. The chain
// KUBE-FIREWALL remains, because the kubelet uses it too. Cleanup returns nil if there is
// nothing to remove, or no iptables command.
func Cleanup(cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	variants := []Variant{VariantLegacy, VariantNFT}
	if cfg.Variant != VariantAuto {
		variants = []Variant{cfg.Variant}
	}
	var errs []error
	for _, v := range variants {
		for _, f := range []*family{ipv4(), ipv6()} {
			p, err := findPrograms(f, v, cfg.LockTimeout)
			if errors.Is(err, exec.ErrNotFound) {
				continue
			}
			errs = append(errs, err, p.cleanup(ctx))
		}
	}
	return errors.Join(errs...)
}

// cleanup removes the chains of the backend and of kube-proxy.
func (p *programs) cleanup(ctx context.Context) error {
	present, err := p.read(ctx)
	if err != nil {
		return err
	}
	var in restoreInput
	for _, table := range tables() {
		t := present[table]
		chains := slices.DeleteFunc(t.chains, func(name string) bool { return !OwnsChain(name) })
		if len(chains) == 0 {
			continue
		}
		in.begin(table)
		for _, name := range chains {
			in.declare(name)
		}
		for _, j := range t.jumps {
			if j.target() != chainFirewall {
				in.deleteRule(j.from, j.rule)
			}
		}
		for _, name := range chains {
			in.deleteChain(name)
		}
		in.commit()
	}
	if in.Len() == 0 {
		return nil
	}
	return p.apply(ctx, in.Bytes())
}
