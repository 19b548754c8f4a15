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
	// rejectionPeriod is how long nothing is told again.
	rejectionPeriod = 10 * time.Minute
	// maxRejections is how many are told in that time: whoever has many addresses must not
	// fill the log.
	maxRejections = 100
	// maxReason is how many bytes are told of an error, which may quote the peer.
	maxReason = 512
)

// rejectionLog tell operators who was turned away: at level warn each peer once for a reason,
// and at level debug whatever comes again.
type rejectionLog struct {
	logger *slog.Logger

	mu     sync.Mutex
	periodStart  time.Time // of the period
	logged   map[rejection]struct{}
	suppressed int // since the last that was told
}

// A rejection is what is told once in a period. It has no words of the peer's choice.
type rejection struct {
	from           netip.Addr
	identity, what string
}

func newRejectionLog(logger *slog.Logger) *rejectionLog { return &rejectionLog{logger: silentIfNil(logger)} }

// log tells that a peer was refused what it wanted.
func (r *rejectionLog) log(ctx context.Context, from net.Addr, identity, what string, err error) {
	reason := err.Error()
	attrs := []any{"peer", from, "identity", identity, "what", what, "err", reason[:min(len(reason), maxReason)]}
	untold, first := r.shouldLog(rejection{ipOf(from), identity, what + " " + status.Code(err).String()})
	switch {
	case !first:
		r.logger.DebugContext(ctx, "refused again", attrs...)
	case untold > 0:
		r.logger.WarnContext(ctx, "refused", append(attrs, "untold", untold)...)
	default:
		r.logger.WarnContext(ctx, "refused", attrs...)
	}
}

// shouldLog says whether a refusal is to be told, and how many were not since the last.
func (r *rejectionLog) shouldLog(what rejection) (untold int, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.periodStart) >= rejectionPeriod {
		r.periodStart, r.logged = now, map[rejection]struct{}{}
	}
	if _, again := r.logged[what]; again || len(r.logged) >= maxRejections {
		r.suppressed++
		return 0, false
	}
	r.logged[what] = struct{}{}
	untold, r.suppressed = r.suppressed, 0
	return untold, true
}
