// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"
)

// echo serves TCP on addr until ctx is done: every client is told who answers.
func echo(ctx context.Context, addr string) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = ln.Close() })
	host, _, _ := net.SplitHostPort(addr)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, host)
			_ = conn.Close()
		}
	}()
	return nil
}

// A tally counts who answered.
type tally map[string]int

// dial makes n connections to addr, one after the other.
func dial(ctx context.Context, addr string, n int) (tally, error) {
	answers := tally{}
	dialer := net.Dialer{Timeout: 2 * time.Second}
	for range n {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			answers["refused"]++
			continue
		} else if err != nil {
			return answers, err
		}
		who, err := io.ReadAll(conn)
		_ = conn.Close()
		if err != nil {
			return answers, err
		}
		answers[string(who)]++
	}
	return answers, nil
}

// String lists who answered how often.
func (t tally) String() string {
	var parts []string
	for _, who := range slices.Sorted(maps.Keys(t)) {
		parts = append(parts, fmt.Sprintf("%s %d times", who, t[who]))
	}
	return strings.Join(parts, ", ")
}
