// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink

import (
	"iter"
	"time"
)

// An Update is the whole desired state of a node, and its delta from the state that the
// sink acknowledged last. In the first update of a sink, the delta contains everything.
// After an error it also contains what the failed updates listed; see [Sink.Sync].
type Update struct {
	// Node is the desired state of the node itself.
	Node *Node
	// NodeChanged reports whether Node is in the delta. It is true in a first update.
	NodeChanged bool

	// All holds all Services that the node must serve. A simple sink reads only this.
	All State

	// Changed lists the Services in All that are in the delta, in name order.
	Changed []*Service
	// Removed lists the Services in the delta that are not in All, in name order: each as
	// it was acknowledged, or, if it never was, as it was in a failed update.
	Removed []*Service

	// TriggerTimes lists the times at which the changes in the delta were written to the
	// API server, as far as known. They are the start of the network programming latency.
	TriggerTimes []time.Time
	// ObservedTime is the time at which this process received the oldest change in the
	// delta. It is zero if unknown, as in a first update or a resync.
	ObservedTime time.Time
}

// A State is an immutable set of Services, which must not be modified. All methods may be called
// concurrently. Two calls may return different values for the same Service, with equal content.
type State interface {
	// Len returns the number of Services.
	Len() int
	// Get returns the Service with the given name, or nil.
	Get(name ServiceName) *Service
	// All yields all Services in name order.
	All() iter.Seq[*Service]
}
