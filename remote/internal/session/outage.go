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

// An outage is a time without a server. It tells of each server once, and again when
// that server gives another reason; repetitions are of interest only at level debug.
type outage struct {
	logger  *slog.Logger
	message string            // what to log
	logged  map[string]string // the last reason that was told, by server; nil when a server is heard
}

func (o *outage) lost(ctx context.Context, server string, err error) {
	level, why := slog.LevelWarn, status.Code(err).String()
	if status.Code(err) == codes.Unknown {
		why = err.Error()
	}
	if o.logged[server] == why {
		level = slog.LevelDebug
	}
	if o.logged == nil {
		o.logged = map[string]string{}
	}
	o.logged[server] = why
	o.logger.Log(ctx, level, o.message, "server", server, "err", err)
}

func (o *outage) restored(ctx context.Context, server string) {
	if o.logged != nil {
		o.logged = nil
		o.logger.InfoContext(ctx, "Hears a server again", "server", server)
	}
}

// serverName is what operators call the server: what was dialled, where it can be known.
func serverName(servers []grpc.ClientConnInterface, i int) string {
	if dialled, ok := servers[i].(interface{ Target() string }); ok {
		return dialled.Target()
	}
	return fmt.Sprint("number ", i+1)
}
