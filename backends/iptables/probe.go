// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bytes"
	"context"

	"sigs.k8s.io/kpng/localsink"
)

// prefixProbe replaces the prefix of all chains while Services are probed. No packet reaches such
// chains. Other backends have other prefixes.
const prefixProbe = "KPROBE-"

// probe returns the error with which iptables-restore refuses some Services. It creates all of
// their rules in chains of other names, and deletes these again.
func (st *familyState) probe(ctx context.Context, services []*localsink.Service) error {
	l := newLoad(st.static)
	for _, s := range services {
		l.add(st.renderer.render(s))
	}
	var create, remove restoreInput
	for _, table := range []string{tableFilter, tableNAT} {
		create.begin(table)
		l.writeContent(&create, table)
		create.commit()
		remove.begin(table)
		names := l.chainNames(table)
		for _, name := range names {
			remove.declare(name)
		}
		for _, name := range names {
			remove.deleteChain(name)
		}
		remove.commit()
	}
	refusal := st.programs.apply(ctx, renamed(create.Bytes()))
	if err := st.programs.apply(ctx, renamed(remove.Bytes())); refusal == nil {
		return err
	}
	return refusal
}

// renamed replaces the prefix of chains in the input of iptables-restore.
func renamed(input []byte) []byte {
	input = bytes.ReplaceAll(input, []byte(" KUBE-"), []byte(" "+prefixProbe))
	return bytes.ReplaceAll(input, []byte(":KUBE-"), []byte(":"+prefixProbe))
}
