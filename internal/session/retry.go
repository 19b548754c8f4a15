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

// Run calls fn with the numbers of servers, again and again, until ctx is done. When one
// fails the next follows at once; after a round there is a pause with jitter, which is
// short when one of them was of use.
func (r Retry) Run(ctx context.Context, fn func(server int) (progress bool)) {
	// A thousand clients do not all begin with the same server.
	server, failed, pause := rand.IntN(r.Servers), 0, minRetry
	for ctx.Err() == nil {
		if fn(server) {
			failed, pause = 0, minRetry
		}
		failed++
		server = (server + 1) % r.Servers
		if failed < r.Servers {
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
