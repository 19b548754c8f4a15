// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package servertier

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"sigs.k8s.io/kpng/remote/transport"
)

func TestListenerMetrics(t *testing.T) {
	collector := NewListener(func() transport.ListenerStats {
		return transport.ListenerStats{
			Authenticated: 3, Unauthenticated: 2, FailedHandshakes: 5,
			Closed:   map[transport.CloseReason]uint64{transport.CloseAuthenticationTimeout: 7},
			Rejected: map[codes.Code]uint64{codes.PermissionDenied: 9},
		}
	})
	require.NoError(t, testutil.CollectAndCompare(collector, strings.NewReader(`
# HELP kpng_server_calls_rejected_total Calls that the server rejected, by gRPC status code.
# TYPE kpng_server_calls_rejected_total counter
kpng_server_calls_rejected_total{code="InvalidArgument"} 0
kpng_server_calls_rejected_total{code="PermissionDenied"} 9
kpng_server_calls_rejected_total{code="ResourceExhausted"} 0
kpng_server_calls_rejected_total{code="Unauthenticated"} 0
# HELP kpng_server_connections Open connections: authenticated since their first permitted call, or unauthenticated.
# TYPE kpng_server_connections gauge
kpng_server_connections{state="authenticated"} 3
kpng_server_connections{state="unauthenticated"} 2
# HELP kpng_server_handshakes_failed_total Connections that did not complete their handshake.
# TYPE kpng_server_handshakes_failed_total counter
kpng_server_handshakes_failed_total 5
`), "kpng_server_calls_rejected_total", "kpng_server_connections", "kpng_server_handshakes_failed_total"))
	require.Equal(t, len(transport.CloseReasons()), testutil.CollectAndCount(collector, "kpng_server_connections_closed_total"))
	problems, err := testutil.CollectAndLint(collector)
	require.NoError(t, err)
	require.Empty(t, problems)
}
