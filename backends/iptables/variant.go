// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
)

// detectVariant returns the variant that programs of this host use, as the iptables wrappers of
// container images do: the one with chains of the kubelet or of Services, or else the one with more
// rules, or else the one behind the command "iptables".
func detectVariant(ctx context.Context) (Variant, error) {
	legacy, legacyErr := saved(ctx, VariantLegacy)
	nft, nftErr := saved(ctx, VariantNFT)
	if legacyErr != nil && nftErr != nil {
		return "", fmt.Errorf("iptables: no usable variant: %w, %w", legacyErr, nftErr)
	}
	v := variantInUse(legacy, nft)
	switch {
	case legacyErr != nil:
		v = VariantNFT
	case nftErr != nil:
		v = VariantLegacy
	case v == VariantAuto:
		return defaultVariant(ctx)
	}
	return v, nil
}

// variantInUse returns the variant that is in use to judge by the rules of both, VariantAuto if
// none is in use more than the other.
func variantInUse(legacy, nft []byte) Variant {
	for _, chain := range []string{":KUBE-IPTABLES-HINT ", ":KUBE-KUBELET-CANARY ", ":KUBE-SERVICES "} {
		switch inNFT, inLegacy := bytes.Contains(nft, []byte(chain)), bytes.Contains(legacy, []byte(chain)); {
		case inNFT && !inLegacy:
			return VariantNFT
		case inLegacy && !inNFT:
			return VariantLegacy
		}
	}
	switch cmp.Compare(countRules(nft), countRules(legacy)) {
	case 1:
		return VariantNFT
	case -1:
		return VariantLegacy
	}
	return VariantAuto
}

func countRules(saved []byte) int { return bytes.Count(saved, []byte("\n-A ")) }

// saved returns the rules of a variant in the tables mangle and nat.
func saved(ctx context.Context, v Variant) ([]byte, error) {
	p, err := findPrograms(ipv4(), v, 0)
	if err != nil {
		return nil, err
	}
	var all []byte
	for _, table := range []string{tableMangle, tableNAT} {
		output, err := run(ctx, nil, p.save, "-t", table)
		if err != nil {
			return nil, err
		}
		all = append(all, output...)
	}
	return all, nil
}

// defaultVariant returns the variant of the command "iptables", or VariantNFT without it.
func defaultVariant(ctx context.Context) (Variant, error) {
	version, err := run(ctx, nil, "iptables", "--version")
	if err != nil && ctx.Err() != nil {
		return "", err
	}
	if bytes.Contains(version, []byte("legacy")) {
		return VariantLegacy, nil
	}
	return VariantNFT, nil
}
