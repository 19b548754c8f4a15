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

// serveAddress starts a TCP server on addr, until ctx is done. It sends its IP address to
// each client.
func serveAddress(ctx context.Context, addr string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	host, _, _ := net.SplitHostPort(addr)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, host)
			_ = conn.Close()
		}
	}()
	return nil
}

// responses counts connections by the IP address of the server.
type responses map[string]int

// connect opens n connections to addr, one after the other.
func connect(ctx context.Context, addr string, n int) (responses, error) {
	counts := responses{}
	dialer := net.Dialer{Timeout: 2 * time.Second}
	for range n {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			counts["refused"]++
			continue
		} else if err != nil {
			return counts, err
		}
		server, err := io.ReadAll(conn)
		_ = conn.Close()
		if err != nil {
			return counts, err
		}
		counts[string(server)]++
	}
	return counts, nil
}

// String lists the servers in order, one in each line.
func (r responses) String() string {
	var text strings.Builder
	for _, server := range slices.Sorted(maps.Keys(r)) {
		fmt.Fprintf(&text, "  %-12s %4d\n", server, r[server])
	}
	return text.String()
}

// printResponses connects to the Service by its ClusterIP and its NodePort, and prints how
// many connections each endpoint accepted.
func printResponses(ctx context.Context) error {
	for _, frontend := range []struct{ kind, address string }{{"ClusterIP", clusterIP}, {"NodePort", nodePort}} {
		start := time.Now()
		responses, err := connect(ctx, frontend.address, connections)
		if err != nil {
			return fmt.Errorf("%s %s: %w", frontend.kind, frontend.address, err)
		}
		fmt.Printf("%-9s %-17s  %d connections in %d ms, by endpoint:\n%s",
			frontend.kind, frontend.address, connections, time.Since(start).Milliseconds(), responses)
	}
	return nil
}
