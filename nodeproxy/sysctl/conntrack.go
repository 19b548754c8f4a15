// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sysctl sets the kernel parameters of connection tracking. It writes files
// below a directory, and has no configuration format.
package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Root is the directory below which a program finds the parameters.
const Root = "/"

// Directories below the root. The first has the parameters of connection tracking of the network
// namespace.
const (
	netfilterDirectory = "proc/sys/net/netfilter"
	moduleDirectory    = "sys/module/nf_conntrack/parameters"
)

// entriesPerBucket is the number of connections per bucket of the hash table at the limit
// of tracked connections, as in kube-proxy.
const entriesPerBucket = 4

// Conntrack are the parameters of connection tracking. A zero field leaves the parameter
// as it is.
type Conntrack struct {
	// Max is the number of connections that the kernel can track at least, and a quarter of
	// it is the least size of its hash table; larger values in the kernel stay.
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

// Apply writes the parameters to the files below root, [Root] in a program. It logs each
// parameter that it changes or cannot set, and goes on: a proxy that serves with the kernel's
// values is better than none. The error names all that could not be set. A nil logger is
// silent.
func (c Conntrack) Apply(root string, logger *slog.Logger) error {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	w := &writer{netfilter: filepath.Join(root, netfilterDirectory), logger: logger}
	if c.Max > 0 {
		w.raise(filepath.Join(w.netfilter, "nf_conntrack_max"), c.Max)
		w.raise(filepath.Join(root, moduleDirectory, "hashsize"), c.Max/entriesPerBucket)
	}
	w.seconds("nf_conntrack_tcp_timeout_established", c.TCPEstablishedTimeout)
	w.seconds("nf_conntrack_tcp_timeout_close_wait", c.TCPCloseWaitTimeout)
	w.seconds("nf_conntrack_udp_timeout", c.UDPTimeout)
	w.seconds("nf_conntrack_udp_timeout_stream", c.UDPStreamTimeout)
	if c.TCPBeLiberal {
		w.set(filepath.Join(w.netfilter, "nf_conntrack_tcp_be_liberal"), 1)
	}
	return errors.Join(w.errs...)
}

// A writer writes parameters and collects the errors.
type writer struct {
	netfilter string // directory
	logger    *slog.Logger
	errs      []error
}

func (w *writer) seconds(name string, d time.Duration) {
	if d > 0 {
		w.set(filepath.Join(w.netfilter, name), int(d/time.Second))
	}
}

// raise sets a parameter unless its value is at least v.
func (w *writer) raise(path string, v int) {
	if current, err := readNumber(path); err != nil || current < v {
		w.set(path, v)
	}
}

// set writes only a value that differs: some parameters are read-only in a container.
func (w *writer) set(path string, v int) {
	if current, err := readNumber(path); err == nil && current == v {
		return
	}
	name := filepath.Base(path)
	// Without O_CREATE, which fails below /proc with a misleading error.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err == nil {
		_, err = file.WriteString(strconv.Itoa(v))
		err = errors.Join(err, file.Close())
	}
	switch {
	case err == nil:
		w.logger.Info("Kernel parameter set", "parameter", name, "value", v)
		return
	case errors.Is(err, fs.ErrPermission) && (name == "nf_conntrack_max" || name == "hashsize"):
		err = fmt.Errorf("%w (only the network namespace of the host can change it; conntrack.maxPerCore 0 keeps the limit)", err)
	}
	w.errs = append(w.errs, fmt.Errorf("%s = %d: %w", name, v, err))
	w.logger.Warn("Kernel parameter not set", "parameter", name, "value", v, "err", err)
}

func readNumber(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
