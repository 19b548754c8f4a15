// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/localsink"
)

// A fakeTable is a flowTable of UDP flows in memory.
type fakeTable struct {
	flows       []flow
	local       []netip.Addr
	interrupted int // number of next dumps that see only half of the flows
	removeErr   error
	addressErr  error
	dumps       []bool // v4 of each dump
	done        []Reconciliation
	closed      bool
	log         strings.Builder // of the backend
}

// newFake returns a backend with a fake flow table, on a node with one address.
func newFake() (*Backend, *fakeTable) {
	f := &fakeTable{local: []netip.Addr{addr(onNode).Addr()}}
	return &Backend{
		log: slog.New(slog.NewTextHandler(&f.log, nil)), cutter: &Cutter{table: f}, applied: appliedFrontends{},
		counts: func() (uint64, bool) { return 0, false },
		onDone: func(r Reconciliation) { f.done = append(f.done, r) },
	}, f
}

func (f *fakeTable) remove(v4 bool, filters ...flowFilter) (n uint, err error) {
	f.dumps = append(f.dumps, v4)
	if f.removeErr != nil {
		return 0, f.removeErr
	}
	seen := len(f.flows)
	if f.interrupted > 0 {
		f.interrupted--
		seen, err = seen/2, errInterrupted
	}
	var left []flow
	for i, entry := range f.flows {
		if i < seen && entry.destination.Addr().Is4() == v4 && selected(entry, filters) {
			n++
			continue
		}
		left = append(left, entry)
	}
	f.flows = left
	return n, err
}

func selected(entry flow, filters []flowFilter) bool {
	return slices.ContainsFunc(filters, func(f flowFilter) bool { return f.protocol == localsink.ProtocolUDP && f.match(entry) })
}

func (f *fakeTable) addresses(v4 bool) (all []netip.Addr, err error) {
	for _, a := range f.local {
		if a.Is4() == v4 {
			all = append(all, a)
		}
	}
	return all, f.addressErr
}

func (f *fakeTable) close() { f.closed = true }
