// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc/status"
)

const (
	// refusalPeriod is how long nothing is told again.
	refusalPeriod = 10 * time.Minute
	// maxRefusals is how many are told in that time: whoever has many addresses must not
	// fill the log.
	maxRefusals = 100
	// maxReason is how many bytes are told of an error, which may quote the peer.
	maxReason = 512
)

// refusals tell operators who was turned away: at level warn each peer once for a reason,
// and at level debug whatever comes again.
type refusals struct {
	logger *slog.Logger

	mu     sync.Mutex
	begin  time.Time // of the period
	told   map[refusal]struct{}
	untold int // since the last that was told
}

// A refusal is what is told once in a period. It has no words of the peer's choice.
type refusal struct {
	from           netip.Addr
	identity, what string
}

func newRefusals(logger *slog.Logger) *refusals { return &refusals{logger: silentIfNil(logger)} }

// tell tells that a peer was refused what it wanted.
func (r *refusals) tell(ctx context.Context, from net.Addr, identity, what string, err error) {
	reason := err.Error()
	attrs := []any{"peer", from, "identity", identity, "what", what, "err", reason[:min(len(reason), maxReason)]}
	untold, first := r.first(refusal{ipOf(from), identity, what + " " + status.Code(err).String()})
	switch {
	case !first:
		r.logger.DebugContext(ctx, "refused again", attrs...)
	case untold > 0:
		r.logger.WarnContext(ctx, "refused", append(attrs, "untold", untold)...)
	default:
		r.logger.WarnContext(ctx, "refused", attrs...)
	}
}

// first says whether a refusal is to be told, and how many were not since the last.
func (r *refusals) first(what refusal) (untold int, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.begin) >= refusalPeriod {
		r.begin, r.told = now, map[refusal]struct{}{}
	}
	if _, again := r.told[what]; again || len(r.told) >= maxRefusals {
		r.untold++
		return 0, false
	}
	r.told[what] = struct{}{}
	untold, r.untold = r.untold, 0
	return untold, true
}
