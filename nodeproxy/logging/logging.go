// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package logging has the log of a program with the settings of Kubernetes components:
// text or JSON, a verbosity that can change while the program runs, and a limit of
// repeated lines. It is independent of Services.
//
// Verbosity n of Kubernetes is the level -n of slog: 4 shows lines of level debug.
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"
)

// Formats of a log.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// A Config configures a Log. The zero value is ready for use.
type Config struct {
	// Format is FormatText, FormatJSON, or "", which means FormatText.
	Format string
	// Verbosity is the initial verbosity.
	Verbosity int
}

// A Log is the log of a program. Its methods may be called from any goroutine.
type Log struct {
	level  slog.LevelVar
	logger *slog.Logger
}

// New returns a Log that writes to w. The error names the invalid field of cfg.
func New(w io.Writer, cfg Config) (*Log, error) {
	l := &Log{}
	if err := l.SetVerbosity(cfg.Verbosity); err != nil {
		return nil, err
	}
	var inner slog.Handler
	switch cfg.Format {
	case "", FormatText:
		inner = slog.NewTextHandler(w, &slog.HandlerOptions{Level: &l.level, ReplaceAttr: replaceLevel})
	case FormatJSON:
		inner = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: &l.level, ReplaceAttr: replaceJSON})
	default:
		return nil, fmt.Errorf("logging: Format: %q: want %s or %s", cfg.Format, FormatText, FormatJSON)
	}
	l.logger = slog.New(newLimitHandler(inner))
	return l, nil
}

// Logger returns the logger of the program.
func (l *Log) Logger() *slog.Logger { return l.logger }

// SetVerbosity changes which lines are logged from now on.
func (l *Log) SetVerbosity(n int) error {
	if n < 0 || n > maxVerbosity {
		return fmt.Errorf("logging: Verbosity: %d is out of range 0-%d", n, maxVerbosity)
	}
	l.level.Set(slog.Level(-n))
	return nil
}

// maxVerbosity is far above any level in use.
const maxVerbosity = 1 << 20

// Verbosity returns the present verbosity.
func (l *Log) Verbosity() int { return -int(l.level.Level()) }

// Enabled reports whether lines of a verbosity are logged.
func (l *Log) Enabled(verbosity int) bool {
	return l.logger.Enabled(context.Background(), slog.Level(-verbosity))
}

// replaceLevel prints a level of Kubernetes that slog has no name for.
func replaceLevel(groups []string, a slog.Attr) slog.Attr {
	if level, ok := a.Value.Any().(slog.Level); ok && len(groups) == 0 && a.Key == slog.LevelKey && level < slog.LevelInfo {
		if level == slog.LevelDebug {
			return a
		}
		return slog.String(a.Key, "V"+strconv.Itoa(-int(level)))
	}
	return a
}

// replaceJSON gives time and level the keys that Kubernetes components have in JSON: ts,
// in milliseconds since 1970, and v for lines that are neither warnings nor errors.
func replaceJSON(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch value := a.Value.Any().(type) {
	case time.Time:
		if a.Key == slog.TimeKey {
			return slog.Float64("ts", float64(value.UnixMicro())/1000)
		}
	case slog.Level:
		if a.Key == slog.LevelKey && value <= slog.LevelInfo {
			return slog.Int("v", -int(value))
		}
	}
	return a
}
