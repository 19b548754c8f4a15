// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A Backend programs the Services of one node into the network namespace in which
// it was made. Its methods may be called from any goroutine, Sync from one at a
// time.
type Backend struct {
	tables []*table
	unsupported  localsink.Features

	monitor   *driftMonitor
	release func() error // closes what New opened

	closed   atomic.Bool
	mu       sync.Mutex
	stats    Stats
	notProgrammed map[localsink.ServiceName]error
}

var (
	_ localsink.Sink            = (*Backend)(nil)
	_ localsink.ResyncRequester = (*Backend)(nil)
	_ localsink.FeatureReporter = (*Backend)(nil)
	_ localsink.FailureReporter = (*Backend)(nil)
)

// refusedRetryInterval is how long after a Sync a refused Service is tried again.
const refusedRetryInterval = 30 * time.Second

// errClosed says that a Backend was used after its end.
var errClosed = errors.New("nftables: the backend is closed")

// Sync brings the kernel's tables in line with u; see [localsink.Sink].
//
// Each family changes in one transaction, so that no packet ever sees half of an
// update; a second one removes what is then no longer used. A transaction that the
// kernel refuses changes nothing; then, and whenever
// what the kernel holds is in doubt, Sync writes the whole table anew from u.All,
// also in one transaction.
//
// A Service that the kernel refuses by itself is left out, so that it does not keep
// others from being served: Sync accepts the rest. It is logged and listed in [Stats],
// and tried again with every call and, by way of Damaged, every half minute.
func (b *Backend) Sync(ctx context.Context, u *localsink.Update) error {
	if b.closed.Load() {
		return errClosed
	}
	if b.monitor.takeDrift() {
		for _, t := range b.tables {
			t.state = nil
		}
	}
	names := touchedServices(u)
	var errs []error
	for _, t := range b.tables {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		errs = append(errs, t.sync(u, names))
	}
	err := errors.Join(errs...)
	if slices.ContainsFunc(b.tables, func(t *table) bool { return len(t.refused) > 0 }) {
		b.monitor.scheduleRetry(refusedRetryInterval)
	}
	b.publish(err)
	return err
}

// touchedServices returns which Services may differ from what the tables hold.
func touchedServices(u *localsink.Update) []localsink.ServiceName {
	names := make([]localsink.ServiceName, 0, len(u.Changed)+len(u.Removed))
	for _, list := range [][]*localsink.Service{u.Removed, u.Changed} {
		for _, s := range list {
			names = append(names, s.Name)
		}
	}
	return names
}

// ResyncRequested returns a channel that receives after somebody else changed the
// backend's tables, or may have; see [localsink.ResyncRequester]. The Sync that follows
// writes them anew. When that happens again and again, as when two backends use
// one table, the channel receives less and less often, down to once in a minute.
func (b *Backend) ResyncRequested() <-chan struct{} { return b.monitor.resync }

// Unsupported returns the features that the backend or this kernel does not have.
func (b *Backend) Unsupported() localsink.Features { return b.unsupported }

// Close stops the backend and frees its resources. The rules stay in effect: see
// [Cleanup]. It must not be called during Sync. Further calls do nothing.
func (b *Backend) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	b.monitor.stop()
	return b.release()
}

// Stats is what a backend did and holds.
type Stats struct {
	// Tables has one entry for each address family.
	Tables []TableStats
	// ExternalChanges is how often somebody else was seen to change the tables.
	ExternalChanges uint64
	// LastSync is when Sync last returned nil.
	LastSync time.Time
}

// TableStats is the part of [Stats] about one address family.
type TableStats struct {
	// Family is "ip" or "ip6".
	Family string
	// Services, Elements and Chains is how many of them the table holds.
	Services, Elements, Chains int
	// Transactions counts what was sent to the kernel; Rebuilds those of them that
	// wrote the whole table.
	Transactions, Rebuilds uint64
	// LastError is the last error, which may be over; empty if there was none.
	LastError string
	// Refused are the Services that are left out because the kernel refuses them.
	Refused []localsink.ServiceName
	// Problems is what else is not served, and why: what breaks the contract of
	// package localsink, and what two Services claim. The list must not be changed.
	Problems []localsink.Problem
}

// Stats returns what the backend did until the last Sync, and holds since.
func (b *Backend) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Tables = slices.Clone(s.Tables)
	s.ExternalChanges = b.monitor.count.Load()
	return s
}

// NotProgrammed returns the Services that the kernel refuses, and those that break the contract
// of package localsink or claim what another Service has; see [localsink.FailureReporter].
func (b *Backend) NotProgrammed() map[localsink.ServiceName]error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.notProgrammed)
}

// publish makes the outcome of a Sync visible.
func (b *Backend) publish(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.stats.LastSync = time.Now()
	}
	b.stats.Tables = b.stats.Tables[:0]
	b.notProgrammed = map[localsink.ServiceName]error{}
	for _, t := range b.tables {
		b.stats.Tables = append(b.stats.Tables, t.report())
		t.addFailures(b.notProgrammed)
	}
}

// addFailures adds to all what the table does not serve.
func (t *table) addFailures(all map[localsink.ServiceName]error) {
	for name, err := range t.refused {
		all[name] = errors.Join(all[name], fmt.Errorf("nftables: the kernel refuses it over %s: %w", t.family.name, err))
	}
	if t.state == nil {
		return
	}
	for name, list := range t.state.problems {
		for _, p := range list {
			all[name] = errors.Join(all[name], fmt.Errorf("nftables: %v", p))
		}
	}
}

// report returns the table's statistics, and logs problems that are new.
func (t *table) report() TableStats {
	s := t.stats
	s.Refused = sortedNames(t.refused)
	if t.state == nil {
		return s
	}
	s.Services, s.Elements, s.Chains = len(t.state.records), t.state.elementCount, t.state.chainCount
	s.Problems = slices.Concat(slices.Collect(maps.Values(t.state.problems))...)
	slices.SortFunc(s.Problems, compareProblems)
	for _, p := range s.Problems {
		if _, known := slices.BinarySearchFunc(t.stats.Problems, p, compareProblems); !known {
			t.log.Warn("something is not served", "object", p.Object, "field", p.Field, "problem", p.Message)
		}
	}
	t.stats.Problems = s.Problems
	return s
}

func compareProblems(a, b localsink.Problem) int {
	return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
}
