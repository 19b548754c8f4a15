// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A Config configures a Backend. The zero value is ready for use.
type Config struct {
	// OnReconcile, if not nil, is called after each Sync for each address family: with the
	// time that the removal of stale flows took and the number of flows that were removed;
	// both are 0 if the update could leave none. Calls do not overlap.
	OnReconcile func(r Reconciliation)
	// Repairs returns how often the sinks that program rules have repaired what other programs
	// changed: flows may have begun while rules were missing, so Sync compares all of them after
	// each repair. If it is nil, or the number is not known, each update without a delta may follow
	// a repair. Sync calls it.
	Repairs func() (n uint64, known bool)
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
	log    *slog.Logger
	onDone func(Reconciliation)
	counts func() (repairs uint64, known bool)
	cutter *Cutter
	// Owned by Sync.
	applied   appliedFrontends
	nodePorts []netip.Prefix // the addresses with node ports in the last applied update
	repairs   uint64         // before it
	failed    failedUpdates
}

// New returns a Backend for the network namespace of the calling thread. It fails on
// systems other than Linux, and without the privilege to open netlink sockets. The caller
// must call Close.
func New(cfg Config) (*Backend, error) {
	cutter, err := NewCutter()
	if err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Repairs == nil {
		cfg.Repairs = func() (uint64, bool) { return 0, false }
	}
	if cfg.OnReconcile == nil {
		cfg.OnReconcile = func(Reconciliation) {}
	}
	return &Backend{log: cfg.Logger, onDone: cfg.OnReconcile, counts: cfg.Repairs, cutter: cutter, applied: appliedFrontends{}}, nil
}

// Close closes the netlink sockets and always returns nil. Flows stay as they are. Sync
// must not run during or after Close.
func (b *Backend) Close() error { return b.cutter.Close() }

// Stats holds counters since New.
type Stats struct {
	// Dumps counts dumps of the kernel's flow table, including interrupted ones.
	Dumps uint64
	// Removed counts removed flows.
	Removed uint64
}

// Stats returns the current counters. It may be called at any time from any goroutine.
func (b *Backend) Stats() Stats { return Stats{b.cutter.dumps.Load(), b.cutter.removed.Load()} }

// Sync implements localsink.Sink. It dumps the flow table once for each address family in
// which the update may leave stale flows, and not at all if there are none. After an error
// the next Sync examines the same frontends again, whatever its update is.
func (b *Backend) Sync(ctx context.Context, u *localsink.Update) error {
	repairs, known := b.counts()
	mayFollowRepair := repairs != b.repairs
	if !known {
		mayFollowRepair = len(u.Changed)+len(u.Removed) == 0 && !u.NodeChanged
	}
	frontends := b.examined(u, mayFollowRepair)
	for _, v4 := range []bool{true, false} {
		if err := b.removeStale(ctx, v4, frontends, u.Node); err != nil {
			b.failed.add(frontends, u.Node)
			return err
		}
	}
	b.applied.update(u)
	b.nodePorts, b.repairs, b.failed = slices.Clone(u.Node.NodePortAddresses), repairs, failedUpdates{}
	return nil
}

// examined returns the frontends whose flows are examined because of u.
func (b *Backend) examined(u *localsink.Update, mayFollowRepair bool) staleFrontends {
	frontends := b.applied.stale(u)
	switch {
	case mayFollowRepair: // any flow may have begun while there were no rules
		frontends.addDesired(u, func(*udpFrontend) bool { return true })
	case !slices.Equal(b.nodePorts, u.Node.NodePortAddresses):
		frontends.addDesired(u, (*udpFrontend).isNodePort)
	}
	frontends.addFailed(b.failed.frontends, u)
	return frontends
}

// removeStale removes the stale flows of one address family.
func (b *Backend) removeStale(ctx context.Context, v4 bool, frontends staleFrontends, node *localsink.Node) error {
	if !frontends.hasFamily(v4) {
		b.onDone(Reconciliation{IPv6: !v4})
		return nil
	}
	start := time.Now()
	all, err := b.cutter.table.addresses(v4)
	if err != nil {
		return fmt.Errorf("conntrack: list node addresses: %w", err)
	}
	isLocal, wasLocal := addressesIn(node.NodePortAddresses, all), addressesIn(slices.Concat(b.nodePorts, b.failed.nodePorts), all)
	isStale := flowFilter{localsink.ProtocolUDP, func(f flow) bool { return frontends.isStale(f, isLocal, wasLocal) }}
	removed, err := b.cutter.remove(ctx, v4, isStale)
	b.onDone(Reconciliation{IPv6: !v4, Duration: time.Since(start), Removed: removed})
	if removed > 0 {
		b.log.Info("Removed UDP flows", "flows", removed)
	}
	switch {
	case errors.Is(err, ErrIncomplete): // removed what could be seen; a failed Sync would not see more
		b.log.Warn("Stale UDP flows may remain", "err", err, "ipv6", !v4)
	case err != nil:
		return fmt.Errorf("conntrack: remove stale UDP flows: %w", err)
	}
	return nil
}

// addressesIn returns a function that reports whether an address is one of all, and in one of the
// networks.
func addressesIn(networks []netip.Prefix, all []netip.Addr) func(netip.Addr) bool {
	in := localsink.AddressesIn(networks, all)
	return func(a netip.Addr) bool {
		_, found := slices.BinarySearchFunc(in, a, netip.Addr.Compare)
		return found
	}
}
