// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"math/rand/v2"
	"time"
)

// minRetry is the first pause.
const minRetry = 100 * time.Millisecond

// A Retry runs streams to several servers, one after the other.
type Retry struct {
	// Max bounds the pause after a round through all servers, which starts at 100 ms and
	// doubles.
	Max time.Duration
	// Servers is the number of servers.
	Servers int
}

// minStable is the duration after which a synced stream resets the pause. A stream that
// ends sooner counts as a failure, because its successors may end as soon.
const minStable = 5 * time.Second

// Run calls watch with the index of a server until ctx ends. If a stream ends without
// having synced, the next server follows at once. After a synced stream, and after each
// round through all servers, Run pauses with jitter.
func (r Retry) Run(ctx context.Context, watch func(server int) (synced bool)) {
	// Clients start at a random server to spread the load.
	server, failed, pause := rand.IntN(r.Servers), 0, minRetry
	for ctx.Err() == nil {
		start := time.Now()
		synced := watch(server)
		if synced && time.Since(start) >= minStable {
			pause = minRetry
		}
		failed++
		server = (server + 1) % r.Servers
		if failed < r.Servers && !synced {
			continue
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		if failed, pause = 0, pause*2; pause > r.Max {
			pause = r.Max
		}
	}
}
