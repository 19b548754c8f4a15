// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package health serves /healthz, which load balancers ask whether to send traffic to a
// node, next to /livez, which a supervisor asks whether to restart the proxy. It is
// independent of Services; [healthcheck.Proxy] decides whether the node is in its desired state.
//
//	path      200 if
//	/healthz  the proxy is healthy, and the node eligible
//	/livez    the proxy is healthy
package health

import (
	"net/http"

	"sigs.k8s.io/kpng/backends/healthcheck"
)

// A Config configures a handler.
type Config struct {
	// Proxy reports whether the proxy is healthy. Required.
	Proxy *healthcheck.Proxy
	// Eligible reports whether load balancers may send traffic to the node; it is called
	// for each request, from any goroutine. nil means that it is always eligible.
	Eligible func() bool
	// InstrumentHealthz and InstrumentLivez wrap the handlers, to count responses; nil
	// wraps nothing.
	InstrumentHealthz, InstrumentLivez func(http.Handler) http.Handler
}

// Handler returns a handler of /healthz and /livez.
func Handler(cfg Config) http.Handler {
	if cfg.Eligible == nil {
		cfg.Eligible = func() bool { return true }
	}
	mux := http.NewServeMux()
	mux.Handle("/healthz", instrument(cfg.InstrumentHealthz, cfg.Proxy.Healthz(cfg.Eligible)))
	mux.Handle("/livez", instrument(cfg.InstrumentLivez, cfg.Proxy.Livez()))
	return mux
}

func instrument(wrap func(http.Handler) http.Handler, h http.Handler) http.Handler {
	if wrap == nil {
		return h
	}
	return wrap(h)
}
