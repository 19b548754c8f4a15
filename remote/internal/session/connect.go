// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// A connectError is the error of a stream that was not opened: there was no connection.
type connectError struct{ error }

func (e *connectError) Unwrap() error { return e.error }

// isUnreachable reports whether an attempt cost the server nothing. A server that rejects a
// certificate, or is rejected, has paid for a handshake.
func isUnreachable(err error) bool {
	var failed *connectError
	if !errors.As(err, &failed) {
		return false
	}
	text := failed.Error()
	return !strings.Contains(text, "tls:") && !strings.Contains(text, "x509:")
}

// retryAfter returns the pause that the status of a server demands, or 0.
func retryAfter(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return max(0, min(info.GetRetryDelay().AsDuration(), maxRetryAfter))
		}
	}
	return 0
}

// maxRetryAfter bounds the pause that a server may demand.
const maxRetryAfter = time.Minute

// A channel is the part of a *grpc.ClientConn that controls its connection.
type channel interface {
	GetState() connectivity.State
	WaitForStateChange(ctx context.Context, from connectivity.State) bool
	ResetConnectBackoff()
}

const (
	// reconnectTimeout is how long an attempt waits for the connection of a server that could
	// not be reached before.
	reconnectTimeout = 500 * time.Millisecond
	// reconnectRound bounds the sum of these waits for all servers.
	reconnectRound = 1500 * time.Millisecond
)

// connectNow ends the pause of a channel whose last connection failed, and reports whether there was one.
//
// ResetConnectBackoff reads the connections of the channel without a lock (grpc-go v1.82.1), and a
// channel without calls closes them after a while, which would end the process. So a call comes
// first, which is not sent: a channel does not become idle soon after one.
func connectNow(ctx context.Context, server grpc.ClientConnInterface) (conn channel, paused bool) {
	conn, ok := server.(channel)
	if !ok || conn.GetState() != connectivity.TransientFailure {
		return nil, false
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, _ = healthpb.NewHealthClient(server).Check(ended, &healthpb.HealthCheckRequest{})
	if conn.GetState() != connectivity.TransientFailure {
		return nil, false // it has become idle just before, and the next call connects
	}
	conn.ResetConnectBackoff()
	return conn, true
}

// open opens a stream. A channel whose last connection failed pauses by itself, up to
// minutes, and fails all calls meanwhile; open makes it connect now.
func (c *Client[Q, R]) open(ctx context.Context, server grpc.ClientConnInterface) (Stream[Q, R], error) {
	if conn, connecting := connectNow(ctx, server); connecting {
		wait, cancel := context.WithTimeout(ctx, min(reconnectTimeout, reconnectRound/time.Duration(len(c.Servers))))
		conn.WaitForStateChange(wait, connectivity.TransientFailure)
		cancel()
	}
	if len(c.Servers) == 1 {
		return c.Open(ctx, server)
	}
	// The context of the stream must outlive the timeout.
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(connectTimeout, func() { cancel(context.DeadlineExceeded) })
	stream, err := c.Open(ctx, server)
	if !timer.Stop() {
		err = status.Errorf(codes.Unavailable, "no connection within %s", connectTimeout)
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	return stream, nil // the stream ends with the outer ctx
}
