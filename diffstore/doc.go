// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package diffstore provides an ordered, versioned set of values that computes the
// changes between two of its versions. It has no notion of Services, nodes or networks.
//
//   - store.go: writers change a [Store] in transactions ([Store.Update]). Setting a key to
//     an equal value is not a change.
//   - snapshot.go: a [Snapshot] is an immutable version of a store. Taking one costs
//     constant time and no lock.
//   - diff.go: [Snapshot.Diff] yields the net changes between two snapshots. The cost is
//     proportional to the number of changed keys.
//   - tombstones.go: the deleted keys that a store keeps for Diff, and the bound on their number.
//   - reader.go: a [Reader] records which snapshot a consumer has acknowledged and yields
//     the changes since.
//   - fill.go: a [Fill] computes the changes for a caller that renders its whole output
//     each time.
//   - hash.go: the content hash by which values are compared.
//
// # Revisions
//
// Each changed key gets the next [Revision] of its store. A store has one log entry per
// key, its newest change, ordered by revision; a deleted key is represented by a tombstone.
// Tombstones are removed when all readers have acknowledged them, or when there are more
// than max(1024, number of keys). Diff from a snapshot that is older than a removed
// tombstone still returns the correct result, but compares both snapshots key by key.
//
// # Equality
//
// Values are compared by a 64-bit content hash with a random seed per store. A changed
// value is mistaken for an equal one, and the write is lost, with probability 2^-64.
//
// # Ownership
//
// Keys and values belong to the store after Set; the caller must not modify them.
package diffstore
