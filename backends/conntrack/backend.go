// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// maxAttempts limits how often Sync repeats a dump of the flow table that the kernel
// interrupted.
const maxAttempts = 5

// A Config configures a Backend. The zero value is ready for use.
type Config struct {
	// OnReconcile, if not nil, is called after each Sync for each address family: with the
	// time that the removal of stale flows took and the number of flows that were removed;
	// both are 0 if the update could leave none. Calls do not overlap.
	OnReconcile func(r Reconciliation)
	// Logger receives the number of removed flows; nil discards it.
	Logger *slog.Logger
}

// A Reconciliation is the result of the removal of stale flows of one address family.
type Reconciliation struct {
	IPv6     bool
	Duration time.Duration
	// Removed is the number of flows that were removed.
	Removed uint
}

// A Backend is a localsink.Sink that removes stale UDP flows. Create it with New.
type Backend struct {
	log     *slog.Logger
	onDone  func(Reconciliation)
	table   flowTable
	applied appliedFrontends // owned by Sync
	dumps   atomic.Uint64
	removed atomic.Uint64
}

// A flowTable gives access to the flows and addresses of a network namespace.
type flowTable interface {
	// remove dumps the flows of one address family once, deletes those UDP flows for which
	// stale returns true, and returns their number. The error is errInterrupted if the
	// table changed during the dump, which may then be incomplete.
	remove(v4 bool, stale func(flow) bool) (uint, error)
	// addresses returns the addresses of the node's interfaces in one family.
	addresses(v4 bool) ([]netip.Addr, error)
	close()
}

var errInterrupted = errors.New("dump of the flow table was interrupted")

// New returns a Backend for the network namespace of the calling thread. It fails on
// systems other than Linux, and without the privilege to open netlink sockets. The caller
// must call Close.
func New(cfg Config) (*Backend, error) {
	table, err := openFlowTable()
	if err != nil {
		return nil, fmt.Errorf("conntrack: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.OnReconcile == nil {
		cfg.OnReconcile = func(Reconciliation) {}
	}
	return &Backend{log: cfg.Logger, onDone: cfg.OnReconcile, table: table, applied: appliedFrontends{}}, nil
}

// Close closes the netlink sockets and always returns nil. Flows stay as they are. Sync
// must not run during or after Close.
func (b *Backend) Close() error {
	b.table.close()
	return nil
}

// Stats holds counters since New.
type Stats struct {
	// Dumps counts dumps of the kernel's flow table, including interrupted ones.
	Dumps uint64
	// Removed counts removed flows.
	Removed uint64
}

// Stats returns the current counters. It may be called at any time from any goroutine.
func (b *Backend) Stats() Stats { return Stats{b.dumps.Load(), b.removed.Load()} }

// Sync implements localsink.Sink. It dumps the flow table once for each address family in
// which the update may leave stale flows, and not at all if there are none. After an error
// the next Sync examines the same frontends again.
func (b *Backend) Sync(ctx context.Context, u *localsink.Update) error {
	frontends := b.applied.stale(u)
	for _, v4 := range []bool{true, false} {
		if !frontends.hasFamily(v4) {
			b.onDone(Reconciliation{IPv6: !v4})
			continue
		}
		start := time.Now()
		isLocal, err := b.nodePortAddresses(v4, u.Node)
		if err != nil {
			return fmt.Errorf("conntrack: list node addresses: %w", err)
		}
		removed, err := b.remove(ctx, v4, func(f flow) bool { return frontends.isStale(f, isLocal) })
		b.onDone(Reconciliation{IPv6: !v4, Duration: time.Since(start), Removed: removed})
		if err != nil {
			return fmt.Errorf("conntrack: remove stale UDP flows: %w", err)
		}
	}
	b.applied.update(u)
	return nil
}

// remove deletes the stale flows of one family and returns how many it deleted.
func (b *Backend) remove(ctx context.Context, v4 bool, stale func(flow) bool) (removed uint, err error) {
	for range maxAttempts {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		n, err := b.table.remove(v4, stale)
		removed += n
		b.dumps.Add(1)
		b.removed.Add(uint64(n))
		if n > 0 {
			b.log.Info("Removed UDP flows", "flows", n)
		}
		if !errors.Is(err, errInterrupted) {
			return removed, err
		}
	}
	b.log.Warn("Stale UDP flows may remain", "err", errInterrupted, "attempts", maxAttempts)
	return removed, nil
}

// nodePortAddresses returns a function that reports whether node ports answer on an
// address of the node.
func (b *Backend) nodePortAddresses(v4 bool, node *localsink.Node) (func(netip.Addr) bool, error) {
	all, err := b.table.addresses(v4)
	if err != nil {
		return nil, err
	}
	local := map[netip.Addr]bool{}
	for _, a := range all {
		for _, network := range node.NodePortAddresses {
			local[a] = local[a] || network.Contains(a)
		}
	}
	return func(a netip.Addr) bool { return local[a] }, nil
}
