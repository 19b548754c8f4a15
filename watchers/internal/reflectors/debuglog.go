// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reflectors

import (
	"context"
	"log/slog"
)

// A debugHandler passes every record on at level debug or below. Most records that
// client-go logs as errors are failed attempts of an outage, which [requestLog] logs once.
type debugHandler struct{ slog.Handler }

// Enabled reports whether the handler below logs the level, or debug if that is lower.
func (h debugHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, min(level, slog.LevelDebug))
}

// Handle passes r on. It checks Enabled itself, because logr passes
// errors on without a check.
func (h debugHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level = min(r.Level, slog.LevelDebug); !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs returns a handler that adds attributes to each record.
func (h debugHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return debugHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup returns a handler that adds a group to each record.
func (h debugHandler) WithGroup(name string) slog.Handler {
	return debugHandler{h.Handler.WithGroup(name)}
}
