// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fanout sends one ordered set of items to thousands of streams and encodes each
// change once per class of streams. It is independent of the meaning of items, of gRPC and of the
// wire format.
//
// # Terms
//
//   - A snapshot is the content of a hub at one revision.
//   - A class is the set of streams that receive the same encoding of every item.
//   - A batch is the delta between two snapshots, encoded once for all streams of a class.
//   - An overlay is the part of an update that only one stream receives.
//   - An update is a batch and an overlay; its last message, the commit, carries the revision.
//   - The window of a stream holds its commits that the peer has not acknowledged.
//
// A slow stream is sent the newest snapshot when it can be sent to again. The package keeps
// no backlog per stream, and a slow stream delays no other stream.
//
// # Files
//
//	hub.go         Hub: items, snapshots, start and end of all streams
//	limits.go      Limits, and the errors that end a stream whose peer exceeds them
//	conn.go        what a protocol implements (one connection), and what a peer sends
//	item.go        items and their encodings
//	message.go     messages that many streams share
//	batch.go       delta between two snapshots, encoded once per class
//	initial.go     the snapshot that streams of a class begin with
//	stream.go      one stream: its fields, begin, end and status
//	streamstate.go states of a stream and all transitions between them
//	handshake.go   initial sync: from the hello of a peer to its first commit
//	send.go        sending an update to one stream
//	ack.go         receiving: acknowledgements and the window
//	workers.go     goroutines that send to many idle streams, one after the other
//
// # States of a stream
//
// [Hub.Serve] serves one stream from its beginning to its end. A stream is in exactly one
// state. The mutex of the hub guards the state; a transition that is not in this table ends
// the stream.
//
//	state          sender          what the stream does
//	handshake      its goroutine   sends the welcome, receives the digests that the peer holds
//	initialSync    its goroutine   waits for a slot, sends the first snapshot
//	sending        its goroutine   computes or sends an update
//	waiting        its goroutine   waits for a newer snapshot or an acknowledgement
//	blocked        its goroutine   window is full: waits for an acknowledgement
//	idle           none            newest snapshot is sent; the stream is in the idle list
//	queued         none            a newer snapshot exists; the stream is in the queue
//	claimed        a worker        is one of the next streams that the worker sends to
//	workerSending  a worker        the worker computes or sends an update
//	closed         none            removed from the hub
//
//	from                           trigger                                     to
//	(new)                          Hub.Serve                                   handshake
//	handshake                      welcome sent, held digests received         initialSync
//	initialSync, sending           sent; newer snapshot exists                 sending
//	initialSync, sending           sent; newest snapshot, may be idle          idle
//	initialSync, sending           sent; newest snapshot, may not be idle      waiting
//	initialSync, sending           sent; window is full                        blocked
//	waiting                        newer snapshot                              sending
//	waiting, blocked               acknowledgement; newest, may be idle        idle
//	waiting                        acknowledgement; may not be idle            waiting
//	blocked                        acknowledgement; newer snapshot exists      sending
//	blocked                        acknowledgement; newest, may not be idle    waiting
//	blocked                        acknowledgement that frees no window space  blocked
//	idle                           Hub.Update                                  queued
//	queued                         a worker takes it                           claimed
//	claimed                        the worker reaches it                       workerSending
//	claimed                        the worker is replaced                      queued, first
//	workerSending                  sent; newest snapshot                       idle
//	workerSending                  sent; newer snapshot exists                 queued, last
//	workerSending                  sending may block, or was slow              sending
//	any                            see below                                   closed
//
// A stream ends when its context is done, its peer closes it or violates the protocol, sending
// fails, a limit is exceeded or the hub ends. From then on nothing is sent to it, and it
// keeps its state until Serve removes it from the hub.
//
// A stream may be idle if its peer acknowledges, its window has room, the commits in the
// window take at most 32 KiB, and no worker was replaced because of it within the last
// [Limits.SendTimeout]. grpc-go buffers 32 KiB of a stream without blocking.
package fanout
