// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"sigs.k8s.io/kpng/backends/userspace"
	"sigs.k8s.io/kpng/localsink"
)

// A printer is a sink that prints the listeners of a backend when they have changed.
type printer struct {
	backend *userspace.Backend
	out     io.Writer
	last    string
}

// Sinks returns the backend, for localsink.Walk.
func (p *printer) Sinks() []localsink.Sink { return []localsink.Sink{p.backend} }

// Sync implements localsink.Sink.
func (p *printer) Sync(ctx context.Context, u *localsink.Update) error {
	if err := p.backend.Sync(ctx, u); err != nil {
		return err
	}
	text := table(p.backend.Listeners())
	if text == p.last {
		return nil
	}
	p.last = text
	_, err := io.WriteString(p.out, text)
	return err
}

// table returns one line for each listener, and an empty line.
func table(listeners []userspace.Listener) string {
	var b strings.Builder
	if len(listeners) == 0 {
		fmt.Fprintln(&b, "no Services")
	}
	for _, l := range listeners {
		port := l.Port
		if port == "" {
			port = strconv.Itoa(int(l.Frontend.Port()))
		}
		fmt.Fprintf(&b, "%s:%s -> %s", l.Service, port, l.Local)
		if l.Protocol != localsink.ProtocolTCP {
			fmt.Fprintf(&b, "/%s", strings.ToLower(l.Protocol.String()))
		}
		switch {
		case l.Err != nil:
			fmt.Fprintf(&b, " (%v)\n", l.Err)
		case l.Endpoints == 1:
			fmt.Fprintln(&b, " (1 endpoint)")
		default:
			fmt.Fprintf(&b, " (%d endpoints)\n", l.Endpoints)
		}
	}
	fmt.Fprintln(&b)
	return b.String()
}
