// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sysctl sets the kernel parameters of connection tracking. It writes files
// below a directory, and has no configuration format.
package sysctl

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ConntrackDirectory has the parameters of connection tracking of the network namespace.
const ConntrackDirectory = "/proc/sys/net/netfilter"

// Conntrack are the parameters of connection tracking. A zero field leaves the parameter
// as it is.
type Conntrack struct {
	// Max is the number of connections that the kernel can track at least; a larger value
	// in the kernel stays.
	Max int
	// TCPEstablishedTimeout and TCPCloseWaitTimeout are how long the kernel tracks idle
	// TCP connections in these states, in whole seconds.
	TCPEstablishedTimeout, TCPCloseWaitTimeout time.Duration
	// UDPTimeout and UDPStreamTimeout are how long the kernel tracks UDP flows without
	// and with replies, in whole seconds.
	UDPTimeout, UDPStreamTimeout time.Duration
	// TCPBeLiberal makes the kernel track packets outside of the TCP window.
	TCPBeLiberal bool
}

// Apply writes the parameters to the files in dir, [ConntrackDirectory] in a program. It
// logs each parameter that cannot be set and goes on: a proxy that serves with the
// kernel's values is better than none. A nil logger is silent.
func (c Conntrack) Apply(dir string, logger *slog.Logger) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	check := func(err error) {
		if err != nil {
			logger.Warn("Kernel parameter not set", "err", err)
		}
	}
	if c.Max > 0 {
		check(raise(dir, "nf_conntrack_max", c.Max))
	}
	seconds := func(name string, d time.Duration) {
		if d > 0 {
			check(set(dir, name, int(d/time.Second)))
		}
	}
	seconds("nf_conntrack_tcp_timeout_established", c.TCPEstablishedTimeout)
	seconds("nf_conntrack_tcp_timeout_close_wait", c.TCPCloseWaitTimeout)
	seconds("nf_conntrack_udp_timeout", c.UDPTimeout)
	seconds("nf_conntrack_udp_timeout_stream", c.UDPStreamTimeout)
	if c.TCPBeLiberal {
		check(set(dir, "nf_conntrack_tcp_be_liberal", 1))
	}
}

// raise sets a parameter unless its value is at least v.
func raise(dir, name string, v int) error {
	current, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(current))); err == nil && n >= v {
		return nil
	}
	return set(dir, name, v)
}

// set writes only a value that differs: some parameters are read-only in a container.
func set(dir, name string, v int) error {
	path := filepath.Join(dir, name)
	text := strconv.Itoa(v)
	if current, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(current)) == text {
		return nil
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("%s = %d: %w", name, v, err)
	}
	return nil
}
