// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// requirePause checks the jitter: a pause is between a half and the whole of its limit.
func requirePause(t *testing.T, limit, pause time.Duration) {
	t.Helper()
	require.GreaterOrEqual(t, pause, limit/2)
	require.LessOrEqual(t, pause, limit)
}

// attempts runs a Retry with one server and a maximum pause of 10 s, and returns the pauses after them.
func attempts(t *testing.T, outcomes ...func() Attempt) (pauses []time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ended time.Time
	NewRetry(1, 10*time.Second).Run(ctx, func(int) Attempt {
		if !ended.IsZero() {
			pauses = append(pauses, time.Since(ended))
		}
		if len(outcomes) == 0 {
			cancel()
			return Attempt{}
		}
		outcome := outcomes[0]()
		outcomes, ended = outcomes[1:], time.Now()
		return outcome
	})
	return pauses
}

func outcome(a Attempt) func() Attempt { return func() Attempt { return a } }

// A server that rejects a client is asked less and less often; a server that cannot be
// reached is found within a second of its return.
func TestRetryPausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rejected, unreachable := outcome(Attempt{}), outcome(Attempt{Unreachable: true})
		for i, pause := range attempts(t, slices.Repeat([]func() Attempt{rejected}, 12)...) {
			requirePause(t, min(minRetry<<i, 10*time.Second), pause)
		}
		for i, pause := range attempts(t, slices.Repeat([]func() Attempt{unreachable}, 12)...) {
			requirePause(t, min(minRetry<<i, maxUnreachable), pause)
		}
		short := outcome(Attempt{Synced: true})
		stable := func() Attempt { time.Sleep(minStable); return Attempt{Synced: true} }
		pauses := attempts(t, rejected, short, short, stable, stable, rejected)
		for i, limit := range []time.Duration{minRetry, 2 * minRetry, 4 * minRetry, minRetry, minRetry, 2 * minRetry} {
			requirePause(t, limit, pauses[i])
		}
	})
}

func TestRetryWaitsAsTheServerDemands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := status.New(codes.ResourceExhausted, "too many").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(20 * time.Second)})
		require.NoError(t, err)
		demanded := retryAfter(st.Err())
		require.Equal(t, 20*time.Second, demanded)
		require.Zero(t, retryAfter(status.Error(codes.ResourceExhausted, "too many")))
		pauses := attempts(t, outcome(Attempt{RetryAfter: demanded}))
		require.GreaterOrEqual(t, pauses[0], demanded)
		require.LessOrEqual(t, pauses[0], demanded*3/2)
	})
}

// The next server follows at once, until all are paused.
func TestRetryTriesServersInOrderOfPreference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		retry := NewRetry(3, 10*time.Second)
		first, second, third := retry.servers[0].index, retry.servers[1].index, retry.servers[2].index
		require.Empty(t, retry.Preferred(first))
		require.Equal(t, []int{first, second}, retry.Preferred(third))
		var tried []int
		start := time.Now()
		retry.Run(ctx, func(server int) Attempt {
			tried = append(tried, server)
			switch len(tried) {
			case 1, 2:
				return Attempt{}
			case 3: // the last server works for an hour, then a preferred one is back
				require.Equal(t, start, time.Now())
				time.Sleep(time.Hour)
				return Attempt{Synced: true, Move: true, To: second}
			case 4: // the next attempt is there, at once
				require.Equal(t, start.Add(time.Hour), time.Now())
				time.Sleep(time.Hour)
				return Attempt{Synced: true}
			case 5: // after a synced stream all servers are paused, each with a jitter of its own
				require.Greater(t, time.Since(start), 2*time.Hour)
			default:
				cancel()
			}
			return Attempt{}
		})
		require.Equal(t, []int{first, second, third, second}, tried[:4])
	})
}

func TestClientsPreferServersEvenly(t *testing.T) {
	count := [3]int{}
	for range 3000 {
		count[NewRetry(3, time.Second).servers[0].index]++
	}
	for _, n := range count {
		require.InDelta(t, 1000, n, 200) // 7 standard deviations
	}
}

func TestRetryEndsDuringPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		start := time.Now()
		NewRetry(1, time.Hour).Run(ctx, func(int) Attempt { return Attempt{} })
		require.Equal(t, 10*time.Millisecond, time.Since(start))
	})
}
