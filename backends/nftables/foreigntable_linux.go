// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

// ReadForeignTable reads a table in the network namespace of the calling thread. A table
// that does not exist, or cannot exist because the kernel lacks nf_tables, has no chains.
func ReadForeignTable(isIPv6 bool, name string) (*ForeignTable, error) {
	t := &ForeignTable{IPv6: isIPv6, Name: name}
	err := withConn(func(conn *nfnl.Conn) error {
		chains, err := conn.Chains(t.family().number, name)
		if err != nil || len(chains) == 0 {
			return err
		}
		rules, err := conn.Rules(t.family().number, name)
		if err != nil {
			return err
		}
		index := make(map[string]int, len(chains))
		for i, c := range chains {
			index[c.Name] = i
			t.Chains = append(t.Chains, ForeignChain{Name: c.Name, Base: c.Base})
		}
		for _, r := range rules {
			if i, found := index[r.Chain]; found { // else another program has just added the chain
				t.Chains[i].Rules = append(t.Chains[i].Rules, ForeignRule{Handle: r.Handle, Targets: r.Targets})
			}
		}
		return nil
	})
	if err != nil && !isAbsent(err) {
		return nil, explain(fmt.Errorf("table %s: %w", t, err))
	}
	return t, nil
}

// String returns the family and the name, as nft writes them.
func (t *ForeignTable) String() string { return t.family().name + " " + t.Name }

func (t *ForeignTable) family() *family {
	if t.IPv6 {
		return ipv6()
	}
	return ipv4()
}

// Apply makes the edit in one transaction, in the network namespace of the calling thread.
// If it returns an error, nothing has changed. The error is a *[ChainInUseError] if a rule
// or map outside of the edit refers to a chain that the edit deletes. If the table has
// changed since it was read, it can be another error.
func (t *ForeignTable) Apply(edit ForeignEdit) error {
	var b nfnl.Batch
	b.Reset()
	start := func(kind uint16, tableAttr, chainAttr uint16, chain string) {
		b.Start(kind, 0, t.family().number)
		b.String(tableAttr, t.Name)
		b.String(chainAttr, chain)
	}
	for _, chain := range slices.Sorted(maps.Keys(edit.DeleteRules)) {
		for _, handle := range edit.DeleteRules[chain] {
			start(nfnl.MsgDelRule, nfnl.RuleTable, nfnl.RuleChain, chain)
			b.Uint64(nfnl.RuleHandle, handle)
		}
	}
	// Chains to delete may refer to each other, so all become empty first.
	for _, chain := range slices.Concat(edit.Flush, edit.Delete) {
		start(nfnl.MsgDelRule, nfnl.RuleTable, nfnl.RuleChain, chain)
	}
	firstDelete := b.Messages() + 1
	for _, chain := range edit.Delete {
		start(nfnl.MsgDelChain, nfnl.ChainTable, nfnl.ChainName, chain)
	}
	err := withConn(func(conn *nfnl.Conn) error { return conn.Commit(&b) })
	var refused *nfnl.Error
	if errors.As(err, &refused) && refused.Errno == unix.EBUSY && refused.Message >= firstDelete {
		return &ChainInUseError{Table: t.String(), Chain: edit.Delete[refused.Message-firstDelete]}
	}
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("nftables: table %s: changed since it was read: %w", t, err)
	}
	if err != nil {
		return explain(fmt.Errorf("table %s: %w", t, err))
	}
	return nil
}

// DeleteTables deletes the tables with that name of the families ip and ip6 from the network
// namespace of the calling thread, and returns how many there were.
func DeleteTables(name string) (deleted int, err error) {
	err = withConn(func(conn *nfnl.Conn) error {
		var errs []error
		for _, f := range []*family{ipv4(), ipv6()} {
			var b nfnl.Batch
			b.Reset()
			b.Start(nfnl.MsgDelTable, 0, f.number)
			b.String(nfnl.TableName, name)
			if err := conn.Commit(&b); err == nil {
				deleted++
			} else if !isAbsent(err) {
				errs = append(errs, explain(fmt.Errorf("table %s %s: %w", f.name, name, err)))
			}
		}
		return errors.Join(errs...)
	})
	if isAbsent(err) {
		return deleted, nil
	}
	return deleted, err
}

// isAbsent reports whether err means that a table does not exist, or that the kernel has no
// nf_tables or not that family.
func isAbsent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPROTONOSUPPORT) || isFamilyUnsupported(err)
}

func withConn(f func(conn *nfnl.Conn) error) error {
	conn, err := nfnl.Open()
	if err != nil {
		return err
	}
	return errors.Join(f(conn), conn.Close())
}
