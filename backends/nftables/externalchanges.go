// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"errors"
	"syscall"
	"time"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

const (
	// pollInterval is the interval of requests for the generation of the rules.
	pollInterval = 250 * time.Millisecond
	// restFactor limits the CPU time of verifications while other programs keep changing rules of
	// their own: the next rests for so many times the duration of the one before.
	restFactor = 99
	// maxRest is the maximum rest. After as long without a verification, several do not rest.
	maxRest = time.Minute
)

// A kernelReader reads the present rules.
type kernelReader interface {
	// Generation changes with each transaction in the network namespace.
	Generation() (uint32, error)
	Table(family uint8, name string) (nfnl.Table, error)
	Objects(family uint8, table string) (all []nfnl.Object, exact bool, err error)
	SetDigest(family uint8, table, set string) (uint64, error)
}

// A verifier detects that other programs have changed the tables. Its check is called at intervals:
//
//  1. If the generation of the rules is the one that the transactions of the backend lead to,
//     nothing has changed in any table. That is all while no other program changes rules.
//  2. After a transaction of another program, whatever its table, the number of chains and sets of
//     each table is compared: a removed table is found at once.
//  3. Then the chains, the rules and the sets are compared by handle, and at last the elements of
//     each set by digest. While other programs keep changing rules, both rest, so that each takes
//     about 1 % of a CPU.
//
// A set is read without holding the tables, because that takes long. If the backend has changed the
// set meanwhile, it is read again later.
type verifier struct {
	tables []*table
	lock   chan struct{} // holds a value while the tables are in use
	kernel kernelReader  // not used by others

	generation uint32 // of the rules at the last check
	commits    uint64 // of the backend until then
	changes    uint64 // checks that found transactions of other programs

	objects, elements schedule
	pass              []setCheck // sets to verify
	passChanges       uint64     // changes when the pass began
}

// A schedule is when to verify something.
type schedule struct {
	verified uint64    // changes after which all was verified
	next     time.Time // no verification before
}

func (s *schedule) due(changes uint64) bool {
	return s.verified < changes && !time.Now().Before(s.next)
}

// spend postpones the next verification after one that took so long. Earlier rests count.
func (s *schedule) spend(took time.Duration) {
	now := time.Now()
	if earliest := now.Add(-maxRest); s.next.Before(earliest) {
		s.next = earliest
	}
	s.next = s.next.Add(restFactor * took)
	if latest := now.Add(maxRest); s.next.After(latest) {
		s.next = latest
	}
}

// A setCheck is a set to verify.
type setCheck struct {
	table *table
	state *tableState
	set   *set
}

// newVerifier returns a verifier of changes from now on. The tables must not be in use.
func newVerifier(tables []*table, lock chan struct{}, kernel kernelReader) (*verifier, error) {
	generation, err := kernel.Generation()
	if err != nil {
		return nil, err
	}
	v := &verifier{tables: tables, lock: lock, kernel: kernel, generation: generation}
	v.commits = v.totalCommits()
	return v, nil
}

// check reports whether other programs have changed the tables. After that it does not verify a
// table until it has been replaced.
func (v *verifier) check(ctx context.Context) (changed bool, err error) {
	if !v.acquire(ctx) {
		return false, nil
	}
	changed, err = v.checkObjects()
	v.release()
	if changed || err != nil || !v.elements.due(v.changes) {
		return changed, err
	}
	return v.checkElements(ctx)
}

// acquire waits until nothing else uses the tables; it reports whether it succeeded before ctx ended.
func (v *verifier) acquire(ctx context.Context) bool {
	select {
	case v.lock <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (v *verifier) release() { <-v.lock }

// checkObjects compares the generation, and the objects of the tables if necessary. The lock must
// be held.
func (v *verifier) checkObjects() (changed bool, err error) {
	generation, err := v.kernel.Generation()
	if err != nil {
		return false, err
	}
	commits := v.totalCommits()
	foreign := generation != nfnl.AddGenerations(v.generation, commits-v.commits)
	v.generation, v.commits = generation, commits
	if foreign {
		v.changes++
	}
	objectsDue, began := v.objects.due(v.changes), time.Now()
	if !foreign && !objectsDue {
		return false, nil
	}
	exact := true
	for _, t := range v.tables {
		if t.state == nil || t.state.drifted {
			continue // Sync replaces the table
		}
		result, err := v.verifyTable(t)
		if err == nil && result == intact && objectsDue {
			result, err = v.verifyObjects(t)
		}
		if err != nil {
			return changed, err
		}
		t.state.drifted = result == drifted
		changed = changed || t.state.drifted
		exact = exact && result != unknown
	}
	if objectsDue {
		v.objects.spend(time.Since(began))
	}
	if objectsDue && exact {
		v.objects.verified = v.changes
	}
	return changed, nil
}

func (v *verifier) totalCommits() (n uint64) {
	for _, t := range v.tables {
		n += t.commits
	}
	return n
}

// A finding is the result of a verification.
type finding uint8

const (
	intact  finding = iota
	drifted         // another program has changed the table
	unknown         // transactions of other programs have interrupted the verification
)

// verifyTable finds out whether the table exists and has the right number of chains and sets.
func (v *verifier) verifyTable(t *table) (finding, error) {
	held, err := v.kernel.Table(t.family.number, t.cfg.Table)
	switch {
	case errors.Is(err, syscall.ENOENT):
		return drifted, nil
	case held.Objects != len(t.handles.chains)+len(t.handles.sets) || held.Flags != 0:
		return drifted, err
	}
	return intact, err
}

// verifyObjects finds out whether the table has the right chains, rules and sets, and as far as the
// kernel returns that, the right number of elements.
func (v *verifier) verifyObjects(t *table) (finding, error) {
	held, exact, err := v.kernel.Objects(t.family.number, t.cfg.Table)
	switch {
	case err != nil:
		return unknown, err
	case !t.handles.match(held) && !exact:
		return unknown, nil
	case !t.handles.match(held) || !t.state.countsMatch(held):
		return drifted, nil
	}
	return intact, nil
}

// countsMatch reports whether the sets have the right number of elements, as far as the kernel
// returns it.
func (st *tableState) countsMatch(held []nfnl.Object) bool {
	counts := make(map[string]int, len(st.sets))
	for s := range st.verifiable {
		counts[s.name] = s.count
	}
	for i := range held {
		want, ok := counts[held[i].Name]
		if ok && held[i].Kind == nfnl.MsgNewSet && held[i].Elements >= 0 && held[i].Elements != want {
			return false
		}
	}
	return true
}

// checkElements verifies the elements of sets until it is to rest.
func (v *verifier) checkElements(ctx context.Context) (changed bool, err error) {
	if len(v.pass) == 0 && !v.beginPass(ctx) {
		return false, nil
	}
	for len(v.pass) > 0 && v.elements.due(v.changes) && ctx.Err() == nil {
		c := v.pass[0]
		v.pass = v.pass[1:]
		changed, err = v.checkSet(ctx, c)
		if changed || err != nil {
			v.pass = nil
			return changed, err
		}
	}
	if len(v.pass) == 0 {
		v.elements.verified = v.passChanges
	}
	return false, nil
}

// beginPass lists all sets whose elements only the backend changes. It reports whether it
// succeeded before ctx ended.
func (v *verifier) beginPass(ctx context.Context) bool {
	if !v.acquire(ctx) {
		return false
	}
	defer v.release()
	v.passChanges = v.changes
	for _, t := range v.tables {
		if t.state == nil || t.state.drifted {
			continue
		}
		for s := range t.state.verifiable {
			v.pass = append(v.pass, setCheck{t, t.state, s})
		}
	}
	return true
}

// checkSet reports whether another program has changed the elements of a set. If the backend has
// changed them meanwhile, the set is verified later in the pass.
func (v *verifier) checkSet(ctx context.Context, c setCheck) (changed bool, err error) {
	before, exists := v.expectedDigest(ctx, c)
	if !exists {
		return false, nil
	}
	began := time.Now()
	held, err := v.kernel.SetDigest(c.table.family.number, c.table.cfg.Table, c.set.name)
	v.elements.spend(time.Since(began))
	if held == before && err == nil || !v.acquire(ctx) {
		return false, nil
	}
	defer v.release()
	switch {
	case !c.exists():
		return false, nil
	case c.set.digest != before:
		v.pass = append(v.pass, c)
		return false, nil
	case err != nil && !errors.Is(err, syscall.ENOENT):
		return false, err
	}
	c.state.drifted = true
	return true, nil
}

// expectedDigest returns the digest of a set, and whether the set still exists.
func (v *verifier) expectedDigest(ctx context.Context, c setCheck) (digest uint64, exists bool) {
	if !v.acquire(ctx) {
		return 0, false
	}
	defer v.release()
	return c.set.digest, c.exists()
}

// exists reports whether the set still exists, in a table that is not to be replaced.
func (c *setCheck) exists() bool {
	return c.table.state == c.state && !c.state.drifted && c.state.sets[c.set.index] == c.set
}
