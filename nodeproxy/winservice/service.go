// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package winservice runs a program as a Windows service, with its log in the event log of the
// system. It is independent of Services of Kubernetes. Only the calls of Windows need Windows; they
// have not run there yet.
package winservice

import (
	"context"
	"errors"
)

// A state is a state of the service.
type state uint8

const (
	starting state = iota
	running
	stopping
)

// ErrNotService means that the system or the process is not one of a Windows service.
var ErrNotService = errors.New("winservice: not started by the service control manager of Windows")

// supervise reports the states of a service while run works: starting, running, and stopping after
// stop has received. It returns the error of run.
func supervise(ctx context.Context, stop <-chan struct{}, report func(state), run func(ctx context.Context) error) error {
	report(starting)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	report(running)
	select {
	case err := <-done:
		report(stopping)
		return err
	case <-stop:
	case <-ctx.Done():
	}
	report(stopping)
	cancel()
	return <-done
}
