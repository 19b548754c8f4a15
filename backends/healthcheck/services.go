// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

const (
	// retryInterval is the time after which Services requests a resync because a port could
	// not be opened or the node's addresses could not be listed.
	retryInterval = 5 * time.Second
	// listInterval is the time after which Services lists the node's addresses again, if
	// Node.NodePortAddresses has networks that need it.
	listInterval = 30 * time.Second
)

// A Config configures Services. The zero value is ready for use.
type Config struct {
	// Healthy reports whether the proxy is healthy, see Proxy.Healthy. While it returns
	// false, all Services answer 503. It is called for each request, possibly from several
	// goroutines. nil means always healthy.
	Healthy func() bool
	// Listen opens the listeners; nil means that of [net.ListenConfig]. A program bounds
	// here how many listeners and connections there are together: connections that peers
	// open must not take the file descriptors that the process needs itself.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// ErrorLog receives what the HTTP servers report about connections; nil discards it.
	// Peers can cause any number of lines.
	ErrorLog *log.Logger
	// Logger receives the reason why a port cannot be opened, once until the reason
	// changes; nil discards it.
	Logger *slog.Logger
}

// Services is a localsink.Sink that serves the health check node ports of Services. If a
// port cannot be opened, Sync succeeds all the same: NotProgrammed returns the Service, and
// ResyncRequested asks for another attempt. Create it with NewServices.
type Services struct {
	cfg     Config
	resync  chan struct{}
	serving sync.WaitGroup // one for each listener

	// Owned by Sync and Close.
	checks     map[localsink.ServiceName]*check
	retryTimer *time.Timer // requests a resync

	// Which addresses to listen on. All but addressesExpired are owned by Sync and Close.
	interfaceAddrs   func() ([]net.Addr, error) // net.InterfaceAddrs outside tests
	networks         []netip.Prefix             // Node.NodePortAddresses that led to addresses
	addresses        []netip.Addr
	addressesValid   bool
	listTimer        *time.Timer // sets addressesExpired and requests a resync
	addressesExpired atomic.Bool

	// failures holds the Services without all of their listeners. Only Sync writes it; mu
	// guards it against NotProgrammed.
	mu       sync.Mutex
	failures map[localsink.ServiceName]error
}

var (
	_ localsink.Sink            = (*Services)(nil)
	_ localsink.ResyncRequester = (*Services)(nil)
	_ localsink.FailureReporter = (*Services)(nil)
)

// NewServices returns a sink without open ports. The caller must call Close. The error is
// nil for every cfg of this version.
func NewServices(cfg Config) (*Services, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.ErrorLog == nil {
		cfg.ErrorLog = log.New(io.Discard, "", 0)
	}
	if cfg.Listen == nil {
		cfg.Listen = new(net.ListenConfig).Listen
	}
	if cfg.Healthy == nil {
		cfg.Healthy = func() bool { return true }
	}
	s := &Services{
		cfg: cfg, resync: make(chan struct{}, 1), interfaceAddrs: net.InterfaceAddrs,
		checks: map[localsink.ServiceName]*check{}, failures: map[localsink.ServiceName]error{},
	}
	s.retryTimer = time.AfterFunc(time.Hour, s.requestResync)
	s.retryTimer.Stop()
	s.listTimer = time.AfterFunc(time.Hour, func() {
		s.addressesExpired.Store(true)
		s.requestResync()
	})
	s.listTimer.Stop()
	return s, nil
}

// ResyncRequested implements localsink.ResyncRequester. The channel receives when it is
// time to retry failed ports or to list the node's addresses again.
func (s *Services) ResyncRequested() <-chan struct{} { return s.resync }

func (s *Services) requestResync() {
	select {
	case s.resync <- struct{}{}:
	default:
	}
}

// NotProgrammed implements localsink.FailureReporter: it returns the Services whose health
// check port could not be opened on at least one address.
func (s *Services) NotProgrammed() map[localsink.ServiceName]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.failures)
}

// Sync implements localsink.Sink; it always returns nil. It opens and closes ports of
// changed and failed Services, and of all Services if the addresses to listen on changed.
func (s *Services) Sync(ctx context.Context, u *localsink.Update) error {
	for _, svc := range u.Removed {
		s.setCheck(svc.Name, nil)
	}
	outdated := map[localsink.ServiceName]*check{}
	for _, svc := range u.Changed {
		s.setCheck(svc.Name, svc.HealthCheck)
		if c := s.checks[svc.Name]; c != nil {
			outdated[svc.Name] = c
		}
	}
	if len(s.checks) == 0 {
		s.listTimer.Stop()
		s.addressesValid = false
		return nil
	}
	for name := range s.failures { // no lock: only Sync writes
		outdated[name] = s.checks[name]
	}
	if s.updateAddresses(u.Node) {
		outdated = s.checks
	}
	for _, c := range outdated {
		s.listen(ctx, c)
	}
	if len(s.failures) > 0 {
		s.retryTimer.Reset(retryInterval)
	}
	return nil
}

// setCheck creates, changes or removes the check of a Service. It closes the listeners of
// a removed check and of a changed port; it opens none.
func (s *Services) setCheck(name localsink.ServiceName, desired *localsink.HealthCheck) {
	c := s.checks[name]
	if c != nil && (desired == nil || desired.Port != c.port) {
		c.closeAllExcept(nil)
		delete(s.checks, name)
		s.setFailure(name, nil)
		c = nil
	}
	if desired == nil {
		return
	}
	if c == nil {
		c = &check{name: name, port: desired.Port, servers: map[netip.Addr]server{}}
		s.checks[name] = c
	}
	c.localEndpoints.Store(int64(desired.LocalEndpoints))
}

// setFailure records why a Service does not have all of its listeners; nil if it has.
func (s *Services) setFailure(name localsink.ServiceName, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.failures, name); err != nil {
		s.failures[name] = err
	}
}

// Close closes all ports, waits until their goroutines have ended, and returns nil. Sync
// must not run during or after Close.
func (s *Services) Close() error {
	s.retryTimer.Stop()
	s.listTimer.Stop()
	for name, c := range s.checks {
		c.closeAllExcept(nil)
		delete(s.checks, name)
	}
	s.serving.Wait()
	return nil
}
