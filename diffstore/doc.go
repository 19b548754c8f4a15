// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package diffstore keeps an ordered set of values and knows what changed since
// when; it knows no Services, no nodes and no network.
//
// Writers change a [Store] in transactions ([Store.Update]); writing a value that
// is equal to the present one is no change and wakes nobody. Readers take
// immutable snapshots ([Store.Snapshot]) in constant time and without a lock, and
// ask a snapshot what changed since a [Revision] or since an older snapshot, which
// costs as much as there are changes, as far back as the store remembers
// deletions.
//
// A [Reader] remembers what one consumer has accepted and yields the difference
// until it is accepted. A [Fill] is for a caller that always knows the whole
// state: it says everything, and gets the difference.
//
// Values are compared by a 64-bit content hash, seeded per store: a new value is
// taken for the old one, and lost, once in 2^64 writes. Keys and values belong to
// the store once they are set and must not be written to any more.
package diffstore
