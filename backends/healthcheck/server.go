// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

const (
	// retryInterval is the time after which failed ports are opened again, or the node's
	// addresses listed again if that failed.
	retryInterval = 5 * time.Second
	// listInterval is the time after which the node's addresses are listed again, if the
	// networks to listen in depend on them.
	listInterval = 30 * time.Second
)

// A Config configures a [Server] or [Services]. The zero value is ready for use.
type Config struct {
	// Healthy reports whether the proxy is healthy, see [Proxy.Healthy] and
	// [ProxyHealth.Healthy]. While it returns false, all Services answer 503. It is called
	// for each request, possibly from several goroutines. nil means always healthy.
	Healthy func() bool
	// Listen opens the listeners; nil means that of [net.ListenConfig]. A program bounds
	// here how many listeners and connections there are together: connections that peers
	// open must not take the file descriptors that the process needs itself.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// InterfaceAddrs lists the addresses of the node; nil means [net.InterfaceAddrs]. It is
	// called only for networks that are neither a single address nor a whole family. A
	// program that serves another network namespace than that of its threads enters it in
	// InterfaceAddrs and in Listen.
	InterfaceAddrs func() ([]net.Addr, error)
	// ErrorLog receives what the HTTP servers report about connections; nil discards it.
	// Peers can cause any number of lines.
	ErrorLog *log.Logger
	// Logger receives the reason why a port cannot be opened, once until the reason
	// changes; nil discards it.
	Logger *slog.Logger
}

func (cfg *Config) setDefaults() {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.ErrorLog == nil {
		cfg.ErrorLog = log.New(io.Discard, "", 0)
	}
	if cfg.Listen == nil {
		cfg.Listen = new(net.ListenConfig).Listen
	}
	if cfg.InterfaceAddrs == nil {
		cfg.InterfaceAddrs = net.InterfaceAddrs
	}
	if cfg.Healthy == nil {
		cfg.Healthy = func() bool { return true }
	}
}

// A Server serves the health check node ports of Services. It needs no sink: [Server.Set] and
// [Server.Remove] state which Services have one. A port that cannot be opened is failed; it
// is opened as soon as another Service of the Server releases it, and by [Server.Run]
// otherwise. Create a Server with NewServer.
//
// All methods may be called from any goroutine at any time. Servers are independent of each
// other.
type Server struct {
	cfg     Config
	due     chan struct{} // receives when it is time for a retry
	closing chan struct{} // closed by Close
	serving sync.WaitGroup

	// mu guards the fields below. It is held while ports are opened and closed.
	mu         sync.Mutex
	closed     bool
	checks     map[localsink.ServiceName]*check
	retryTimer *time.Timer // sends on due
	retryArmed bool        // retryTimer runs since the last retry

	// Which addresses to listen on. listTimer sets addressesExpired without mu.
	networks         []netip.Prefix // desired
	listed           []netip.Prefix // those that led to addresses
	addresses        []netip.Addr
	addressesValid   bool  // false until addresses are first listed for a check
	addressesErr     error // of the last attempt to list them
	listTimer        *time.Timer
	addressesExpired atomic.Bool

	// failures holds the Services without all of their listeners. It is written with both
	// mutexes held, so that Failures does not wait for ports to open.
	failuresMu sync.Mutex
	failures   map[localsink.ServiceName]error
}

// NewServer returns a Server without open ports, which listens on the node's addresses in
// networks: for example those of nodeports.Selection.Networks, or 0.0.0.0/0 and ::/0. Without
// networks, Services have no listeners until [Server.SetNetworks]. The caller must call Close.
// The error names an invalid network.
func NewServer(networks []netip.Prefix, cfg Config) (*Server, error) {
	if err := validateNetworks(networks); err != nil {
		return nil, err
	}
	return newServer(networks, cfg), nil
}

func newServer(networks []netip.Prefix, cfg Config) *Server {
	cfg.setDefaults()
	s := &Server{
		cfg: cfg, due: make(chan struct{}, 1), closing: make(chan struct{}), networks: slices.Clone(networks),
		checks: map[localsink.ServiceName]*check{}, failures: map[localsink.ServiceName]error{},
	}
	s.retryTimer = time.AfterFunc(time.Hour, s.requestRetry)
	s.retryTimer.Stop()
	s.listTimer = time.AfterFunc(time.Hour, func() {
		s.addressesExpired.Store(true)
		s.requestRetry()
	})
	s.listTimer.Stop()
	return s
}

func (s *Server) requestRetry() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

// Set states that a Service has a health check node port, and how many endpoints this node
// has for it: the number of distinct addresses of ready endpoints on the node, for kube-proxy's
// answer. It replaces what an earlier call stated. When it returns, a new port is open, and a
// port that the Service had before is closed with its connections.
//
// The error is that of an invalid argument, which changes nothing; [net.ErrClosed] after
// Close; or why the port is not open on all addresses. In the last case the Service is set,
// [Server.Failures] has it, and the port is opened later.
func (s *Server) Set(ctx context.Context, name localsink.ServiceName, port uint16, localEndpoints int) error {
	switch {
	case port == 0:
		return fmt.Errorf("healthcheck: %s: port: 0 is out of range 1-65535", name.Object())
	case localEndpoints < 0:
		return fmt.Errorf("healthcheck: %s: localEndpoints: %d is negative", name.Object(), localEndpoints)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("healthcheck: %s: %w", name.Object(), net.ErrClosed)
	}
	released := s.assign(name, &localsink.HealthCheck{Port: port, LocalEndpoints: localEndpoints})
	outdated := s.waiting(released)
	outdated[name] = s.checks[name]
	s.settle(ctx, outdated)
	return s.failures[name]
}

// Remove states that a Service has no health check node port. When it returns, the port is
// closed with its connections. ctx bounds the opening of the port for another Service that
// waits for it.
func (s *Server) Remove(ctx context.Context, name localsink.ServiceName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(ctx, s.waiting(s.assign(name, nil)))
}

// SetNetworks replaces the networks in which the Server listens. Listeners on addresses that
// remain stay open. The error names an invalid network, and then nothing changes; or why the
// node's addresses cannot be listed, and then the listeners stay until they can. Ports that
// cannot be opened on new addresses are in [Server.Failures].
func (s *Server) SetNetworks(ctx context.Context, networks []netip.Prefix) error {
	if err := validateNetworks(networks); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.networks = slices.Clone(networks)
	s.settle(ctx, nil)
	if len(s.checks) > 0 && !s.addressesCurrent() {
		return fmt.Errorf("healthcheck: %w", s.addressesErr)
	}
	return nil
}

func validateNetworks(networks []netip.Prefix) error {
	for i, n := range networks {
		if !n.IsValid() {
			return fmt.Errorf("healthcheck: networks[%d]: invalid", i)
		}
	}
	return nil
}

// Failures returns the Services whose port is not open on all addresses, with the reason. It
// does not wait for the other methods.
func (s *Server) Failures() map[localsink.ServiceName]error {
	s.failuresMu.Lock()
	defer s.failuresMu.Unlock()
	return maps.Clone(s.failures)
}

// Run opens failed ports again every 5 seconds, and follows the addresses of the node every
// 30 seconds if the networks depend on them. It returns nil when ctx ends or after Close, and
// may then be called again. Ports answer without it.
func (s *Server) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.closing:
			return nil
		case <-s.due:
			s.mu.Lock()
			s.settle(ctx, s.retried(map[localsink.ServiceName]*check{}))
			s.mu.Unlock()
		}
	}
}

// Close closes all ports and their connections, waits until their goroutines have ended, and
// returns nil. It may be called several times.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	for name := range s.checks {
		s.assign(name, nil)
	}
	s.settle(context.Background(), nil)
	s.retryTimer.Stop()
	s.mu.Unlock()
	s.serving.Wait()
	return nil
}

// assign creates, changes or removes the check of a Service. It closes the listeners of a
// removed check and of a changed port, and returns that port, or 0; it opens none.
func (s *Server) assign(name localsink.ServiceName, desired *localsink.HealthCheck) (released uint16) {
	c := s.checks[name]
	if c != nil && (desired == nil || desired.Port != c.port) {
		released = c.port
		c.closeAllExcept(nil)
		delete(s.checks, name)
		s.setFailure(name, nil)
		c = nil
	}
	if desired == nil {
		return released
	}
	if c == nil {
		c = &check{name: name, port: desired.Port, servers: map[netip.Addr]server{}}
		s.checks[name] = c
	}
	c.localEndpoints.Store(int64(desired.LocalEndpoints))
	return released
}

// waiting returns the failed checks of a port; 0 is no port.
func (s *Server) waiting(port uint16) map[localsink.ServiceName]*check {
	all := map[localsink.ServiceName]*check{}
	for name := range s.failures { // without failuresMu: only holders of mu write
		if c := s.checks[name]; c.port == port {
			all[name] = c
		}
	}
	return all
}

// retried adds all failed checks to outdated, for settle.
func (s *Server) retried(outdated map[localsink.ServiceName]*check) map[localsink.ServiceName]*check {
	s.retryArmed = false
	for name := range s.failures { // without failuresMu: only holders of mu write
		outdated[name] = s.checks[name]
	}
	return outdated
}

// settle opens the ports of the outdated checks, or of all if the addresses changed, and
// schedules the next retry.
func (s *Server) settle(ctx context.Context, outdated map[localsink.ServiceName]*check) {
	if len(s.checks) == 0 {
		s.listTimer.Stop()
		s.addressesValid = false
		return
	}
	if s.updateAddresses() {
		outdated = s.checks
	}
	for _, c := range outdated {
		s.listen(ctx, c)
	}
	if len(s.failures) > 0 && !s.retryArmed {
		s.retryArmed = true
		s.retryTimer.Reset(retryInterval)
	}
}

// setFailure records why a Service does not have all of its listeners; nil if it has.
func (s *Server) setFailure(name localsink.ServiceName, err error) {
	s.failuresMu.Lock()
	defer s.failuresMu.Unlock()
	if delete(s.failures, name); err != nil {
		s.failures[name] = err
	}
}
