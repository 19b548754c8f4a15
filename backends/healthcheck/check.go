// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// Limits of a connection. A load balancer that probes less often than once in idleTimeout
// connects again for each probe.
const (
	headTimeout    = 5 * time.Second
	requestTimeout = 10 * time.Second // for the whole request, and for the response
	idleTimeout    = 75 * time.Second
	maxHeaderBytes = 16 << 10
)

// A check is the health check port of one Service. Its handlers read localEndpoints;
// Server.mu guards all else.
type check struct {
	name           localsink.ServiceName
	port           uint16
	servers        map[netip.Addr]server // by the address that each listens on
	localEndpoints atomic.Int64
}

// A server answers health checks on one address.
type server struct {
	*http.Server
	listener net.Listener
}

// listen opens the listeners of c on s.addresses and closes those on other addresses.
func (s *Server) listen(ctx context.Context, c *check) {
	var errs []error
	if !s.addressesCurrent() {
		errs = append(errs, s.addressesErr)
	}
	c.closeAllExcept(s.addresses)
	for _, a := range s.addresses {
		if c.servers[a].Server != nil {
			continue
		}
		network := "tcp6"
		if a.Is4() {
			network = "tcp4"
		}
		ln, err := s.cfg.Listen(ctx, network, netip.AddrPortFrom(a, c.port).String())
		switch {
		case err == nil:
			s.serve(c, a, ln)
		case a.IsUnspecified() && errors.Is(err, syscall.EAFNOSUPPORT):
			// The system does not have the family, so there is no address to serve.
		default:
			errs = append(errs, err)
		}
	}
	err := errors.Join(errs...)
	if err != nil {
		err = fmt.Errorf("healthcheck: %s: spec.healthCheckNodePort %d: %w", c.name.Object(), c.port, err)
		if previous := s.failures[c.name]; previous == nil || previous.Error() != err.Error() {
			s.cfg.Logger.Error("Cannot open health check port", "service", c.name, "err", err, "retryAfter", retryInterval)
		}
	}
	s.setFailure(c.name, err)
}

// serve answers health checks of c on an address, until closeAllExcept closes it.
func (s *Server) serve(c *check, a netip.Addr, ln net.Listener) {
	srv := server{&http.Server{
		Handler: s.handler(c), ReadHeaderTimeout: headTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: s.cfg.ErrorLog,
	}, ln}
	c.servers[a] = srv
	s.serving.Go(func() { _ = srv.Serve(ln) })
}

// closeAllExcept closes the listeners and connections on all other addresses.
func (c *check) closeAllExcept(kept []netip.Addr) {
	for a, srv := range c.servers {
		if !slices.Contains(kept, a) {
			// Serve may not have registered the listener yet, so that Close of the server
			// alone could leave it open.
			_ = srv.listener.Close()
			_ = srv.Close()
			delete(c.servers, a)
		}
	}
}

// serviceBody is the response body of kube-proxy.
type serviceBody struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints      int64 `json:"localEndpoints"`
	ServiceProxyHealthy bool  `json:"serviceProxyHealthy"`
}

// handler returns the handler of a check, for any path and method.
func (s *Server) handler(c *check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body := serviceBody{LocalEndpoints: c.localEndpoints.Load(), ServiceProxyHealthy: s.cfg.Healthy()}
		body.Service.Namespace, body.Service.Name = c.name.Namespace, c.name.Name
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.FormatInt(body.LocalEndpoints, 10))
		writeJSON(w, body.LocalEndpoints > 0 && body.ServiceProxyHealthy, body)
	})
}

// writeJSON writes body with status 200 or 503.
func writeJSON(w http.ResponseWriter, ok bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if ok {
		w.WriteHeader(http.StatusOK)
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body) //nolint:errchkjson // the bodies are structs; the client may have disconnected
}
