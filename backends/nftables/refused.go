// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"

	"sigs.k8s.io/kpng/backends/internal/bisect"
	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// recheckRefused checks each refused Service again and returns the names of those that are
// accepted now or no longer exist.
func (t *table) recheckRefused(u *localsink.Update) []localsink.ServiceName {
	var accepted []localsink.ServiceName
	for _, name := range sortedNames(t.refused) {
		s := u.All.Get(name)
		if s != nil {
			if err := t.check(newNodeMatches(t.family, u.Node), []*localsink.Service{s}); err != nil {
				t.refused[name] = err
				continue
			}
		}
		delete(t.refused, name)
		accepted = append(accepted, name)
	}
	return accepted
}

// check returns the error with which the kernel would refuse a table of these Services.
func (t *table) check(node *nodeMatches, services []*localsink.Service) error {
	tx := transaction{family: t.family, table: t.cfg.Table + "-check", replaceTable: true, detached: true}
	st := newTableState(t.family, node, t.cfg, &tx)
	for _, s := range services {
		st.load(s)
	}
	st.sizeSets()
	return t.kernel.Check(tx.encode())
}

// findRefused returns the Services that the kernel refuses by themselves.
func (t *table) findRefused(all []*localsink.Service, node *nodeMatches) (map[localsink.ServiceName]error, error) {
	search := bisect.Search{
		Check:     func(services []*localsink.Service) error { return t.check(node, services) },
		IsRefusal: isRefusal,
	}
	return search.Find(all)
}

// isRefusal reports whether the kernel refused a transaction, which had no effect.
func isRefusal(err error) bool {
	var refusal *nfnl.Error
	return errors.As(err, &refusal)
}
