// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package winservice

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
)

// IsService reports whether the service control manager started the process.
func IsService() (bool, error) { return svc.IsWindowsService() }

// Run runs a service with a name until the service control manager stops it, or run returns. It
// returns the error of run. A process has one service.
func Run(ctx context.Context, name string, run func(ctx context.Context) error) error {
	h := &handler{ctx: ctx, run: run}
	if err := svc.Run(name, h); err != nil {
		return errors.Join(fmt.Errorf("%w: service %s: %w", ErrNotService, name, err), h.err)
	}
	return h.err
}

// A handler implements svc.Handler.
type handler struct {
	ctx context.Context //nolint:containedctx // svc.Handler has none
	run func(ctx context.Context) error
	err error
}

// Execute runs the service.
func (h *handler) Execute(_ []string, requests <-chan svc.ChangeRequest, changes chan<- svc.Status) (serviceSpecific bool, exitCode uint32) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		h.err = supervise(h.ctx, stop, func(s state) { changes <- statusOf(s) }, h.run)
	}()
	isStopped := false
	for {
		select {
		case <-done:
			if h.err != nil {
				return true, 1
			}
			return false, 0
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				changes <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				if !isStopped {
					isStopped = true
					close(stop)
				}
			}
		}
	}
}

func statusOf(s state) svc.Status {
	switch s {
	case running:
		return svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	case stopping:
		return svc.Status{State: svc.StopPending}
	case starting:
	}
	return svc.Status{State: svc.StartPending}
}

// OpenEventLog opens the event log with a source, which it registers if necessary. It must be closed.
func OpenEventLog(source string) (*EventLog, error) {
	// An error means that the source exists, or that the process may not register it; then Windows
	// shows the text of events without a description.
	_ = eventlog.InstallAsEventCreate(source, eventlog.Info|eventlog.Warning|eventlog.Error)
	log, err := eventlog.Open(source)
	if err != nil {
		return nil, fmt.Errorf("winservice: open the event log of source %s: %w", source, err)
	}
	return &EventLog{log}, nil
}
