// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore_test

import (
	"cmp"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/diffstore"
)

// TestHashDistinguishesContents sets each pair of contents one after the other: the second
// must be a change exactly if it differs.
func TestHashDistinguishesContents(t *testing.T) {
	type h = *diffstore.Hash
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	strings := func(lists ...[]string) func(h) {
		return func(h h) {
			for _, list := range lists {
				h.Len(len(list))
				for _, s := range list {
					h.String(s)
				}
			}
		}
	}
	contents := map[string]func(h){
		"empty":                func(h) {},
		"true":                 func(h h) { h.Bool(true) },
		"false":                func(h h) { h.Bool(false) },
		"256":                  func(h h) { h.Uint(256) },
		"an empty string":      func(h h) { h.String(""); h.Uint(7) },
		"ab, c":                func(h h) { h.String("ab"); h.String("c") },
		"a, bc":                func(h h) { h.String("a"); h.String("bc") },
		"abc":                  func(h h) { h.String("abc") },
		"[a b] [c]":            strings([]string{"a", "b"}, []string{"c"}),
		"[a] [b c]":            strings([]string{"a"}, []string{"b", "c"}),
		"[] [a b c]":           strings(nil, []string{"a", "b", "c"}),
		"no address":           func(h h) { h.Addr(netip.Addr{}) },
		"0.0.0.0":              func(h h) { h.Addr(addr("0.0.0.0")) },
		"::":                   func(h h) { h.Addr(addr("::")) },
		"10.0.0.1":             func(h h) { h.Addr(addr("10.0.0.1")) },
		"::ffff:10.0.0.1":      func(h h) { h.Addr(addr("::ffff:10.0.0.1")) },
		"10.0.0.1:80":          func(h h) { h.AddrPort(netip.AddrPortFrom(addr("10.0.0.1"), 80)) },
		"10.0.0.1:81":          func(h h) { h.AddrPort(netip.AddrPortFrom(addr("10.0.0.1"), 81)) },
		"10.0.0.0/8":           func(h h) { h.Prefix(prefix("10.0.0.0/8")) },
		"10.0.0.0/9":           func(h h) { h.Prefix(prefix("10.0.0.0/9")) },
		"no prefix":            func(h h) { h.Prefix(netip.Prefix{}) },
		"no address, no port":  func(h h) { h.AddrPort(netip.AddrPort{}) },
		"0.0.0.0/0":            func(h h) { h.Prefix(prefix("0.0.0.0/0")) },
		"::/0":                 func(h h) { h.Prefix(prefix("::/0")) },
		"one, two":             func(h h) { h.Uint(1); h.Uint(2) },
		"two, one":             func(h h) { h.Uint(2); h.Uint(1) },
		"empty list, then one": func(h h) { h.Len(0); h.Uint(1) },
	}
	s := diffstore.New(cmp.Compare[int], func(h h, name string) { contents[name](h) })
	for a := range contents {
		for b := range contents {
			s.Update(func(tx *diffstore.Tx[int, string]) {
				tx.Set(0, a)
				require.Equal(t, a != b, tx.Set(0, b), "%q, then %q", a, b)
			})
		}
	}
}

// TestStoresHaveDifferentSeeds checks the defence against prepared hash collisions.
func TestStoresHaveDifferentSeeds(t *testing.T) {
	require.NotEqual(t, newStore().Sum(1), newStore().Sum(1))
}
