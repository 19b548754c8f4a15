// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import "time"

// StreamLimits bound what one watch stream may cost a server. A zero field means the
// default.
type StreamLimits struct {
	// Unacknowledged is the maximum number of updates that a client may leave
	// unacknowledged; the server combines later changes until the client acknowledges.
	// Default 64.
	Unacknowledged int
	// AckTimeout is how long a client may take to acknowledge an update before the server
	// ends the stream. Default 1 min.
	AckTimeout time.Duration
	// SendTimeout is how long a client may leave sent data unread before the server ends
	// the stream. Default 30 s.
	SendTimeout time.Duration
	// HelloTimeout is how long a client may take to send its hello, and then the list of
	// what it holds. Default 30 s.
	HelloTimeout time.Duration
	// InitialSyncs is the maximum number of streams that are sent their first state at the
	// same time; further streams wait. A client that reads slowly loses its turn after a
	// few seconds. Default 128.
	InitialSyncs int
	// HeldItems is the maximum number of items that a client may report to hold. Default
	// 1,000,000.
	HeldItems int
}
