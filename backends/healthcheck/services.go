package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

// retryAfter is how long after a port could not be opened it is tried again.
const retryAfter = 5 * time.Second

// A Config is how to answer for Services.
type Config struct {
	// Healthy says whether the proxy itself is healthy; a node whose proxy is not
	// answers no for every Service. nil is always healthy.
	Healthy func() bool
	// OnError, when not nil, is told that a Service's port cannot be opened, each time
	// that the reason changes. It is called by Sync.
	OnError func(service localsink.ServiceName, err error)
	// Logger is told the same; nil is silent.
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
}

// A check is one Service's health check port.
type check struct {
	name      localsink.ServiceName
	port      uint16
	addresses []netip.Addr // to listen on
	servers   map[netip.Addr]server
	local     atomic.Int64 // endpoints of this node
	lastErr   string
}

// A server answers at one address.
type server struct {
	http     *http.Server
	listener net.Listener
}

// close frees the port before it returns, also when nothing has been served yet.
func (s server) close() {
	_ = s.http.Close()
	_ = s.listener.Close()
}

// NewServices returns a sink that has no ports open yet.
func NewServices(cfg Config) *Services {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Healthy == nil {
		cfg.Healthy = func() bool { return true }
	}
	s := &Services{cfg: cfg, damaged: make(chan struct{}, 1), checks: map[localsink.ServiceName]*check{}}
	s.retry = time.AfterFunc(time.Hour, s.tryAgain)
	s.retry.Stop()
	return s
}

// Damaged implements localsink.Repairer: it asks for another attempt at ports that
// could not be opened.
func (s *Services) Damaged() <-chan struct{} { return s.damaged }

func (s *Services) tryAgain() {
	select {
	case s.damaged <- struct{}{}:
	default:
	}
}

// Sync implements localsink.Sink; it never fails.
func (s *Services) Sync(ctx context.Context, u *localsink.Update) error {
	for _, svc := range u.Removed {
		s.want(svc.Name, nil)
	}
	for _, svc := range u.Changed {
		s.want(svc.Name, svc.HealthCheck)
	}
	if len(s.checks) == 0 {
		return nil
	}
	addresses, failed := s.addresses(u.Node), false
	for _, c := range s.checks {
		if !slices.Equal(c.addresses, addresses) {
			c.close()
			c.addresses = addresses
		}
		failed = !s.open(ctx, c) || failed
	}
	if failed {
		s.retry.Reset(retryAfter)
	}
	return nil
}

// want replaces what a Service asks for.
func (s *Services) want(name localsink.ServiceName, hc *localsink.HealthCheck) {
	c := s.checks[name]
	if c != nil && (hc == nil || hc.Port != c.port) {
		c.close()
		delete(s.checks, name)
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

// addresses returns where to listen: everywhere in a family that is open as a whole,
// otherwise on those addresses of the node that node ports answer on.
func (s *Services) addresses(node *localsink.Node) []netip.Addr {
	var all []netip.Addr
	for _, n := range node.NodePortAddresses {
		switch {
		case n.Bits() == 0 || n.IsSingleIP():
			all = append(all, n.Addr())
		default:
			all = append(all, s.within(n)...)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// within returns the addresses of the node's interfaces that a network contains.
func (s *Services) within(network netip.Prefix) []netip.Addr {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		s.cfg.Logger.Error("Cannot list the node's addresses; health checks of Services may not listen everywhere", "err", err)
	}
	var all []netip.Addr
	for _, i := range interfaces {
		if p, err := netip.ParsePrefix(i.String()); err == nil && network.Contains(p.Addr()) {
			all = append(all, p.Addr())
		}
	}
	return all
}

// open opens the listeners that c lacks, and says whether it has all.
func (s *Services) open(ctx context.Context, c *check) bool {
	var errs []error
	for _, a := range c.addresses {
		if _, open := c.servers[a]; open {
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
		srv := &http.Server{Handler: s.handler(c), ReadHeaderTimeout: 10 * time.Second}
		c.servers[a] = server{srv, ln}
		s.running.Go(func() { _ = srv.Serve(ln) })
	}
	s.report(c, errors.Join(errs...))
	return errs == nil
}

func (s *Services) report(c *check, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if c.lastErr != text && err != nil {
		err = fmt.Errorf("healthcheck: Service %s: spec.healthCheckNodePort %d: %w", c.name, c.port, err)
		s.cfg.Logger.Error("Cannot answer health checks, will try again", "service", c.name, "err", err)
		if s.cfg.OnError != nil {
			s.cfg.OnError(c.name, err)
		}
	}
	c.lastErr = text
}

func (c *check) close() {
	for a, srv := range c.servers {
		srv.close()
		delete(c.servers, a)
	}
}

// Close closes all ports and returns when nothing runs any more. Sync must not be
// called again.
func (s *Services) Close() {
	s.retry.Stop()
	for name, c := range s.checks {
		c.close()
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
