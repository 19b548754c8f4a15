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

// A Retry goes from server to server.
type Retry struct {
	// Max bounds the pause between two rounds through all servers, which doubles.
	Max time.Duration
	// Servers is their number.
	Servers int
}

// minStable is how long a stream lives that has been of use: one that ends sooner, each
// time, is a failure, however well it began.
const minStable = 5 * time.Second

// Run calls fn with the numbers of servers, again and again, until ctx is done. When one
// fails without having been of use the next follows at once; otherwise, and after a round
// of all, there is a pause with jitter, which grows until a stream has lived for a while.
func (r Retry) Run(ctx context.Context, fn func(server int) (progress bool)) {
	// A thousand clients do not all begin with the same server.
	server, failed, pause := rand.IntN(r.Servers), 0, minRetry
	for ctx.Err() == nil {
		began := time.Now()
		progress := fn(server)
		if progress && time.Since(began) >= minStable {
			pause = minRetry
		}
		failed++
		server = (server + 1) % r.Servers
		if failed < r.Servers && !progress {
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
