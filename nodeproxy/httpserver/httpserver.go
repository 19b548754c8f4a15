// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package httpserver serves HTTP until a context ends. It also has the handlers that
// operators of kube-proxy expect beside its metrics; it is independent of Services.
package httpserver

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
)

// retryAfter is the time between attempts of [RunRetrying] to listen.
const retryAfter = 5 * time.Second

// Run listens on address, a TCP host:port, and serves h until ctx is done; then it closes
// all connections and returns nil. An empty address serves nothing. The error is that of
// listening or serving. A nil logger is silent.
func Run(ctx context.Context, address string, h http.Handler, logger *slog.Logger) error {
	if address == "" {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if logger != nil {
		logger.InfoContext(ctx, "Serving HTTP", "address", listener.Addr().String())
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	closeServer := func() { _ = server.Close() } // connections end with it, also after an error of the listener
	defer closeServer()
	defer context.AfterFunc(ctx, closeServer)()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// RunRetrying is [Run] that logs an error and tries again after 5 s, until ctx is done:
// a port that another process still holds must not end a proxy.
func RunRetrying(ctx context.Context, address string, h http.Handler, logger *slog.Logger) error {
	for ctx.Err() == nil {
		err := Run(ctx, address, h, logger)
		if err == nil {
			return nil
		}
		if logger != nil && ctx.Err() == nil {
			logger.ErrorContext(ctx, "Cannot serve HTTP, retrying", "address", address, "err", err, "retryAfter", retryAfter)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
	return nil
}

// Text returns a handler that answers with body.
func Text(body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
}

// Configz returns a handler of /configz: a JSON object with configuration under key. It
// encodes configuration for each request.
func Configz(key string, configuration any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{key: configuration})
	})
}

// Ready returns a handler of /readyz that answers "ok" once all channels are closed, and
// 503 with reason before.
func Ready(reason string, channels ...<-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, c := range channels {
			select {
			case <-c:
			default:
				http.Error(w, reason, http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = io.WriteString(w, "ok\n")
	})
}

// HandleProfiling adds the handlers below /debug/pprof/ to mux.
func HandleProfiling(mux *http.ServeMux) {
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
}
