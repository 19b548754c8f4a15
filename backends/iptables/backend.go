// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/backends/internal/contract"
	"sigs.k8s.io/kpng/backends/internal/drift"
	"sigs.k8s.io/kpng/localsink"
)

// A Backend programs the Services of one node with iptables-restore. Its methods are safe for
// concurrent use, except that calls of Sync must not overlap.
type Backend struct {
	cfg         Config
	families    []*familyState // owned by Sync
	unsupported localsink.Features
	monitor     *drift.Monitor
	watcher     *watcher
	closed      atomic.Bool
	warnSize    sync.Once

	mu            sync.Mutex // guards the following fields
	notProgrammed map[localsink.ServiceName]error
	stats         []FamilyStats
}

var (
	_ localsink.Sink            = (*Backend)(nil)
	_ localsink.ResyncRequester = (*Backend)(nil)
	_ localsink.FeatureReporter = (*Backend)(nil)
	_ localsink.FailureReporter = (*Backend)(nil)
	_ localsink.DriftReporter   = (*Backend)(nil)
)

var errClosed = errors.New("iptables: the backend is closed")

// maxServicesNFT is the number of Services above which the nft variant is too slow.
const maxServicesNFT = 1000

// Sync brings the rules to the state of u; see [localsink.Sink].
//
// Each table changes in one step, which the kernel applies completely or not at all. Sync writes
// the rules of the Services that have changed, or all of them if the present rules are unknown. If
// iptables-restore refuses a Service by itself, Sync leaves it out and programs the others;
// [Backend.NotProgrammed] names it. It is tried again when it changes, and every 30 seconds after all
// changes: all refused Services together, and if they are refused, one of them in turn.
//
// If another program holds the lock of iptables for longer than [Config.LockTimeout], Sync returns
// an error that names the lock, and the next Sync writes all rules.
func (b *Backend) Sync(ctx context.Context, u *localsink.Update) error {
	if b.closed.Load() {
		return errClosed
	}
	if b.cfg.Variant == VariantNFT && u.All.Len() > maxServicesNFT {
		b.warnSize.Do(func() {
			b.cfg.Logger.Warn("The nft variant of iptables is slow with this many Services: use the nftables backend", "services", u.All.Len())
		})
	}
	repair := b.monitor.Begin()
	b.watcher.beginWrite()
	names := contract.TouchedServices(u)
	var errs []error
	retry := false
	for _, st := range b.families {
		if repair.NeedsRepair {
			st.known = false
		}
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		errs = append(errs, st.sync(ctx, u, names))
		retry = retry || len(st.refused) > 0
	}
	err := errors.Join(errs...)
	if err == nil {
		b.monitor.Succeeded(repair)
		err = b.watcher.rememberWrite()
	}
	if retry {
		b.monitor.ScheduleRetry(refusedRetryInterval)
	}
	b.publish()
	return err
}

// publish makes the failures of all families available to NotProgrammed, and their statistics to Stats.
func (b *Backend) publish() {
	all := map[localsink.ServiceName]error{}
	stats := make([]FamilyStats, 0, len(b.families))
	for _, st := range b.families {
		st.stats.IPv6 = st.family.v6
		stats = append(stats, st.stats)
		for _, failures := range []map[localsink.ServiceName]error{st.problems, st.refused} {
			for name, err := range failures {
				if all[name] != nil {
					err = fmt.Errorf("%w; %w", all[name], err)
				}
				all[name] = err
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notProgrammed, b.stats = all, stats
}

// NotProgrammed returns the Services that iptables-restore refuses, and those with parts that
// violate the contract; see [localsink.FailureReporter].
func (b *Backend) NotProgrammed() map[localsink.ServiceName]error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.notProgrammed)
}

// ResyncRequested returns a channel that receives after another program has removed rules of the
// backend; see [localsink.ResyncRequester].
func (b *Backend) ResyncRequested() <-chan struct{} { return b.monitor.Requests() }

// DriftedSince returns when the backend detected the oldest change by another program that it has
// not undone; see [localsink.DriftReporter].
func (b *Backend) DriftedSince() time.Time { return b.monitor.DriftedSince() }

// supported are the features that the backend has if the host has both families.
const supported = localsink.FeatureIPv4 | localsink.FeatureIPv6 | localsink.FeatureTCP | localsink.FeatureUDP | localsink.FeatureSCTP |
	localsink.FeatureAffinity | localsink.FeatureSourceRanges |
	localsink.FeatureClusterIP | localsink.FeatureNodePort | localsink.FeatureExternalIP | localsink.FeatureLoadBalancer |
	localsink.FeatureWeights | localsink.FeaturePass | localsink.FeatureRefusedShare | localsink.FeatureNoMasquerade

// Unsupported returns the features that the backend or this host does not have.
func (b *Backend) Unsupported() localsink.Features { return b.unsupported | ^supported }

// Variant returns the variant of the iptables commands in use.
func (b *Backend) Variant() Variant { return b.cfg.Variant }

// Close stops the backend and frees its resources. The rules stay in effect; [Cleanup]
// removes them. Close must not be called during Sync. Further calls have no effect.
func (b *Backend) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	b.monitor.Close()
	return b.watcher.close()
}
