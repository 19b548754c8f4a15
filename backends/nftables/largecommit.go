// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"bytes"
	"errors"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

// maxConditionalCommits is the number of attempts to commit a transaction without a
// transaction of another program just before it.
const maxConditionalCommits = 3

// errInterrupted means that a transaction had no effect, because another program committed one
// while the listener was paused.
var errInterrupted = errors.New("another program changed rules while a large transaction was prepared")

// A generationReader returns the generation of the kernel's rules.
type generationReader interface{ Generation() (uint32, error) }

// commitWithoutListener commits a large transaction while the listener is paused: the kernel describes
// each element to listeners, which takes about ten times as long as to apply it.
//
// Changes of the table by other programs meanwhile must not be missed, and changes of other
// tables must not cost anything. The generation of the rules shows whether another transaction
// was committed, but not of which table. So the transaction is committed on condition that the
// generation is still the one from before. If the transaction replaces the table, earlier
// changes do not matter, and it is repeated. A transaction in the moment between the commit and
// the return of the listener may have been missed; then the table is read back. intact is nil if
// the transaction does not replace the table.
func (m *driftMonitor) commitWithoutListener(k transport, g generationReader, b *nfnl.Batch, intact func() (bool, error)) error {
	generation, err := g.Generation()
	if err != nil {
		return err
	}
	if err := m.listener.Pause(); err != nil {
		return err
	}
	own, err := commitConditionally(k, g, b, generation, intact != nil)
	resumeErr := m.listener.Resume()
	if resumeErr != nil {
		m.log.Warn("Changes by other programs may remain undetected", "err", resumeErr)
	}
	if err != nil {
		return err
	}
	if last, err := g.Generation(); err == nil && last == own {
		return nil
	}
	if intact != nil {
		if ok, err := intact(); ok && err == nil {
			return nil
		}
	}
	m.reportMissed()
	return nil
}

// commitConditionally commits the transaction if the generation is the given one. If the
// transaction replaces the table, commitConditionally tries again with the present generation,
// and at last without a condition. It returns the generation of the transaction, zero if it is
// unknown.
func commitConditionally(k transport, g generationReader, b *nfnl.Batch, generation uint32, replaces bool) (own uint32, err error) {
	for range maxConditionalCommits {
		b.SetGeneration(generation)
		err := k.Commit(b)
		if !nfnl.IsOtherGeneration(err) {
			return nfnl.NextGeneration(generation), err
		}
		if !replaces {
			return 0, errInterrupted
		}
		if generation, err = g.Generation(); err != nil {
			return 0, err
		}
	}
	b.SetGeneration(0)
	return 0, k.Commit(b)
}

// isIntact reports whether the table that the transaction has created is as the transaction made
// it. It does not read affinity entries, which packets change.
func (t *transaction) isIntact(k transport) (bool, error) {
	want := len(t.sets) + len(t.chains)
	for i := range t.chains {
		want += len(t.chains[i].rules)
	}
	count, maxHandle, err := k.Objects(t.family.number, t.table)
	if err != nil || count != want || maxHandle != uint64(want) {
		return false, err
	}
	written := make(map[*set]*encodedElements, len(t.pending))
	for i := range t.pending {
		written[t.pending[i].set] = &t.pending[i].added
	}
	for _, s := range t.sets {
		if s.kind == affinityEntries {
			continue
		}
		elements := map[string]nfnl.Element{}
		if w := written[s]; w != nil {
			for piece := range w.all {
				for e := range nfnl.ParseElements(piece) {
					elements[string(e.Key)] = e
				}
			}
		}
		held, err := k.Elements(t.family.number, t.table, s.name)
		if err != nil || len(held) != len(elements) {
			return false, err
		}
		for _, h := range held {
			if w, ok := elements[string(h.Key)]; !ok || !bytes.Equal(w.Data, h.Data) || w.Chain != h.Chain {
				return false, nil
			}
		}
	}
	return true, nil
}
