// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"syscall"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// A transport sends transactions to the kernel.
type transport interface {
	// Commit applies the batch. If it returns nil, the batch took effect; with an
	// *nfnl.Error, it did not; with another error, its effect is unknown.
	Commit(*nfnl.Batch) error
	// Check returns the error that Commit would return, and changes nothing.
	Check(*nfnl.Batch) error
	// Elements returns the elements of a set. The error is ENOENT if there is no such set.
	Elements(family uint8, table, set string) ([]nfnl.Element, error)
	// Get returns single elements of a set: those with the keys in an encoded list of at most
	// nfnl.MaxGet elements. The error is ENOENT if one does not exist.
	Get(family uint8, table, set string, keys []byte) ([]nfnl.Element, error)
}

// maxUnusedChains is the number of unused chains above which they are deleted.
const maxUnusedChains = 64

// errFull means that a set has no room for its elements.
var errFull = errors.New("a set is full")

// A table keeps the table of one address family in sync with updates. Its methods must not
// be called concurrently.
type table struct {
	family *family
	cfg    Config
	log    *slog.Logger
	kernel transport

	state   *tableState   // nil if the content of the kernel's table is unknown
	handles objectHandles // of the kernel's table, if state is not nil
	commits uint64        // transactions that took effect
	tx      transaction
	refused map[localsink.ServiceName]error // by the kernel
	counts  *connectionCounts               // nil if connections are not counted
	stats   TableStats
	// repaired reports whether an update failed because another program had changed the table,
	// which was then rebuilt.
	repaired bool
}

func newTable(f *family, cfg Config, kernel transport) *table {
	t := &table{
		family: f, cfg: cfg, kernel: kernel,
		log:     cfg.Logger.With("table", f.name+" "+cfg.Table),
		tx:      transaction{family: f, table: cfg.Table},
		refused: map[localsink.ServiceName]error{},
		stats:   TableStats{Family: f.name},
	}
	if cfg.CountConnections {
		t.counts = &connectionCounts{table: t, owners: map[countOwner]*ownerCounts{}, ports: map[string]localsink.ServiceName{}}
	}
	return t
}

// sync applies u; names are the Services that may differ from the last update.
func (t *table) sync(u *localsink.Update, names []localsink.ServiceName) error {
	accepted := t.recheckRefused(u)
	err := t.reconcile(u, append(slices.Clip(names), accepted...))
	if err != nil {
		t.state = nil
		t.stats.LastError = err.Error()
		return fmt.Errorf("nftables: table %s %s: %w", t.family.name, t.cfg.Table, err)
	}
	for _, name := range sortedNames(t.refused) {
		t.stats.LastError = fmt.Sprintf("nftables: Service %v not programmed in table %s %s: %v",
			name, t.family.name, t.cfg.Table, t.refused[name])
	}
	return nil
}

// reconcile updates the table if its state is known and the node's part of the rules has not
// changed, and rebuilds it otherwise.
func (t *table) reconcile(u *localsink.Update, names []localsink.ServiceName) error {
	node := newNodeMatches(t.family, u.Node)
	if t.state == nil || !t.state.node.equal(node) {
		return t.rebuild(u, node)
	}
	err := t.update(u, node, names)
	if err != nil {
		t.log.Warn("Update failed; rebuilding the table", "err", err)
		if rebuildErr := t.rebuild(u, node); rebuildErr != nil {
			return rebuildErr
		}
		t.repaired = isExternalChange(err)
	}
	return nil
}

// isExternalChange reports whether the kernel refused a transaction because an object does not exist,
// or exists already. The table's own state excludes both, so another program has changed it.
func isExternalChange(err error) bool {
	return isRefusal(err) && (errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EEXIST))
}

// update commits the two transactions of a change. After an error the state is wrong.
func (t *table) update(u *localsink.Update, node *nodeMatches, names []localsink.ServiceName) error {
	t.tx.reset()
	t.state.setNode(node)
	if err := t.state.prepare(t.desiredChanges(u, names), u.All.Get, t.readElements); err != nil {
		return err
	}
	if err := t.commit(t.state); err != nil {
		return err
	}
	t.state.cleanUp()
	if len(t.state.unused) > maxUnusedChains {
		t.state.deleteUnusedChains()
	}
	err := t.commit(t.state)
	if err != nil {
		t.stats.CleanupFailures++
	}
	return err
}

// desiredChanges returns the desired states of the named Services. Refused Services are not
// desired.
func (t *table) desiredChanges(u *localsink.Update, names []localsink.ServiceName) []serviceChange {
	changes := make([]serviceChange, 0, len(names))
	for _, name := range names {
		c := serviceChange{name: name}
		if t.refused[name] == nil {
			c.desired = u.All.Get(name)
		}
		changes = append(changes, c)
	}
	return changes
}

// commit sends the transaction, which leads to the state st, unless it is empty. It empties the
// transaction.
func (t *table) commit(st *tableState) error {
	defer t.tx.reset()
	if t.tx.empty() {
		return nil
	}
	t.stats.Transactions++
	removed := t.counts.readRemoved()
	if err := t.send(t.tx.encode()); err != nil {
		t.stats.SyncFailures++
		return err
	}
	t.handles.apply(&t.tx)
	t.counts.add(removed, st)
	return nil
}

// send commits the transaction of b.
func (t *table) send(b *nfnl.Batch) error {
	err := t.kernel.Commit(b)
	if err == nil {
		t.commits++
	}
	return err
}

// rebuild replaces the table. If the kernel refuses that, rebuild finds the Services that it
// refuses by themselves, and replaces the table by one without them.
func (t *table) rebuild(u *localsink.Update, node *nodeMatches) error {
	err := t.load(u, node)
	if !isRefusal(err) {
		return err
	}
	found, searchErr := t.findRefused(slices.Collect(t.notRefused(u)), node)
	if searchErr != nil || len(found) == 0 {
		return errors.Join(err, searchErr)
	}
	for name, reason := range found {
		t.refused[name] = reason
		t.log.Error("Service not programmed", "service", name, "reason", "kernel refuses the Service: "+reason.Error())
	}
	return t.load(u, node)
}

// load replaces the table in one transaction by one that holds all Services that are not
// refused.
func (t *table) load(u *localsink.Update, node *nodeMatches) error {
	t.state = nil
	t.tx.reset()
	t.tx.replaceTable = true
	st := newTableState(t.family, node, t.cfg, &t.tx)
	if t.counts != nil {
		st.countedPorts = t.counts.ports
	}
	for s := range t.notRefused(u) {
		st.load(s)
	}
	st.copyAffinityEntries(t.readElements)
	st.sizeSets() // all sets are new, so everything fits
	t.stats.Rebuilds++
	t.installReplacementHooks()
	if err := t.commit(st); err != nil {
		return err
	}
	t.state = st
	return nil
}

// notRefused yields the Services of u that the kernel does not refuse.
func (t *table) notRefused(u *localsink.Update) iter.Seq[*localsink.Service] {
	return func(yield func(*localsink.Service) bool) {
		for s := range u.All.All() {
			if t.refused[s.Name] == nil && !yield(s) {
				return
			}
		}
	}
}

// readElements returns the elements that a set has in the kernel. If that fails, affinity is
// lost: clients get new endpoints.
func (t *table) readElements(set string) []nfnl.Element {
	elements, err := t.kernel.Elements(t.family.number, t.cfg.Table, set)
	if err != nil && !errors.Is(err, syscall.ENOENT) {
		t.log.Warn("Affinity entries lost: failed to read a set", "set", set, "err", err)
	}
	return elements
}

// installReplacementHooks prepares the present table for its replacement. The kernel refuses
// that if there is no table, or one that this package did not create.
func (t *table) installReplacementHooks() {
	chains := replacementHooks()
	for i := range chains {
		chains[i].rules = nil
	}
	// Chains of an earlier attempt exist, with rules, which must not accumulate.
	tx := transaction{family: t.family, table: t.cfg.Table, chains: chains, replacedRules: replacementHooks()}
	if err := t.send(tx.encode()); err != nil {
		t.log.Debug("No table to replace", "err", err)
	}
}
