// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package execvectors runs a program in any language as an implementation of the semantics of
// Services, for the stories of package vectors. It contains no story. docs/vectors.md describes the
// lines for authors of such programs.
//
// The program receives the steps of one story, one JSON object in each line:
//
//	{"configure":["node node-1","client pod 10.1.0.9"]}
//	{"apply":[{"kind":"Service",...}]}
//	{"delete":["Service default/web"]}
//	{"probe":["pod tcp 10.0.0.1:80"]}
//
// and answers each with one line: {"outcomes":["10.1.0.1:8080"]} for probes, {} for other steps,
// or {"error":"..."}.
package execvectors

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"sigs.k8s.io/kpng/remote/internal/lineprocess"
)

// Config describes a program.
type Config struct {
	// Command is the program and its arguments. Required.
	Command []string
	// Env are variables NAME=VALUE that the program has beside those of this process.
	Env []string
	// Timeout is how long the program may take to answer a step; 0 means 10 seconds.
	Timeout time.Duration
	// Stderr receives the standard error of the program; nil discards it.
	Stderr io.Writer
}

const (
	defaultTimeout = 10 * time.Second
	grace          = time.Second // between the end of its input and the end of the program
)

// A Program is a running program. It implements vectors.Implementation.
type Program struct {
	process *lineprocess.Process
	timeout time.Duration
}

// Start starts a program, which must be closed.
func Start(cfg Config) (*Program, error) {
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("execvectors: Timeout: %v is negative", cfg.Timeout)
	}
	process, err := lineprocess.Start(lineprocess.Config{Command: cfg.Command, Env: cfg.Env, Stderr: cfg.Stderr})
	if err != nil {
		return nil, fmt.Errorf("execvectors: %w", err)
	}
	return &Program{process: process, timeout: cmp.Or(cfg.Timeout, defaultTimeout)}, nil
}

// An answer is a line of the program.
type answer struct {
	Outcomes []string `json:"outcomes"`
	Error    string   `json:"error"`
}

// Configure implements vectors.Implementation.
func (p *Program) Configure(ctx context.Context, settings []string) error {
	_, err := p.exchange(ctx, "configure", orEmpty(settings))
	return err
}

// Apply implements vectors.Implementation.
func (p *Program) Apply(ctx context.Context, objects []json.RawMessage) error {
	_, err := p.exchange(ctx, "apply", orEmpty(objects))
	return err
}

// Delete implements vectors.Implementation.
func (p *Program) Delete(ctx context.Context, names []string) error {
	_, err := p.exchange(ctx, "delete", orEmpty(names))
	return err
}

// Probe implements vectors.Implementation.
func (p *Program) Probe(ctx context.Context, probes []string) ([]string, error) {
	a, err := p.exchange(ctx, "probe", orEmpty(probes))
	return a.Outcomes, err
}

// Close ends the program. It returns nil.
func (p *Program) Close() error {
	p.process.Close(grace)
	return nil
}

// orEmpty returns values as a list that is not null in JSON.
func orEmpty[T any](values []T) []T { return append([]T{}, values...) }

// exchange sends a step and returns the answer. The program is killed if ctx is done or the
// answer is late, so that no later step receives that answer.
func (p *Program) exchange(ctx context.Context, name string, values any) (a answer, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("no answer within %v", p.timeout))
	defer cancel()
	stop := context.AfterFunc(ctx, p.process.Kill)
	defer func() {
		if !stop() && err != nil {
			err = context.Cause(ctx)
		}
	}()
	line, err := json.Marshal(map[string]any{name: values})
	if err != nil {
		return a, err
	}
	if err := p.process.WriteLine(line); err != nil {
		return a, err
	}
	if line, err = p.process.ReadLine(); err != nil {
		return a, err
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("answer %.100q: %w", line, err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}
