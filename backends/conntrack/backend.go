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

	"sigs.k8s.io/kpng/localsink"
)

// maxAttempts bounds how often a dump is repeated that the kernel could not give in one
// piece.
const maxAttempts = 5

// A Config is how to track. The zero value is ready for use.
type Config struct {
	// Logger tells how many flows were removed; nil is silent.
	Logger *slog.Logger
}

// A Backend is a localsink.Sink; make it with New.
type Backend struct {
	log          *slog.Logger
	table        flowTable
	acknowledged acknowledged
	dumps        atomic.Uint64
	removed      atomic.Uint64
}

// A flowTable is the part of an operating system that tracks connections.
type flowTable interface {
	// remove removes the UDP flows of a family that are wrong, in one reading of the
	// table, and returns how many. The error is errInterrupted when the table changed
	// too fast to be read in one piece.
	remove(v4 bool, wrong func(flow) bool) (uint, error)
	// addresses returns the addresses of the node's interfaces in a family.
	addresses(v4 bool) ([]netip.Addr, error)
	close()
}

var errInterrupted = errors.New("the table changed while it was read")

// New returns a backend for the network namespace of the calling thread. It must be
// closed. It fails where there is no connection tracking to talk to.
func New(cfg Config) (*Backend, error) {
	k, err := openFlowTable()
	if err != nil {
		return nil, fmt.Errorf("conntrack: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Backend{log: cfg.Logger, table: k, acknowledged: acknowledged{}}, nil
}

// Close lets go of the kernel. Flows stay as they are.
func (b *Backend) Close() { b.table.close() }

// Stats are counts since New.
type Stats struct {
	// Dumps is how often the kernel's table was read; it is not when no UDP Service
	// has lost anything.
	Dumps uint64
	// Removed is how many flows were removed.
	Removed uint64
}

// Stats may be called at any time, from any goroutine.
func (b *Backend) Stats() Stats { return Stats{b.dumps.Load(), b.removed.Load()} }

// Sync implements localsink.Sink. The table is read once for each family, and only
// when an update may leave wrong flows behind.
func (b *Backend) Sync(ctx context.Context, u *localsink.Update) error {
	suspects := b.acknowledged.stale(u)
	for _, v4 := range []bool{true, false} {
		if !suspects.hasFamily(v4) {
			continue
		}
		local, err := b.nodePortAddresses(v4, u.Node)
		if err != nil {
			return fmt.Errorf("conntrack: addresses of the node: %w", err)
		}
		if err := b.remove(ctx, v4, func(f flow) bool { return suspects.isStale(f, local) }); err != nil {
			return fmt.Errorf("conntrack: %w", err)
		}
	}
	b.acknowledged.update(u)
	return nil
}

func (b *Backend) remove(ctx context.Context, v4 bool, wrong func(flow) bool) error {
	for range maxAttempts {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := b.table.remove(v4, wrong)
		b.dumps.Add(1)
		b.removed.Add(uint64(n))
		if n > 0 {
			b.log.Info("Removed UDP flows", "flows", n)
		}
		if !errors.Is(err, errInterrupted) {
			return err
		}
	}
	b.log.Warn("Some UDP flows may be left", "err", errInterrupted, "attempts", maxAttempts)
	return nil
}

// nodePortAddresses tells the addresses of the node that answer on node ports.
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
