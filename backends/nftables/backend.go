// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/backends/internal/contract"
	"sigs.k8s.io/kpng/backends/internal/drift"
	"sigs.k8s.io/kpng/localsink"
)

// A Backend programs the Services of one node into the network namespace in which it was
// created. Its methods are safe for concurrent use, except that calls of Sync must not
// overlap.
type Backend struct {
	tables      []*table // guarded by busy
	unsupported localsink.Features
	monitor     *drift.Monitor
	release     func() error // closes what New opened
	closed      atomic.Bool
	counting    bool // of connections

	busy chan struct{}   // holds a value while the tables are in use: by Sync, a verification, or a reader of counts
	all  localsink.State // of the last Sync, if connections are counted; guarded by busy

	mu            sync.Mutex // guards the following fields
	stats         Stats
	notProgrammed map[localsink.ServiceName]error
}

var (
	_ localsink.Sink              = (*Backend)(nil)
	_ localsink.ResyncRequester   = (*Backend)(nil)
	_ localsink.FeatureReporter   = (*Backend)(nil)
	_ localsink.FailureReporter   = (*Backend)(nil)
	_ localsink.DriftReporter     = (*Backend)(nil)
	_ localsink.ConnectionCounter = (*Backend)(nil)
)

// refusedRetryInterval is the delay after which Services refused by the kernel are retried.
const refusedRetryInterval = 30 * time.Second

var errClosed = errors.New("nftables: the backend is closed")

// Sync brings the kernel's tables to the state of u; see [localsink.Sink].
//
// Each family changes in one transaction, so no packet meets half of an update; a second
// transaction removes what is then no longer used. A transaction that the kernel refuses
// changes nothing. After that, and whenever the content of a table is unknown, Sync rebuilds
// the table from u.All, also in one transaction.
//
// If the kernel refuses a Service by itself, Sync leaves it out and programs the others. Such
// a Service is logged, listed in [Stats], and retried with each call; every 30 seconds the
// backend requests a resync for that purpose.
func (b *Backend) Sync(ctx context.Context, u *localsink.Update) error {
	if b.closed.Load() {
		return errClosed
	}
	if err := b.acquire(ctx); err != nil {
		return err
	}
	defer b.releaseTables()
	if b.counting {
		b.all = u.All
	}
	repair := b.monitor.Begin()
	if repair.NeedsRepair {
		for _, t := range b.tables {
			t.state = nil
		}
	}
	names := contract.TouchedServices(u)
	var errs []error
	for _, t := range b.tables {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		errs = append(errs, t.sync(u, names))
	}
	err := errors.Join(errs...)
	if err == nil {
		b.monitor.Succeeded(repair)
	}
	if b.takeRepaired() {
		b.monitor.ReportRepaired()
	}
	if slices.ContainsFunc(b.tables, func(t *table) bool { return len(t.refused) > 0 }) {
		b.monitor.ScheduleRetry(refusedRetryInterval)
	}
	b.publish(err)
	return err
}

// takeRepaired reports whether an update has repaired a table since the last call.
func (b *Backend) takeRepaired() (repaired bool) {
	for _, t := range b.tables {
		repaired = repaired || t.repaired
		t.repaired = false
	}
	return repaired
}

// ResyncRequested returns a channel that receives after another program has changed the
// backend's tables; see [localsink.ResyncRequester]. The next Sync rebuilds them. Requests follow
// changes within 0.3 seconds, apart from single elements of large maps while other programs keep
// changing rules of their own. If another program changes the tables right after each repair, as
// a second backend with the same table does, the delay grows up to one second.
func (b *Backend) ResyncRequested() <-chan struct{} { return b.monitor.Requests() }

// DriftedSince returns when the backend detected the oldest change by another program that it has
// not undone; see [localsink.DriftReporter].
func (b *Backend) DriftedSince() time.Time { return b.monitor.DriftedSince() }

// supported are the features that the backend has if the kernel has both families.
const supported = localsink.FeatureIPv4 | localsink.FeatureIPv6 | localsink.FeatureTCP | localsink.FeatureUDP | localsink.FeatureSCTP |
	localsink.FeatureAffinity | localsink.FeatureSourceRanges |
	localsink.FeatureClusterIP | localsink.FeatureNodePort | localsink.FeatureExternalIP | localsink.FeatureLoadBalancer |
	localsink.FeatureWeights | localsink.FeaturePass | localsink.FeatureRefusedShare | localsink.FeatureNoMasquerade |
	localsink.FeatureSelectionClient | localsink.FeatureSelectionFlow

// Unsupported returns the features that the backend or this kernel does not have.
func (b *Backend) Unsupported() localsink.Features { return b.unsupported | ^supported }

// Close stops the backend and frees its resources. The rules stay in effect; [Cleanup]
// removes them. Close must not be called during Sync. Further calls have no effect.
func (b *Backend) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	b.monitor.Close()
	b.busy <- struct{}{} // a reader of counts may use the connection
	defer b.releaseTables()
	return b.release()
}
