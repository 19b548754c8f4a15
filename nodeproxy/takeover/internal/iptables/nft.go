// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/kpng/backends/nftables"
)

// removeNFT removes chains from the tables of iptables-nft. An edit is one transaction, so
// it needs no lock; it fails if the table has changed since it was read.
func (r Remover) removeNFT(_ context.Context, isIPv6 bool) (total Result, errs []error) {
	name := variantName(isIPv6, VariantNFT)
	all, read := Names{}, map[string]*nftables.ForeignTable{}
	for _, table := range tables() {
		t, err := nftables.ReadForeignTable(isIPv6, table)
		if err != nil {
			return Result{}, []error{fmt.Errorf("%s: %w", name, err)}
		}
		read[table] = t
		for _, c := range t.Chains {
			all[table] = append(all[table], c.Name)
		}
	}
	for _, table := range tables() {
		t := read[table]
		result, err := r.removeFrom(isIPv6, VariantNFT, table, all, nftChains(t), func(e edit) (string, error) {
			err := t.Apply(nftEdit(t, e))
			if inUse := (*nftables.ChainInUseError)(nil); errors.As(err, &inUse) {
				return inUse.Chain, nil
			}
			return "", err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		total.add(result)
	}
	return total, errs
}

func nftChains(t *nftables.ForeignTable) []chain {
	chains := make([]chain, len(t.Chains))
	for i, c := range t.Chains {
		chains[i] = chain{name: c.Name, builtin: c.Base, targets: make([][]string, len(c.Rules))}
		for j, rule := range c.Rules {
			chains[i].targets[j] = rule.Targets
		}
	}
	return chains
}

func nftEdit(t *nftables.ForeignTable, e edit) nftables.ForeignEdit {
	out := nftables.ForeignEdit{DeleteRules: map[string][]uint64{}, Flush: e.flush, Delete: e.delete}
	for _, c := range t.Chains {
		for _, i := range e.rules[c.Name] {
			out.DeleteRules[c.Name] = append(out.DeleteRules[c.Name], c.Rules[i].Handle)
		}
	}
	return out
}
