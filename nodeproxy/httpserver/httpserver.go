// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package httpserver serves HTTP until a context ends. It also has the handlers that
// operators of kube-proxy expect beside its metrics; it is independent of Services.
//
// A [Limiter] bounds the file descriptors that all listeners of a process and their
// connections use. The states of a connection, and what ends each of them:
//
//	state                       ends after                    or when the limiter is full
//	reading a request's head    5 s                           yes
//	reading a request's body    10 s                          yes
//	handler is running          -                             yes
//	writing, peer does not read 30 s without progress         yes
//	idle                        75 s                          yes
//
// "Yes" is for the connection of the peer with the most connections that has waited longest
// for a response; see [Limiter].
package httpserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"
)

const (
	// retryAfter is the time between attempts of RunRetrying to listen.
	retryAfter = 5 * time.Second
	// headTimeout and bodyTimeout bound the time in which a request arrives.
	headTimeout = 5 * time.Second
	bodyTimeout = 10 * time.Second
	// idleTimeout is longer than a minute, the usual interval of scrapes.
	idleTimeout = 75 * time.Second
	// maxHeaderBytes bounds the head of a request.
	maxHeaderBytes = 16 << 10
)

// Run listens on address, a TCP host:port, and serves h until ctx is done; then it closes
// all connections and returns nil. An empty address serves nothing. The error is that of
// listening or serving. A nil logger is silent. Its connections have a [Limiter] of their
// own; a program with several listeners uses [Limiter.Run].
func Run(ctx context.Context, address string, h http.Handler, logger *slog.Logger) error {
	return NewLimiter(LimiterConfig{}).Run(ctx, address, h, logger)
}

// Run is the function [Run] with the limits of l.
func (l *Limiter) Run(ctx context.Context, address string, h http.Handler, logger *slog.Logger) error {
	if address == "" {
		return nil
	}
	listener, err := l.Listen(ctx, "tcp", address)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer listener.Close() // has no effect after that of the server
	if logger != nil {
		logger.InfoContext(ctx, "Serving HTTP", "address", listener.Addr().String())
	}
	server := newServer(h, logger)
	closeServer := func() { _ = server.Close() } // connections end with it, also after an error of the listener
	defer closeServer()
	defer context.AfterFunc(ctx, closeServer)()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func newServer(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler: withBodyTimeout(h), ReadHeaderTimeout: headTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: ErrorLog(logger),
	}
}

// withBodyTimeout bounds the time in which the body of a request arrives. It does not use
// [http.Server.ReadTimeout], which would also end the context of a slow handler, such as a
// profile, whose request has no body.
func withBodyTimeout(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		h.ServeHTTP(w, r)
	})
}

// RunRetrying is [Run] that logs an error and tries again after 5 s, until ctx is done:
// a port that another process still holds must not end a proxy.
func RunRetrying(ctx context.Context, address string, h http.Handler, logger *slog.Logger) error {
	return NewLimiter(LimiterConfig{}).RunRetrying(ctx, address, h, logger)
}

// RunRetrying is the function [RunRetrying] with the limits of l.
func (l *Limiter) RunRetrying(ctx context.Context, address string, h http.Handler, logger *slog.Logger) error {
	for ctx.Err() == nil {
		err := l.Run(ctx, address, h, logger)
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
	return NoSniff(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(contentType, textPlain)
		_, _ = io.WriteString(w, body)
	}))
}

// Configz returns a handler of /configz: a JSON object with configuration under key. It
// encodes configuration for each request.
func Configz(key string, configuration any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(contentType, "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_ = json.NewEncoder(w).Encode(map[string]any{key: configuration})
	})
}

// Ready returns a handler of /readyz that answers "ok" once all channels are closed, and
// 503 with reason before.
func Ready(reason string, channels ...<-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, c := range channels {
			select {
			case <-c:
			default:
				http.Error(w, reason, http.StatusServiceUnavailable)
				return
			}
		}
		Text("ok\n").ServeHTTP(w, r)
	})
}

// HandleProfiling adds the handlers below /debug/pprof/ to mux.
func HandleProfiling(mux *http.ServeMux) {
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
}
