// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"sigs.k8s.io/kpng/remote/internal/lineprocess"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// Defaults of Config.
const (
	defaultTimeout = time.Minute
	defaultGrace   = time.Second
)

// A Config configures a [Watcher].
type Config struct {
	// Command is the program and its arguments. Required.
	Command []string
	// Filter selects Services and EndpointSlices, and the properties that are kept.
	Filter kubeapi.Filter
	// Extend attaches extensions to Services, EndpointSlices and Nodes; nil attaches none.
	Extend kubeapi.Extend
	// Timeout is how long the program may take for its first line, and to read an answer, before
	// it is restarted; 0 means one minute.
	Timeout time.Duration
	// Grace is how long the program may run on after its standard input was closed; 0 means
	// one second.
	Grace time.Duration
	// Stderr receives the standard error of the program; nil discards it.
	Stderr io.Writer
	// Logger receives a warning each time that the program is restarted, and the errors of
	// objects; nil is silent.
	Logger *slog.Logger
}

// A Watcher writes the objects that a child process sends into a store.
type Watcher struct{ cfg Config }

var _ watchers.Watcher = (*Watcher)(nil)

// New returns a watcher. Run starts the process.
func New(cfg Config) (*Watcher, error) {
	if err := (lineprocess.Config{Command: cfg.Command}).Validate(); err != nil {
		return nil, fmt.Errorf("execsource: %w", err)
	}
	if cfg.Timeout < 0 || cfg.Grace < 0 {
		return nil, fmt.Errorf("execsource: Timeout %v, Grace %v: must not be negative", cfg.Timeout, cfg.Grace)
	}
	if err := cfg.Filter.Validate(); err != nil {
		return nil, fmt.Errorf("execsource: Filter: %w", err)
	}
	cfg.Timeout, cfg.Grace = cmp.Or(cfg.Timeout, defaultTimeout), cmp.Or(cfg.Grace, defaultGrace)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Watcher{cfg: cfg}, nil
}

// Run runs the process and writes its objects into store until ctx is done; then it returns nil.
// It returns an error if the process cannot be started; one that ends is started again.
func (w *Watcher) Run(ctx context.Context, store *watchers.Store) error {
	decoder, err := file.NewDecoder(file.Config{Filter: w.cfg.Filter, Extend: w.cfg.Extend, Logger: w.cfg.Logger})
	if err != nil {
		return err
	}
	var backoff lineprocess.Backoff
	for ctx.Err() == nil {
		started := time.Now()
		process, err := lineprocess.Start(lineprocess.Config{Command: w.cfg.Command, Stderr: w.cfg.Stderr})
		if err != nil {
			return fmt.Errorf("execsource: start: %w", err)
		}
		if err := w.follow(ctx, process, &reader{decoder: decoder, store: store, logger: w.cfg.Logger}); ctx.Err() == nil {
			delay := backoff.Next(time.Since(started))
			w.cfg.Logger.WarnContext(ctx, "Program of the source restarts", "command", w.cfg.Command[0], "err", err, "retryAfter", delay)
			sleep(ctx, delay)
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// follow applies the lines of a process until it fails or ctx is done, and ends the process.
func (w *Watcher) follow(ctx context.Context, p *lineprocess.Process, r *reader) error {
	failed := make(chan error, 1)
	go func() { failed <- w.exchange(p, r) }()
	select {
	case err := <-failed:
		p.Close(0)
		return err
	case <-ctx.Done():
		p.Close(w.cfg.Grace)
		return errors.Join(ctx.Err(), <-failed) // reads fail now
	}
}

// exchange reads and answers lines until one of both fails.
func (w *Watcher) exchange(p *lineprocess.Process, r *reader) error {
	late := time.AfterFunc(w.cfg.Timeout, p.Kill)
	for first := true; ; first = false {
		line, err := p.ReadLine()
		if first && !late.Stop() {
			return fmt.Errorf("no line within %v", w.cfg.Timeout)
		}
		if err != nil {
			return err
		}
		answer, err := r.apply(line)
		if err != nil {
			return err
		}
		slow := time.AfterFunc(w.cfg.Timeout, p.Kill)
		err = p.WriteLine(answer)
		if !slow.Stop() {
			return errors.Join(fmt.Errorf("answer was not read within %v", w.cfg.Timeout), err)
		}
		if err != nil {
			return err
		}
	}
}
