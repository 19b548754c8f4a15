// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// burst is the number of lines with one message that are logged at once.
	burst = 20
	// refillInterval is the time after which one more line with a message is logged.
	refillInterval = 30 * time.Second
	// summaryInterval is the minimum time between two lines that count lines left out.
	summaryInterval = time.Minute
	// maxMessages bounds the messages that are remembered. Messages are constants of the
	// program, except those of libraries.
	maxMessages = 1000
)

// A limitHandler leaves out lines whose message has been logged too often: objects of the
// cluster and peers can cause any number of lines. A line of its own counts them. Lines of
// the level debug and below are not limited.
type limitHandler struct {
	slog.Handler
	limits *limits // shared with the handlers that WithAttrs and WithGroup return
}

type limits struct {
	mu       sync.Mutex
	messages map[string]*message
}

// A message is the state of one message.
type message struct {
	lines      float64 // that may be logged now
	at         time.Time
	leftOut    int       // since the last summary
	summarized time.Time // or when the first line was left out; zero before
}

func newLimitHandler(inner slog.Handler) slog.Handler {
	return &limitHandler{Handler: inner, limits: &limits{messages: map[string]*message{}}}
}

// Handle implements [slog.Handler].
func (h *limitHandler) Handle(ctx context.Context, r slog.Record) error {
	if !h.Enabled(ctx, r.Level) {
		return nil // logr passes errors on without asking
	}
	if r.Level < slog.LevelInfo {
		return h.Handler.Handle(ctx, r)
	}
	ok, leftOut := h.limits.take(r.Message, r.Time)
	if leftOut > 0 {
		summary := slog.NewRecord(r.Time, slog.LevelWarn, "Lines left out of the log", r.PC)
		summary.AddAttrs(slog.String("message", r.Message), slog.Int("lines", leftOut))
		if err := h.Handler.Handle(ctx, summary); err != nil {
			return err
		}
	}
	if !ok {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// take reports whether a line may be logged, and how many lines with its message were left
// out if it is time to say so.
func (l *limits) take(text string, now time.Time) (ok bool, leftOut int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.messages[text]
	if m == nil {
		l.forget()
		m = &message{lines: burst, at: now}
		l.messages[text] = m
	}
	m.lines = min(m.lines+float64(now.Sub(m.at))/float64(refillInterval), burst)
	m.at = now
	if ok = m.lines >= 1; ok {
		m.lines--
	} else {
		if m.summarized.IsZero() {
			m.summarized = now
		}
		m.leftOut++
	}
	if m.leftOut > 0 && now.Sub(m.summarized) >= summaryInterval {
		leftOut, m.leftOut, m.summarized = m.leftOut, 0, now
	}
	return ok, leftOut
}

// forget makes room for a message: it removes one that has not been logged lately.
func (l *limits) forget() {
	if len(l.messages) < maxMessages {
		return
	}
	oldest := ""
	for text, m := range l.messages {
		if oldest == "" || m.at.Before(l.messages[oldest].at) {
			oldest = text
		}
	}
	delete(l.messages, oldest)
}

// WithAttrs implements [slog.Handler].
func (h *limitHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limitHandler{h.Handler.WithAttrs(attrs), h.limits}
}

// WithGroup implements [slog.Handler].
func (h *limitHandler) WithGroup(name string) slog.Handler {
	return &limitHandler{h.Handler.WithGroup(name), h.limits}
}
