// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"io"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sigs.k8s.io/kpng/examples/internal/cli"
)

// observe serves /metrics, /livez and /readyz on addr until ctx is done; an empty
// address serves nothing. It is ready once all of ready are closed.
func observe(ctx context.Context, addr string, log *slog.Logger, metrics []prometheus.Collector, ready ...<-chan struct{}) error {
	if addr == "" {
		return nil
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(metrics...)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		for _, c := range ready {
			select {
			case <-c:
			default:
				http.Error(w, "the facts are not complete yet", http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	return cli.ServeHTTP(ctx, "metrics", addr, mux, log)
}
