// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package remoteflags

import (
	"context"
	"log/slog"

	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/remote/transport"
)

// A Listener is an open socket of a gRPC service that is not one of this module, with what the flags of
// a server require of it.
type Listener struct {
	// Socket has the credentials for grpc.Creds. The caller closes it.
	Socket *transport.Listener
	// Guard authenticates and authorises clients.
	Guard transport.Guard
	// Limits bound what one client may cost.
	Limits transport.ServerLimits

	followFiles func(ctx context.Context) error
}

// Run reads the certificate files again as they change, until ctx is done.
func (l *Listener) Run(ctx context.Context) error { return l.followFiles(ctx) }

// Listen opens a socket at address, with flags that [Server.Validate] accepts. client reviews tokens; it
// is required with -token-review.
func (s *Server) Listen(ctx context.Context, address string, client kubernetes.Interface, logger *slog.Logger) (*Listener, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	l, err := s.listener.listen(ctx, address, client, logger)
	if err != nil {
		return nil, err
	}
	return &Listener{Socket: l.socket, Guard: l.guard, Limits: s.listener.serverLimits(), followFiles: l.followFiles}, nil
}
