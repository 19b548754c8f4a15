// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"maps"

	"google.golang.org/grpc/codes"
)

// A CloseReason is why a server closed a connection because of its limits.
type CloseReason string

const (
	// CloseAuthenticationTimeout is for a connection that was unauthenticated for [ConnectionLimits.AuthenticationTimeout].
	CloseAuthenticationTimeout CloseReason = "authentication-timeout"
	// CloseUnauthenticatedLimit is for one above [ConnectionLimits.Unauthenticated].
	CloseUnauthenticatedLimit CloseReason = "unauthenticated-limit"
	// CloseAddressLimit is for one above [ConnectionLimits.UnauthenticatedPerAddress].
	CloseAddressLimit CloseReason = "address-limit"
	// CloseUnauthenticatedData is for one above [ConnectionLimits.UnauthenticatedBytes].
	CloseUnauthenticatedData CloseReason = "unauthenticated-data"
	// CloseUnauthenticatedCalls is for one whose peer made too many calls, none of them permitted.
	CloseUnauthenticatedCalls CloseReason = "unauthenticated-calls"
	// CloseIdentityLimit is for one above [ConnectionLimits.PerNode] or PerAddress.
	CloseIdentityLimit CloseReason = "identity-limit"
	// CloseTotalLimit is for one above [ConnectionLimits.Total].
	CloseTotalLimit CloseReason = "total-limit"
	// CloseCallLimit is for one whose peer continued to exceed [CallLimits].
	CloseCallLimit CloseReason = "call-limit"
)

// CloseReasons returns all reasons.
func CloseReasons() []CloseReason {
	return []CloseReason{
		CloseAuthenticationTimeout, CloseUnauthenticatedLimit, CloseAddressLimit, CloseUnauthenticatedData,
		CloseUnauthenticatedCalls, CloseIdentityLimit, CloseTotalLimit, CloseCallLimit,
	}
}

// ListenerStats describe the connections of a [Listener].
type ListenerStats struct {
	// Authenticated and Unauthenticated are the numbers of open connections.
	Authenticated, Unauthenticated int
	// Closed counts the connections that the server closed because of its limits.
	Closed map[CloseReason]uint64
	// Rejected counts the calls that the [Guard] rejected.
	Rejected map[codes.Code]uint64
	// FailedHandshakes counts the connections that did not complete their handshake.
	FailedHandshakes uint64
}

// Stats returns the current statistics. It may be called concurrently.
func (l *Listener) Stats() ListenerStats {
	c := l.connections
	c.mu.Lock()
	defer c.mu.Unlock()
	return ListenerStats{
		Authenticated: c.authenticated, Unauthenticated: len(c.byPeer) - c.authenticated,
		Closed: maps.Clone(c.closed), Rejected: maps.Clone(c.rejected), FailedHandshakes: c.handshakes,
	}
}
