// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// Stats are counters and sizes of a [Backend].
type Stats struct {
	// Tables has one entry for each address family.
	Tables []TableStats
	// ExternalChanges counts the detected changes of the tables by other programs. Changes that
	// are detected together count once.
	ExternalChanges uint64
	// LastSync is the time when Sync last returned nil; zero before that.
	LastSync time.Time
}

// TableStats is the part of [Stats] about one address family.
type TableStats struct {
	// Family is "ip" or "ip6".
	Family string
	// Services, Elements and Chains are the numbers of those in the table. Elements does not
	// count affinity entries.
	Services, Elements, Chains int
	// Transactions counts the transactions sent to the kernel, Rebuilds those of them that
	// replaced the whole table.
	Transactions, Rebuilds uint64
	// SyncFailures counts the transactions that failed, CleanupFailures those of them that
	// only removed what a change no longer needs. A failure leads to a rebuild.
	SyncFailures, CleanupFailures uint64
	// LastError is the last error, which may be resolved; empty if there was none.
	LastError string
	// Refused are the Services that are not programmed because the kernel refuses them.
	Refused []localsink.ServiceName
	// Problems lists what else is not programmed: violations of the contract of package
	// localsink, and frontends that two Services have. The list must not be modified.
	Problems []localsink.Problem
}

// Repairs returns how often a Sync has repaired what other programs have changed, or may have. It may
// be called at any time, and does not wait for Sync. See conntrack.Config.Repairs.
func (b *Backend) Repairs() uint64 { return b.monitor.Repairs() }

// Stats returns the statistics as of the last Sync.
func (b *Backend) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Tables = slices.Clone(s.Tables)
	s.ExternalChanges = b.monitor.Count()
	return s
}

// NotProgrammed returns the Services that the kernel refuses, and those that violate the
// contract of package localsink or have a frontend of another Service; see
// [localsink.FailureReporter].
func (b *Backend) NotProgrammed() map[localsink.ServiceName]error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.notProgrammed)
}

// publish updates the statistics after a Sync that returned err.
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

// addFailures adds the Services that the table does not hold completely to all.
func (t *table) addFailures(all map[localsink.ServiceName]error) {
	for name, err := range t.refused {
		all[name] = errors.Join(all[name], fmt.Errorf("nftables: table %s %s: kernel refuses the Service: %w", t.family.name, t.cfg.Table, err))
	}
	if t.state == nil {
		return
	}
	for name, problems := range t.state.problems {
		for _, p := range problems {
			all[name] = errors.Join(all[name], fmt.Errorf("nftables: %v", p))
		}
	}
}

// report returns the table's statistics and logs problems that are new.
func (t *table) report() TableStats {
	s := t.stats
	s.Refused = sortedNames(t.refused)
	if t.state == nil {
		return s
	}
	s.Services, s.Elements, s.Chains = t.state.records.Len(), t.state.elementCount, t.state.chainCount
	s.Problems = slices.Concat(slices.Collect(maps.Values(t.state.problems))...)
	slices.SortFunc(s.Problems, compareProblems)
	for _, p := range s.Problems {
		if _, known := slices.BinarySearchFunc(t.stats.Problems, p, compareProblems); !known {
			t.log.Warn("Service not programmed", "service", strings.TrimPrefix(p.Object, "Service "), "field", p.Field, "reason", p.Message)
		}
	}
	t.stats.Problems = s.Problems
	return s
}

func compareProblems(a, b localsink.Problem) int {
	return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
}
