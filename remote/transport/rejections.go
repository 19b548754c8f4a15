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
	// rejectionPeriod is the time in which a rejection is logged once at level warn.
	rejectionPeriod = 10 * time.Minute
	// maxRejections is the maximum number of warnings in that time, so that a peer with many
	// addresses cannot fill the log.
	maxRejections = 100
	// maxReason is the maximum length of a logged error in bytes; it may quote the peer.
	maxReason = 512
)

// A rejectionLog logs rejected peers: at level warn once for each peer and reason in a
// period, at level debug the repetitions.
type rejectionLog struct {
	logger *slog.Logger

	mu          sync.Mutex
	periodStart time.Time
	logged      map[rejection]struct{}
	suppressed  int // since the last warning
}

// A rejection is what is logged once in a period. It contains nothing that the peer can
// choose freely.
type rejection struct {
	from           netip.Addr
	identity, what string
}

func newRejectionLog(logger *slog.Logger) *rejectionLog {
	return &rejectionLog{logger: silentIfNil(logger)}
}

// log logs that method or step what was rejected for a peer.
func (r *rejectionLog) log(ctx context.Context, from net.Addr, identity, what string, err error) {
	reason := err.Error()
	attrs := []any{"peer", from, "identity", identity, "operation", what, "err", reason[:min(len(reason), maxReason)]}
	suppressed, warn := r.shouldLog(rejection{ipOf(from), identity, what + " " + status.Code(err).String()})
	switch {
	case !warn:
		r.logger.DebugContext(ctx, "Peer rejected, repeated or above the log limit", attrs...)
	case suppressed > 0:
		r.logger.WarnContext(ctx, "Peer rejected", append(attrs, "suppressed", suppressed)...)
	default:
		r.logger.WarnContext(ctx, "Peer rejected", attrs...)
	}
}

// shouldLog reports whether to log a rejection at level warn, and the number suppressed since
// the last warning.
func (r *rejectionLog) shouldLog(what rejection) (suppressed int, warn bool) {
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
	suppressed, r.suppressed = r.suppressed, 0
	return suppressed, true
}
