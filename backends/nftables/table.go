// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"syscall"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// A transport carries transactions to the kernel.
type transport interface {
	// Commit applies the batch: nil says that it took effect, an *nfnl.Error that
	// it did not, and other errors that nobody knows.
	Commit(*nfnl.Batch) error
	// Check tells whether the kernel would accept the batch, and changes nothing.
	Check(*nfnl.Batch) error
	// Elements returns the elements of a set; the error is ENOENT when there is none.
	Elements(family uint8, table, set string) ([]nfnl.Element, error)
}

// maxUnusedChains is how many chains may wait for their deletion.
const maxUnusedChains = 64

// maxRefusedServices is how many Services the kernel may refuse before that is no longer
// taken to be about them.
const maxRefusedServices = 100

// largeBatchBytes is the size in bytes from which a transaction is worth some trouble.
const largeBatchBytes = 100_000

// A table brings one address family in line.
type table struct {
	family *family
	cfg Config
	log    *slog.Logger
	kernel transport
	// withoutNotifications runs a large change; it may be nil.
	withoutNotifications func(change func() error) error

	state  *tableState // nil when what the kernel holds is unknown
	tx  transaction
	refused map[localsink.ServiceName]error
	stats   TableStats
}

func newTable(f *family, c Config, kernel transport) *table {
	return &table{
		family: f, cfg: c, kernel: kernel,
		log:     c.Logger.With("table", f.name+" "+c.Table),
		tx:  transaction{family: f, table: c.Table},
		refused: map[localsink.ServiceName]error{},
		stats:   TableStats{Family: f.name},
	}
}

// sync follows u. names are the Services that may differ from what was last seen.
func (t *table) sync(u *localsink.Update, names []localsink.ServiceName) error {
	retried := t.recheckRefused(u)
	err := t.reconcile(u, append(names[:len(names):len(names)], retried...))
	if err != nil {
		t.state = nil
		t.stats.LastError = err.Error()
		return fmt.Errorf("nftables: table %s %s: %w", t.family.name, t.cfg.Table, err)
	}
	for _, name := range sortedNames(t.refused) {
		t.stats.LastError = fmt.Sprintf("nftables: Service %v is not served over %s: %v", name, t.family.name, t.refused[name])
	}
	return nil
}

func (t *table) reconcile(u *localsink.Update, names []localsink.ServiceName) error {
	node := newNodeMatches(t.family, u.Node)
	if t.state == nil || !t.state.node.equal(node) {
		return t.rebuild(u, node)
	}
	err := t.update(u, names)
	if err != nil {
		t.log.Warn("a change did not go through; all rules are written anew", "reason", err)
		return t.rebuild(u, node)
	}
	return nil
}

// errFull says that a set cannot hold what it should.
var errFull = errors.New("a set is full")

// update changes what differs.
func (t *table) update(u *localsink.Update, names []localsink.ServiceName) error {
	changes := make([]serviceChange, 0, len(names))
	for _, name := range names {
		c := serviceChange{name: name}
		if t.refused[name] == nil {
			c.desired = u.All.Get(name)
		}
		changes = append(changes, c)
	}
	t.tx.reset()
	t.state.apply(changes, u.All.Get)
	t.state.copyAffinityEntries(t.readElements)
	if !t.state.sizeSets() {
		return errFull
	}
	if err := t.commit(); err != nil {
		return err
	}
	t.state.cleanUp()
	if len(t.state.unused) > maxUnusedChains {
		t.state.deleteUnusedChains()
	}
	return t.commit()
}

// commit sends the script, if there is anything in it.
func (t *table) commit() error {
	defer t.tx.reset()
	if t.tx.empty() {
		return nil
	}
	t.stats.Transactions++
	batch := t.tx.encode()
	if t.withoutNotifications == nil || !t.tx.replaceTable && batch.Len() < largeBatchBytes {
		return t.kernel.Commit(batch)
	}
	return t.withoutNotifications(func() error { return t.kernel.Commit(batch) })
}

// rebuild writes everything anew in one transaction. Services that the kernel
// refuses are found out and left out.
func (t *table) rebuild(u *localsink.Update, node *nodeMatches) error {
	err := t.load(u, node)
	if refusal := (*nfnl.Error)(nil); !errors.As(err, &refusal) {
		return err
	}
	all := slices.DeleteFunc(slices.Collect(u.All.All()), func(s *localsink.Service) bool { return t.refused[s.Name] != nil })
	found, lookErr := t.findRefused(all, node)
	if lookErr != nil || len(found) == 0 {
		return errors.Join(err, lookErr)
	}
	for name, reason := range found {
		t.refused[name] = reason
		t.log.Error("the kernel refuses a Service; it is not served", "service", name, "error", reason)
	}
	return t.load(u, node)
}

// load replaces the table by one that holds all Services not known to be refused.
func (t *table) load(u *localsink.Update, node *nodeMatches) error {
	t.state = nil
	t.tx.reset()
	t.tx.replaceTable = true
	m := newTableState(t.family, node, t.cfg.MasqueradeMark, &t.tx)
	for s := range u.All.All() {
		if t.refused[s.Name] == nil {
			m.load(s)
		}
	}
	m.copyAffinityEntries(t.readElements)
	m.sizeSets()
	t.stats.Rebuilds++
	t.installReplacementHooks()
	if err := t.commit(); err != nil {
		return err
	}
	t.state = m
	return nil
}

// readElements returns the elements that a set has in the kernel. What cannot be read is
// lost: clients draw their endpoints anew.
func (t *table) readElements(set string) []nfnl.Element {
	elements, err := t.kernel.Elements(t.family.number, t.cfg.Table, set)
	if err != nil && !errors.Is(err, syscall.ENOENT) {
		t.log.Warn("the session affinity of some clients is lost", "set", set, "error", err)
	}
	return elements
}

// installReplacementHooks readies the table that is there for its replacement. If the
// kernel refuses that, there is none, or none of ours.
func (t *table) installReplacementHooks() {
	script := transaction{family: t.family, table: t.cfg.Table, chains: replacementHooks()}
	if err := t.kernel.Commit(script.encode()); err != nil {
		t.log.Debug("there is no table to hand over from", "reason", err)
	}
}

// recheckRefused tries the refused Services again, each by itself, and returns those
// that are not refused any more.
func (t *table) recheckRefused(u *localsink.Update) []localsink.ServiceName {
	var better []localsink.ServiceName
	for _, name := range sortedNames(t.refused) {
		s := u.All.Get(name)
		if s != nil {
			if err := t.check(newNodeMatches(t.family, u.Node), []*localsink.Service{s}); err != nil {
				t.refused[name] = err
				continue
			}
		}
		delete(t.refused, name)
		better = append(better, name)
	}
	return better
}

// check tells whether the kernel would accept some Services in a table of their
// own.
func (t *table) check(node *nodeMatches, services []*localsink.Service) error {
	script := transaction{family: t.family, table: t.cfg.Table + "-check", replaceTable: true, detached: true}
	m := newTableState(t.family, node, t.cfg.MasqueradeMark, &script)
	for _, s := range services {
		m.load(s)
	}
	m.sizeSets()
	return t.kernel.Check(script.encode())
}

// findRefused finds by halving which of the Services the kernel refuses. It
// returns none when the kernel refuses even a table without Services, and an error
// when there are too many.
func (t *table) findRefused(all []*localsink.Service, node *nodeMatches) (map[localsink.ServiceName]error, error) {
	found := map[localsink.ServiceName]error{}
	if err := t.check(node, nil); err != nil {
		return nil, fmt.Errorf("an empty table is refused as well: %w", err)
	}
	var search func([]*localsink.Service) error
	search = func(some []*localsink.Service) error {
		if len(some) == 0 {
			return nil
		}
		err := t.check(node, some)
		switch {
		case err == nil:
			return nil
		case len(some) == 1:
			if found[some[0].Name] = err; len(found) > maxRefusedServices {
				return fmt.Errorf("more than %d Services are refused by themselves", maxRefusedServices)
			}
			return nil
		}
		half := len(some) / 2
		return errors.Join(search(some[:half]), search(some[half:]))
	}
	return found, search(all)
}
