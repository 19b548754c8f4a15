// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"log/slog"
	"net/netip"
	"strings"
)

// A fake is a table of UDP flows, which is all that a kernel shows.
type fake struct {
	flows       []flow
	local       []netip.Addr
	interrupted int // dumps to come that see half of the table
	removeErr   error
	addressErr  error
	dumps       []bool // of IPv4 or not
	closed      bool
	log         strings.Builder // what the backend says
}

// faked returns a backend of a node with one address, and its kernel.
func faked() (*Backend, *fake) {
	k := &fake{local: []netip.Addr{addr(onNode).Addr()}}
	return &Backend{log: slog.New(slog.NewTextHandler(&k.log, nil)), table: k, acknowledged: acknowledged{}}, k
}

func (k *fake) remove(v4 bool, wrong func(flow) bool) (n uint, err error) {
	k.dumps = append(k.dumps, v4)
	if k.removeErr != nil {
		return 0, k.removeErr
	}
	seen := len(k.flows)
	if k.interrupted > 0 {
		k.interrupted--
		seen, err = seen/2, errInterrupted
	}
	var left []flow
	for i, f := range k.flows {
		if i < seen && f.destination.Addr().Is4() == v4 && wrong(f) {
			n++
			continue
		}
		left = append(left, f)
	}
	k.flows = left
	return n, err
}

func (k *fake) addresses(v4 bool) (all []netip.Addr, err error) {
	for _, a := range k.local {
		if a.Is4() == v4 {
			all = append(all, a)
		}
	}
	return all, k.addressErr
}

func (k *fake) close() { k.closed = true }
