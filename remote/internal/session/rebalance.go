// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

const (
	// probeTimeout bounds one check of a preferred server.
	probeTimeout = 5 * time.Second
	// maxRebalancing bounds the interval of checks while a server that is available does not
	// serve this client.
	maxRebalancing = 30 * time.Minute
)

// A moveError ends a stream because a preferred server is available.
type moveError struct{ to int }

func (e *moveError) Error() string { return fmt.Sprintf("server %d is preferred", e.to+1) }

// rebalance checks from time to time whether one of the servers in better is available, and
// then ends the stream with a moveError. The check establishes the connection, so that the
// next stream starts at once. The caller calls stop when the stream has ended.
func (c *Client[Q, R]) rebalance(ctx context.Context, end context.CancelCauseFunc, better []int) (stop func()) {
	if c.RebalanceInterval < 0 {
		return func() {}
	}
	if len(better) == 0 {
		c.rebalancing = c.RebalanceInterval
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	interval := c.rebalancing
	// If the preferred server then rejects this client, the next check follows later.
	c.rebalancing = min(2*interval, max(maxRebalancing, c.RebalanceInterval))
	moved := false
	go func() {
		defer close(ended)
		for !moved && sleep(ctx, interval/2+rand.N(interval+1)) {
			for _, server := range better {
				if c.available(ctx, server) {
					moved = true
					end(&moveError{server})
					break
				}
			}
		}
	}()
	return func() {
		cancel()
		<-ended
		if !moved {
			c.rebalancing = interval
		}
	}
}

// available reports whether a server can be reached and has complete state. The health
// service is optional in the protocol.
func (c *Client[Q, R]) available(ctx context.Context, server int) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	connectNow(ctx, c.Servers[server])
	answer, err := healthpb.NewHealthClient(c.Servers[server]).Check(ctx, &healthpb.HealthCheckRequest{})
	switch status.Code(err) {
	case codes.OK:
		return answer.GetStatus() == healthpb.HealthCheckResponse_SERVING
	case codes.Unimplemented:
		return true
	default:
		return false
	}
}

// sleep waits for a duration. It returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
