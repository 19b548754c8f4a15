// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

const (
	// retryAfter is how long after a port could not be opened it is tried again.
	retryAfter = 5 * time.Second
	// listAfter is how long after the addresses of the node were listed they are listed
	// again, where they decide on which to listen.
	listAfter = 30 * time.Second
)

// A Config is how to answer for Services.
type Config struct {
	// Healthy says whether the proxy itself is healthy; a node whose proxy is not
	// answers no for every Service. nil is always healthy.
	Healthy func() bool
	// Logger is told that a Service's port cannot be opened, each time that the reason
	// changes; nil is silent.
	Logger *slog.Logger
}

// Services is a localsink.Sink that keeps a listener for each Service with a health
// check port. A port that cannot be opened fails no Sync: it is reported, and tried
// again. It must be closed.
type Services struct {
	cfg     Config
	damaged chan struct{}
	running sync.WaitGroup

	// The following belong to Sync.
	checks map[localsink.ServiceName]*check
	retry  *time.Timer

	// Where to listen: the networks that were asked for, and what that meant at the time.
	interfaces func() ([]net.Addr, error)
	networks   []netip.Prefix
	addresses  []netip.Addr
	listed     bool
	list       *time.Timer
	outdated   atomic.Bool

	// failing are checks that lack a listener. mu is for readers beside Sync.
	mu      sync.Mutex
	failing map[localsink.ServiceName]error
}

var (
	_ localsink.Sink            = (*Services)(nil)
	_ localsink.ResyncRequester = (*Services)(nil)
	_ localsink.FailureReporter = (*Services)(nil)
)

// A check is one Service's health check port.
type check struct {
	name    localsink.ServiceName
	port    uint16
	servers map[netip.Addr]server
	local   atomic.Int64 // endpoints of this node
}

// A server answers on one address.
type server struct {
	*http.Server
	listener net.Listener
}

// NewServices returns a sink that has no ports open yet.
func NewServices(cfg Config) *Services {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Healthy == nil {
		cfg.Healthy = func() bool { return true }
	}
	s := &Services{
		cfg: cfg, damaged: make(chan struct{}, 1), interfaces: net.InterfaceAddrs,
		checks: map[localsink.ServiceName]*check{}, failing: map[localsink.ServiceName]error{},
	}
	s.retry = time.AfterFunc(time.Hour, s.tryAgain)
	s.retry.Stop()
	s.list = time.AfterFunc(time.Hour, func() {
		s.outdated.Store(true)
		s.tryAgain()
	})
	s.list.Stop()
	return s
}

// ResyncRequested implements localsink.Repairer: it asks for another attempt at ports that
// could not be opened, and for another look at the node's addresses.
func (s *Services) ResyncRequested() <-chan struct{} { return s.damaged }

func (s *Services) tryAgain() {
	select {
	case s.damaged <- struct{}{}:
	default:
	}
}

// NotProgrammed implements localsink.Partial: it returns the Services whose health check ports
// cannot be opened, all or some.
func (s *Services) NotProgrammed() map[localsink.ServiceName]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.failing)
}

// Sync implements localsink.Sink; it never fails. It looks at the Services that have
// changed and at those whose ports cannot be opened; at all of them only when the addresses
// on which they listen have changed.
func (s *Services) Sync(ctx context.Context, u *localsink.Update) error {
	for _, svc := range u.Removed {
		s.want(svc.Name, nil)
	}
	todo := map[localsink.ServiceName]*check{}
	for _, svc := range u.Changed {
		s.want(svc.Name, svc.HealthCheck)
		if c := s.checks[svc.Name]; c != nil {
			todo[svc.Name] = c
		}
	}
	if len(s.checks) == 0 {
		s.list.Stop()
		s.listed = false
		return nil
	}
	for name := range s.failing { // only Sync writes
		todo[name] = s.checks[name]
	}
	if s.moved(u.Node) {
		todo = s.checks
	}
	for _, c := range todo {
		s.open(ctx, c)
	}
	if len(s.failing) > 0 {
		s.retry.Reset(retryAfter)
	}
	return nil
}

// moved finds out where to listen, if that may have changed, and tells whether it has.
func (s *Services) moved(node *localsink.Node) bool {
	if s.listed && slices.Equal(s.networks, node.NodePortAddresses) && !s.outdated.Swap(false) {
		return false
	}
	now, err := s.addressesOf(node)
	if err != nil {
		s.cfg.Logger.Error("Cannot list the node's addresses, will try again; health checks of Services stay where they are", "err", err)
		s.list.Reset(retryAfter)
		return false
	}
	before := s.addresses
	s.listed, s.networks, s.addresses = true, node.NodePortAddresses, now
	return !slices.Equal(before, now)
}

// want replaces what a Service asks for.
func (s *Services) want(name localsink.ServiceName, hc *localsink.HealthCheck) {
	c := s.checks[name]
	if c != nil && (hc == nil || hc.Port != c.port) {
		c.close(nil)
		delete(s.checks, name)
		s.fail(name, nil)
		c = nil
	}
	if hc == nil {
		return
	}
	if c == nil {
		c = &check{name: name, port: hc.Port, servers: map[netip.Addr]server{}}
		s.checks[name] = c
	}
	c.local.Store(int64(hc.LocalEndpoints))
}

// addressesOf returns where to listen: everywhere in a family that is open as a whole,
// otherwise on those addresses of the node that node ports answer on. Where it takes a list
// of the node's addresses to know, it looks again after a while.
func (s *Services) addressesOf(node *localsink.Node) ([]netip.Addr, error) {
	var all []netip.Addr
	s.list.Stop()
	for _, n := range node.NodePortAddresses {
		switch {
		case n.Bits() == 0 || n.IsSingleIP():
			all = append(all, n.Addr())
		default:
			some, err := s.within(n)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
			s.list.Reset(listAfter)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}

// within returns the addresses of the node's interfaces that a network contains.
func (s *Services) within(network netip.Prefix) ([]netip.Addr, error) {
	interfaces, err := s.interfaces()
	var all []netip.Addr
	for _, i := range interfaces {
		if p, err := netip.ParsePrefix(i.String()); err == nil && network.Contains(p.Addr()) {
			all = append(all, p.Addr())
		}
	}
	return all, err
}

// open opens the listeners that c lacks, and closes those that it should not have.
func (s *Services) open(ctx context.Context, c *check) {
	var errs []error
	c.close(s.addresses)
	for _, a := range s.addresses {
		if c.servers[a].Server != nil {
			continue
		}
		network := "tcp6"
		if a.Is4() {
			network = "tcp4"
		}
		ln, err := new(net.ListenConfig).Listen(ctx, network, netip.AddrPortFrom(a, c.port).String())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		srv := server{&http.Server{Handler: s.handler(c), ReadHeaderTimeout: 10 * time.Second}, ln}
		c.servers[a] = srv
		s.running.Go(func() { _ = srv.Serve(ln) })
	}
	err := errors.Join(errs...)
	if err != nil {
		err = fmt.Errorf("healthcheck: Service %s: spec.healthCheckNodePort %d: %w", c.name, c.port, err)
		if before := s.failing[c.name]; before == nil || before.Error() != err.Error() {
			s.cfg.Logger.Error("Cannot answer health checks, will try again", "service", c.name, "err", err)
		}
	}
	s.fail(c.name, err)
}

// fail notes what keeps a Service's port from being open; nil is nothing.
func (s *Services) fail(name localsink.ServiceName, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.failing, name); err != nil {
		s.failing[name] = err
	}
}

// close closes the listeners on all addresses but some.
func (c *check) close(but []netip.Addr) {
	for a, srv := range c.servers {
		if !slices.Contains(but, a) {
			_ = srv.listener.Close() // the server may not know it yet
			_ = srv.Close()
			delete(c.servers, a)
		}
	}
}

// Close closes all ports and returns when nothing runs any more. Sync must not be
// called again.
func (s *Services) Close() {
	s.retry.Stop()
	s.list.Stop()
	for name, c := range s.checks {
		c.close(nil)
		delete(s.checks, name)
	}
	s.running.Wait()
}

// serviceBody is kube-proxy's.
type serviceBody struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints      int64 `json:"localEndpoints"`
	ServiceProxyHealthy bool  `json:"serviceProxyHealthy"`
}

// handler answers any path and method.
func (s *Services) handler(c *check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body := serviceBody{LocalEndpoints: c.local.Load(), ServiceProxyHealthy: s.cfg.Healthy()}
		body.Service.Namespace, body.Service.Name = c.name.Namespace, c.name.Name
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.FormatInt(body.LocalEndpoints, 10))
		respond(w, body.LocalEndpoints > 0 && body.ServiceProxyHealthy, body)
	})
}

func respond(w http.ResponseWriter, ok bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if ok {
		w.WriteHeader(http.StatusOK)
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body)
}
