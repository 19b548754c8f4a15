// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/remote/internal/lineprocess"
)

// Defaults of Config.
const (
	defaultTimeout = time.Minute
	defaultGrace   = 5 * time.Second
)

// maxAnswer is the maximum length of an answer in bytes.
const maxAnswer = 1 << 20

// A Config configures a [Sink].
type Config struct {
	// Command is the program and its arguments. Required.
	Command []string
	// Env are variables NAME=VALUE that the program has beside those of this process.
	Env []string
	// Unsupported are the features that the program does not support.
	Unsupported localsink.Features
	// Timeout is how long the program may take to answer an update before it is restarted; 0
	// means one minute.
	Timeout time.Duration
	// Grace is how long the program may run on after Close has closed its standard input; 0 means
	// 5 seconds.
	Grace time.Duration
	// Stderr receives the standard error of the program; nil discards it.
	Stderr io.Writer
	// Logger receives a warning each time that the program is restarted; nil is silent.
	Logger *slog.Logger
}

// A Sink sends updates to a child process. It must be closed. See the package documentation for
// the lines.
type Sink struct {
	cfg    Config
	resync chan struct{}
	closed chan struct{}
	idle   sync.WaitGroup // of the goroutines that follow processes and exchanges

	// The fields below belong to the caller of Sync.
	process  *lineprocess.Process // nil while none runs
	started  time.Time
	pending  chan error // receives the result of an exchange that a Sync has left; nil without one
	full     bool       // the process has not acknowledged a complete state
	revision uint64     // of the last line
	backoff  lineprocess.Backoff
	startAt  time.Time // not before; see lastErr
	lastErr  error
}

var (
	_ localsink.Sink            = (*Sink)(nil)
	_ localsink.ResyncRequester = (*Sink)(nil)
	_ localsink.FeatureReporter = (*Sink)(nil)
)

// New returns a sink. The first Sync starts the process.
func New(cfg Config) (*Sink, error) {
	if err := (lineprocess.Config{Command: cfg.Command}).Validate(); err != nil {
		return nil, fmt.Errorf("execsink: %w", err)
	}
	if cfg.Timeout < 0 || cfg.Grace < 0 {
		return nil, fmt.Errorf("execsink: Timeout %v, Grace %v: must not be negative", cfg.Timeout, cfg.Grace)
	}
	cfg.Timeout, cfg.Grace = cmp.Or(cfg.Timeout, defaultTimeout), cmp.Or(cfg.Grace, defaultGrace)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Sink{cfg: cfg, resync: make(chan struct{}, 1), closed: make(chan struct{})}, nil
}

// Unsupported implements [localsink.FeatureReporter].
func (s *Sink) Unsupported() localsink.Features { return s.cfg.Unsupported }

// ResyncRequested implements [localsink.ResyncRequester]: a process that has ended is started
// again without waiting for a change.
func (s *Sink) ResyncRequested() <-chan struct{} { return s.resync }

// Sync sends u to the process and waits for its answer. The process is started first if none runs,
// and then receives the complete state.
func (s *Sink) Sync(ctx context.Context, u *localsink.Update) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.pending != nil { // the answer to the update before, which was not acknowledged
		_ = s.await(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if err := s.ensureProcess(); err != nil {
		return err
	}
	s.revision++
	line, err := encode(u, s.revision, s.full)
	if err != nil {
		return fmt.Errorf("execsink: encode update: %w", err)
	}
	s.exchange(line)
	if err := s.await(ctx); err != nil {
		return err
	}
	s.full = false
	return nil
}

// ensureProcess starts a process if none runs.
func (s *Sink) ensureProcess() error {
	if s.process != nil {
		select {
		case <-s.process.Exited():
			s.stop(errors.New("process ended"))
		default:
			return nil
		}
	}
	if wait := time.Until(s.startAt); wait > 0 {
		return fmt.Errorf("execsink: %s: starts again in %v: %w", s.cfg.Command[0], wait.Round(time.Millisecond), s.lastErr)
	}
	process, err := lineprocess.Start(lineprocess.Config{Command: s.cfg.Command, Env: s.cfg.Env, Stderr: s.cfg.Stderr, MaxLine: maxAnswer})
	if err != nil {
		return fmt.Errorf("execsink: start: %w", err)
	}
	s.process, s.started, s.full = process, time.Now(), true
	s.idle.Go(func() { s.follow(process) })
	return nil
}

// follow requests a resync when a process has ended. It is a goroutine for each process.
func (s *Sink) follow(p *lineprocess.Process) {
	select {
	case <-p.Exited():
	case <-s.closed:
		return
	}
	select {
	case s.resync <- struct{}{}:
	default: // one is requested already
	}
}

// stop ends the process because of err.
func (s *Sink) stop(err error) {
	s.process.Close(0)
	delay := s.backoff.Next(time.Since(s.started))
	s.process, s.startAt, s.lastErr = nil, time.Now().Add(delay), err
	s.cfg.Logger.Warn("Program of the sink restarts", "command", s.cfg.Command[0], "err", err, "retryAfter", delay)
}

// A fatalError means that the process must be restarted.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// exchange starts to send a line and to receive the answer. The result arrives at s.pending.
func (s *Sink) exchange(line []byte) {
	done := make(chan error, 1)
	s.pending = done
	process, revision, timeout := s.process, s.revision, s.cfg.Timeout
	s.idle.Go(func() {
		timer := time.AfterFunc(timeout, process.Kill)
		err := roundTrip(process, line, revision)
		if !timer.Stop() {
			err = fatalError{fmt.Errorf("no answer to update %d within %v", revision, timeout)}
		}
		done <- err
	})
}

// roundTrip writes a line and reads the answer.
func roundTrip(p *lineprocess.Process, line []byte, revision uint64) error {
	if err := p.WriteLine(line); err != nil {
		return fatalError{err}
	}
	answer, err := p.ReadLine()
	if err != nil {
		return fatalError{err}
	}
	return parseAnswer(answer, revision)
}

// await waits for the result of the exchange, until ctx is done.
func (s *Sink) await(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-s.pending:
		s.pending = nil
		if err == nil {
			return nil
		}
		err = fmt.Errorf("execsink: %s: %w", s.cfg.Command[0], err)
		if fatal := (fatalError{}); errors.As(err, &fatal) {
			s.stop(fatal.error)
		}
		return err
	}
}

// Close closes the standard input of the process, which ends it, and kills it after
// [Config.Grace]. It must not be called during a Sync, and returns nil.
func (s *Sink) Close() error {
	select {
	case <-s.closed:
		return nil
	default:
		close(s.closed)
	}
	if s.process != nil {
		s.process.Close(s.cfg.Grace)
		s.process = nil
	}
	s.idle.Wait()
	return nil
}
