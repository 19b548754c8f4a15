// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package reconciler calls a localsink.Sink until it has acknowledged the desired state of
// its node. It has no notion of where the desired state comes from, of Kubernetes or of a
// network protocol.
//
//   - tracker.go: a [Tracker] holds the desired state and the state that the sink has
//     acknowledged, and returns the update from one to the other.
//   - run.go: [Run] is the loop: it waits for changes, refreshes the tracker from a
//     [Source] and calls the sink.
//   - schedule.go: the earliest time of the next Sync after a success, an error or a
//     resync request.
//   - resync.go: the resync requests of all sinks inside the sink.
//   - packed.go: the compact form in which a tracker holds Services.
//   - hash.go: the content hash of a Service.
//
// # States of a sink
//
//	state              condition                        event                        next state
//	idle               all is acknowledged              source has changes           pending
//	                                                    ResyncRequested receives     resync requested
//	pending            the tracker has a delta          Sync succeeds                idle
//	                                                    Sync fails                   backoff of 100 ms
//	backoff            the last Sync failed             retry succeeds               idle
//	                                                    retry fails                  backoff, doubled
//	resync requested   no Sync without a delta since    Sync without a delta         idle
//	                   the request                      succeeds
//	                                                    Sync fails                   backoff
//
// A retry is due when the backoff is over. If the source has changes, it happens one second
// after the failed attempt at the latest.
//
// MinInterval applies between two calls of Sync, apart from the answer to a request that meets
// changes, and 100 ms before a Sync that was
// requested by the sink. The backoff doubles from 100 ms up to MaxBackoff with each failed
// attempt that was due; attempts that came early, because of changes, do not extend it.
//
// The delta of a failed Sync stays pending even if its changes are reverted. Without a
// delta, which happens only after a resync request, Sync receives an update with an empty
// delta. If the source has changes at that moment, this update follows the one with the changes at once.
package reconciler
