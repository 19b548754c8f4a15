// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
)

// TestForeignTable reads and edits a table of another program. An edit that the kernel
// refuses changes nothing.
func TestForeignTable(t *testing.T) {
	ns := netnstest.New(t)
	for _, command := range [][]string{
		{"add", "table", "ip", "nat"},
		{"add", "chain", "ip", "nat", "PREROUTING", "{ type nat hook prerouting priority -100 ; }"},
		{"add", "chain", "ip", "nat", "A"},
		{"add", "chain", "ip", "nat", "B"},
		{"add", "rule", "ip", "nat", "PREROUTING", "accept"},
		{"add", "rule", "ip", "nat", "PREROUTING", "ip", "protocol", "tcp", "jump", "A"},
		{"add", "rule", "ip", "nat", "A", "goto", "B"},
		{"add", "rule", "ip", "nat", "B", "counter"},
		{"add", "table", "ip", "other"},
	} {
		out, err := ns.Command("nft", command...)
		require.NoError(t, err, out)
	}
	read := func(isIPv6 bool, name string) (table *ForeignTable) {
		ns.Do(func() (err error) { table, err = ReadForeignTable(isIPv6, name); return err })
		return table
	}
	require.Empty(t, read(true, "nat").Chains, "another family")
	require.Empty(t, read(false, "other").Chains)
	table := read(false, "nat")
	require.Equal(t, "ip nat", table.String())
	require.Len(t, table.Chains, 3)
	require.True(t, table.Chains[0].Base)
	require.False(t, table.Chains[1].Base)
	require.Equal(t, []string{"A"}, table.Chains[0].Rules[1].Targets)
	require.Equal(t, []string{"B"}, table.Chains[1].Rules[0].Targets)
	require.Empty(t, table.Chains[2].Rules[0].Targets)

	before, err := ns.Command("nft", "list", "table", "ip", "nat")
	require.NoError(t, err)
	jump := map[string][]uint64{"PREROUTING": {table.Chains[0].Rules[1].Handle}}
	apply := func(edit ForeignEdit) error { return ns.Run(func() error { return table.Apply(edit) }) }
	inUse := (*ChainInUseError)(nil)
	require.ErrorAs(t, apply(ForeignEdit{Delete: []string{"B", "A"}}), &inUse)
	require.Equal(t, ChainInUseError{Table: "ip nat", Chain: "A"}, *inUse)
	require.Error(t, apply(ForeignEdit{DeleteRules: jump, Delete: []string{"A", "C"}}))
	after, err := ns.Command("nft", "list", "table", "ip", "nat")
	require.NoError(t, err)
	require.Equal(t, before, after)

	require.NoError(t, apply(ForeignEdit{DeleteRules: jump, Flush: []string{"B"}, Delete: []string{"A"}}))
	table = read(false, "nat")
	require.Len(t, table.Chains, 2)
	require.Len(t, table.Chains[0].Rules, 1)
	require.Empty(t, table.Chains[1].Rules)

	for _, want := range []int{1, 0} {
		ns.Do(func() error {
			deleted, err := DeleteTables("nat")
			if err == nil && deleted != want {
				err = errors.New("another number of tables was deleted")
			}
			return err
		})
	}
}
