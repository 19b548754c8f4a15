// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// An outage logs the loss of servers and the next synced stream. It logs
// each pair of server and reason once at level warn, and repetitions at level debug.
type outage struct {
	logger  *slog.Logger
	message string
	logged  map[string]string // last logged reason by server; nil while a stream is synced
}

func (o *outage) lost(ctx context.Context, server string, err error) {
	level, reason := slog.LevelWarn, status.Code(err).String()
	if status.Code(err) == codes.Unknown {
		reason = err.Error()
	}
	if o.logged[server] == reason {
		level = slog.LevelDebug
	}
	if o.logged == nil {
		o.logged = map[string]string{}
	}
	o.logged[server] = reason
	o.logger.Log(ctx, level, o.message, "server", server, "err", err) //nolint:sloglint // constant per kind of client
}

func (o *outage) restored(ctx context.Context, server string) {
	if o.logged != nil {
		o.logged = nil
		o.logger.InfoContext(ctx, "Server connection restored", "server", server)
	}
}

// serverName returns the target of a connection for the log, or its position in the list if
// it has no target.
func serverName(servers []grpc.ClientConnInterface, i int) string {
	if conn, ok := servers[i].(interface{ Target() string }); ok {
		return conn.Target()
	}
	return fmt.Sprint("server ", i+1)
}
