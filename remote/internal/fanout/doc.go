// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fanout tells thousands of streams about one ordered set as it changes; it
// knows nothing of what the items are, of gRPC, or of a wire format.
//
// A [Hub] has the items. Streams that see the same of every item are of one class: what
// changed between two states is computed and encoded once for each class, and all
// streams of the class send the same bytes. A stream that was slow is told the newest
// state; nothing waits for it, and nothing is queued for it.
//
// [Hub.Serve] is one stream from its beginning to its end: it finds out what the peer
// holds already, sends what differs, keeps to the peer's acknowledgements, and gives up
// on a peer that neither reads nor answers.
package fanout
