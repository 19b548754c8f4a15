// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"context"
	"log/slog"
	"net"

	"sigs.k8s.io/kpng/backends/userspace"
	"sigs.k8s.io/kpng/localsink"
)

// A Config configures a Sink. The zero value is ready for use.
type Config struct {
	// Dial connects to an endpoint; nil uses a net.Dialer. The sink calls it from its own
	// goroutines, possibly several at a time: if Sync runs in another network namespace
	// than the process, Dial must enter that namespace.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Listen opens the listeners; nil means that of [net.ListenConfig]. Connections that it
	// accepts must not be closed by anything but their peers.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// MaxConnections is the maximum number of connections that are relayed at a time; each
	// takes two file descriptors. Further ones are reset. 0 means no limit.
	MaxConnections int
	// Logger receives ports that cannot be opened and connections that fail; nil discards
	// them.
	Logger *slog.Logger
}

// A Sink is a localsink.Sink that forwards connections to node ports on loopback
// addresses. If a port cannot be opened, Sync succeeds all the same: NotProgrammed returns
// its Service, and ResyncRequested asks for another attempt. Create it with New.
type Sink struct{ proxy *userspace.Backend }

var (
	_ localsink.Sink            = (*Sink)(nil)
	_ localsink.ResyncRequester = (*Sink)(nil)
	_ localsink.FailureReporter = (*Sink)(nil)
)

// New returns a Sink without open ports. The caller must call Close. It returns an error if
// MaxConnections is negative.
func New(cfg Config) (*Sink, error) {
	proxy, err := userspace.New(userspace.Config{
		Map: userspace.LoopbackNodePorts, Dial: cfg.Dial, Listen: cfg.Listen,
		InterfaceAddrs: func() ([]net.Addr, error) { return nil, nil }, // all clients have loopback addresses
		MaxConnections: cfg.MaxConnections, ResetAtLimit: true, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &Sink{proxy}, nil
}

// Sync implements localsink.Sink; it fails only if ctx is done. It examines changed
// Services, and all Services if the node changed. Established connections continue when their
// endpoint or port is removed.
func (s *Sink) Sync(ctx context.Context, u *localsink.Update) error { return s.proxy.Sync(ctx, u) }

// ResyncRequested implements localsink.ResyncRequester. The channel receives when it is
// time to retry failed ports.
func (s *Sink) ResyncRequested() <-chan struct{} { return s.proxy.ResyncRequested() }

// NotProgrammed implements localsink.FailureReporter: it returns the Services with failed
// ports.
func (s *Sink) NotProgrammed() map[localsink.ServiceName]error { return s.proxy.NotProgrammed() }

// Stats holds the current state and counters since New.
type Stats struct {
	// Listeners is the number of open ports, Unopened of ports that could not be opened.
	Listeners, Unopened int
	// Connections is the number of connections that are being relayed.
	Connections int64
	// OpenFailures counts failed attempts to open a port.
	OpenFailures uint64
	// IPv6 is the part of these numbers about IPv6 addresses.
	IPv6 FamilyStats
}

// FamilyStats is the part of [Stats] about one address family.
type FamilyStats struct {
	Listeners    int
	OpenFailures uint64
}

// Stats returns the current values. It may be called at any time from any goroutine.
func (s *Sink) Stats() Stats {
	all := s.proxy.Stats()
	return Stats{
		Listeners: all.Listeners, Unopened: all.Unopened, Connections: int64(all.Connections), OpenFailures: all.OpenFailures,
		IPv6: FamilyStats(all.IPv6),
	}
}

// Close closes all ports, resets all connections, waits until their goroutines have ended,
// and returns nil. Sync must not run during or after Close.
func (s *Sink) Close() error { return s.proxy.Close() }
