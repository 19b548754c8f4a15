// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"

	"sigs.k8s.io/kpng/localsink"
)

// Services is a localsink.Sink around a [Server]: it serves the health check node ports of
// the Services that it receives. If a port cannot be opened, Sync succeeds all the same:
// NotProgrammed returns the Service, and ResyncRequested asks for another attempt. Create it
// with NewServices.
type Services struct{ server *Server }

var (
	_ localsink.Sink            = (*Services)(nil)
	_ localsink.ResyncRequester = (*Services)(nil)
	_ localsink.FailureReporter = (*Services)(nil)
)

// NewServices returns a sink without open ports. The caller must call Close. The error is
// nil for every cfg of this version.
func NewServices(cfg Config) (*Services, error) { return &Services{newServer(nil, cfg)}, nil }

// ResyncRequested implements localsink.ResyncRequester. The channel receives when it is
// time to retry failed ports or to list the node's addresses again.
func (s *Services) ResyncRequested() <-chan struct{} { return s.server.due }

// NotProgrammed implements localsink.FailureReporter: it returns the Services whose health
// check port could not be opened on at least one address.
func (s *Services) NotProgrammed() map[localsink.ServiceName]error { return s.server.Failures() }

// Sync implements localsink.Sink; it always returns nil. It opens and closes ports of
// changed and failed Services, and of all Services if the addresses to listen on changed.
func (s *Services) Sync(ctx context.Context, u *localsink.Update) error {
	server := s.server
	server.mu.Lock()
	defer server.mu.Unlock()
	for _, svc := range u.Removed {
		server.assign(svc.Name, nil)
	}
	outdated := map[localsink.ServiceName]*check{}
	for _, svc := range u.Changed {
		server.assign(svc.Name, svc.HealthCheck)
		if c := server.checks[svc.Name]; c != nil {
			outdated[svc.Name] = c
		}
	}
	server.networks = u.Node.NodePortAddresses
	server.settle(ctx, server.retried(outdated))
	return nil
}

// Close closes all ports, waits until their goroutines have ended, and returns nil. Sync
// must not run during or after Close.
func (s *Services) Close() error { return s.server.Close() }
