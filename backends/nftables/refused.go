// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"fmt"

	"sigs.k8s.io/kpng/localsink"
)

// maxRefusedServices is the number of refused Services above which the search for them fails,
// because the cause is unlikely to be the Services themselves.
const maxRefusedServices = 100

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

// findRefused returns the Services that the kernel refuses, found by bisection. It fails if
// the kernel refuses even a table without Services, or more than maxRefusedServices.
func (t *table) findRefused(all []*localsink.Service, node *nodeMatches) (map[localsink.ServiceName]error, error) {
	found := map[localsink.ServiceName]error{}
	if err := t.check(node, nil); err != nil {
		return nil, fmt.Errorf("kernel refuses a table without Services: %w", err)
	}
	var search func([]*localsink.Service) error
	search = func(services []*localsink.Service) error {
		if len(services) == 0 {
			return nil
		}
		err := t.check(node, services)
		switch {
		case err == nil:
			return nil
		case len(services) == 1:
			if found[services[0].Name] = err; len(found) > maxRefusedServices {
				return fmt.Errorf("the kernel refuses more than %d Services", maxRefusedServices)
			}
			return nil
		}
		half := len(services) / 2
		return errors.Join(search(services[:half]), search(services[half:]))
	}
	return found, search(all)
}
