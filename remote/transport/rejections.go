// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"google.golang.org/grpc/status"

	"sigs.k8s.io/kpng/remote/internal/loglimit"
)

const (
	// rejectionPeriod is the time in which a rejection is logged once.
	rejectionPeriod = 10 * time.Minute
	// maxRejections is the maximum number of lines in that time, so that a peer with many
	// addresses cannot fill the log.
	maxRejections = 100
	// maxReason is the maximum length of a logged error in bytes; it may quote the peer.
	maxReason = 512
)

// A rejectionLog logs rejected peers: once for each peer and reason in a period. Repetitions
// are counted.
type rejectionLog struct {
	logger *slog.Logger
	limit  *loglimit.Limiter
}

// A rejection is what is logged once in a period. It contains nothing that the peer can
// choose freely.
type rejection struct {
	from           netip.Addr
	identity, what string
}

func newRejectionLog(logger *slog.Logger) *rejectionLog {
	return &rejectionLog{silentIfNil(logger), loglimit.New(rejectionPeriod, maxRejections)}
}

// log logs that method or step what was rejected for a peer.
func (r *rejectionLog) log(ctx context.Context, from net.Addr, identity, what string, err error) {
	suppressed, ok := r.limit.Allow(rejection{ipOf(from), identity, what + " " + status.Code(err).String()})
	if !ok {
		return
	}
	reason := err.Error()
	attrs := []any{"peer", from, "identity", identity, "operation", what, "err", reason[:min(len(reason), maxReason)]}
	if suppressed > 0 {
		attrs = append(attrs, "suppressed", suppressed)
	}
	r.logger.WarnContext(ctx, "Peer rejected", attrs...)
}
