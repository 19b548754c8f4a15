// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
)

// healthHandler serves /healthz, for load balancers and others who ask whether to
// send traffic here, and /livez, for whoever restarts a proxy that is stuck.
func healthHandler(p *healthcheck.Proxy, m *monitor, eligible func() bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/healthz", promhttp.InstrumentHandlerCounter(m.healthz, p.Healthz(eligible)))
	mux.Handle("/livez", promhttp.InstrumentHandlerCounter(m.livez, p.Livez()))
	return mux
}

// metricsHandler serves what operators of this node ask.
func metricsHandler(m *monitor, f *faults, o *options, explain func(localsink.ServiceName) (*nodelocal.Explanation, error)) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	text := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
	}
	text("/healthz", "ok")
	text("/proxyMode", o.Mode)
	mux.HandleFunc("/configz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"kubeproxy.config.k8s.io": o.configuration})
	})
	state := &statePages{monitor: m, faults: f, explain: explain}
	mux.HandleFunc("/state", state.all)
	mux.HandleFunc("/state/{namespace}/{name}", state.one)
	if o.EnableProfiling {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// serve answers HTTP on addr until ctx is done; an empty address serves nothing. A
// port that is taken is tried again.
func serve(ctx context.Context, addr string, h http.Handler, log *slog.Logger) {
	if addr == "" {
		return
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	for ctx.Err() == nil {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err == nil {
			err = srv.Serve(ln)
		}
		if errors.Is(err, http.ErrServerClosed) || ctx.Err() != nil {
			return
		}
		log.Error("Cannot serve HTTP, will try again", "address", addr, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
}
