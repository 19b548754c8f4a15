// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conntrackSection are kube-proxy's settings of connection tracking; nil is the
// default, and zero leaves the kernel's value alone.
type conntrackSection struct {
	MaxPerCore            *int32           `json:"maxPerCore"`
	Min                   *int32           `json:"min"`
	TCPEstablishedTimeout *metav1.Duration `json:"tcpEstablishedTimeout"`
	TCPCloseWaitTimeout   *metav1.Duration `json:"tcpCloseWaitTimeout"`
	TCPBeLiberal          bool             `json:"tcpBeLiberal"`
	UDPTimeout            metav1.Duration  `json:"udpTimeout"`
	UDPStreamTimeout      metav1.Duration  `json:"udpStreamTimeout"`
}

// maxConntrack is the most entries that are asked for by the number of processors.
const maxConntrack = 1 << 20

// max returns how many connections the kernel should be able to track; 0 leaves that
// alone.
func (c *conntrackSection) max(cpus int) int {
	perCore, least := value(c.MaxPerCore, 32768), value(c.Min, 131072)
	switch scaled := int(perCore) * cpus; {
	case perCore <= 0:
		return 0
	case scaled > maxConntrack:
		return maxConntrack
	default:
		return max(scaled, int(least))
	}
}

func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// A knobs is a directory of kernel settings.
type knobs string

// apply brings the kernel's connection tracking in line with c. What cannot be set is
// logged: a proxy that serves with the kernel's defaults is better than none.
func (k knobs) apply(c *conntrackSection, log *slog.Logger) {
	note := func(err error) {
		if err != nil {
			log.Warn("Cannot set a kernel parameter, its value stays", "err", err)
		}
	}
	if want := c.max(runtime.NumCPU()); want > 0 {
		note(k.raise("nf_conntrack_max", want))
	}
	seconds := func(name string, d time.Duration) {
		if d > 0 {
			note(k.set(name, int(d/time.Second)))
		}
	}
	seconds("nf_conntrack_tcp_timeout_established", value(c.TCPEstablishedTimeout, metav1.Duration{Duration: 24 * time.Hour}).Duration)
	seconds("nf_conntrack_tcp_timeout_close_wait", value(c.TCPCloseWaitTimeout, metav1.Duration{Duration: time.Hour}).Duration)
	seconds("nf_conntrack_udp_timeout", c.UDPTimeout.Duration)
	seconds("nf_conntrack_udp_timeout_stream", c.UDPStreamTimeout.Duration)
	if c.TCPBeLiberal {
		note(k.set("nf_conntrack_tcp_be_liberal", 1))
	}
}

// raise sets a value unless it is larger already.
func (k knobs) raise(name string, v int) error {
	now, err := os.ReadFile(filepath.Join(string(k), name))
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(now))); err == nil && n >= v {
		return nil
	}
	return k.set(name, v)
}

// set writes only what differs: some values can be read where they cannot be written.
func (k knobs) set(name string, v int) error {
	path := filepath.Join(string(k), name)
	text := strconv.Itoa(v)
	if now, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(now)) == text {
		return nil
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("%s = %d: %w", name, v, err)
	}
	return nil
}
