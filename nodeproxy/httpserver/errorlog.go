// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// errorInterval is the minimum time between two lines of an error log. Peers can cause
// these lines.
const errorInterval = 10 * time.Second

// ErrorLog returns a logger for [http.Server.ErrorLog] that passes at most one line in 10
// seconds on to logger, with the number of lines that were left out. A nil logger is silent.
func ErrorLog(logger *slog.Logger) *log.Logger {
	if logger == nil {
		return log.New(io.Discard, "", 0)
	}
	return log.New(&errorWriter{logger: logger}, "", 0)
}

type errorWriter struct {
	logger *slog.Logger

	mu         sync.Mutex
	last       time.Time
	suppressed int // lines since last
}

// Write logs one line of the server, or counts it.
func (w *errorWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); w.last.IsZero() || now.Sub(w.last) >= errorInterval {
		w.logger.WarnContext(context.Background(), "HTTP server reports an error", "err", strings.TrimSpace(string(line)), "suppressed", w.suppressed)
		w.last, w.suppressed = now, 0
	} else {
		w.suppressed++
	}
	return len(line), nil
}
