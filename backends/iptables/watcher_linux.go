// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/drift"
)

// A watcher detects that other programs have removed rules of the backend. Most of the time it
// compares a number that the kernel computes anyway with its last value: the number of entries of
// the tables for the legacy variant, and the number of transactions for the nft variant. Only
// after that has changed does it list chains.
type watcher struct {
	cfg       *Config
	families  []watchedFamily
	counter   counter
	namespace *os.File // of the network

	mu     sync.Mutex // guards the following fields
	known  bool       // a Sync has succeeded
	counts []uint32
	// unverified reports whether another program may have removed rules between the last write
	// and the reading of counts after it.
	unverified bool
}

// A watchedFamily has what to look for in one family.
type watchedFamily struct {
	family   *family
	programs *programs
}

// A counter reads the numbers that change with the rules.
type counter interface {
	read() ([]uint32, error)
	// maybeRemoved reports whether rules may have been removed between two results of read.
	maybeRemoved(before, after []uint32) bool
	close() error
}

// newWatcher returns a watcher for the network namespace of the calling thread.
func newWatcher(cfg *Config, families []*familyState) (w *watcher, err error) {
	w = &watcher{cfg: cfg}
	for _, st := range families {
		w.families = append(w.families, watchedFamily{st.family, st.programs})
	}
	if w.namespace, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return nil, fmt.Errorf("iptables: network namespace: %w", err)
	}
	if cfg.Variant == VariantLegacy {
		w.counter, err = newEntryCounter(w.families)
	} else {
		w.counter, err = newTransactionCounter()
	}
	if err != nil {
		return nil, errors.Join(err, w.namespace.Close())
	}
	return w, nil
}

// source polls in the network namespace of the backend.
func (w *watcher) source(ctx context.Context, changed func()) error {
	runtime.LockOSThread() // until the end of the goroutine, which ends the thread
	if err := w.enter(); err != nil {
		return err
	}
	return drift.Poll(w.cfg.PollInterval, w.cfg.Logger, w.check)(ctx, changed)
}

// enter moves the calling thread to the namespace unless it is there.
func (w *watcher) enter() error {
	var here, there unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &here); err != nil {
		return fmt.Errorf("iptables: network namespace: %w", err)
	}
	if err := unix.Fstat(int(w.namespace.Fd()), &there); err != nil {
		return fmt.Errorf("iptables: network namespace: %w", err)
	}
	if here.Dev == there.Dev && here.Ino == there.Ino {
		return nil
	}
	if err := unix.Setns(int(w.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("iptables: enter the network namespace: %w", err)
	}
	return nil
}

// rememberWrite notes that the present rules are complete.
func (w *watcher) rememberWrite() error {
	counts, err := w.counter.read()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unverified = w.unverified || w.counts == nil || err == nil && w.counter.maybeRemoved(w.counts, counts)
	w.known, w.counts = err == nil, counts
	return err
}

// beginWrite notes that the rules are about to change.
func (w *watcher) beginWrite() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known = false
}

// check reports whether rules of the backend are missing.
func (w *watcher) check(ctx context.Context) (missing bool, err error) {
	w.mu.Lock()
	known, before, unverified := w.known, w.counts, w.unverified
	w.mu.Unlock()
	if !known {
		return false, nil
	}
	counts, err := w.counter.read()
	if err != nil || !unverified && !w.counter.maybeRemoved(before, counts) {
		return false, err
	}
	for _, f := range w.families {
		intact, err := f.programs.isIntact(ctx)
		if err != nil {
			return false, err
		}
		missing = missing || !intact
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.known || !slices.Equal(w.counts, before) {
		return false, nil // a Sync has changed the rules meanwhile
	}
	w.counts, w.unverified = counts, false
	if missing {
		w.known = false // until a Sync has repaired them
	}
	return missing, nil
}

func (w *watcher) close() error { return errors.Join(w.counter.close(), w.namespace.Close()) }
