// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/ebpf/internal/bytecode"
)

const (
	// rewriteSize is the size of a struct rewrite of services.bpf.c.
	rewriteSize = 56
	// rewriteBuffer is the size of the ring buffer, in bytes. That of a program that does not
	// use it is one page.
	rewriteBuffer = 64 << 10
	// rewriteInterval is the time between two reads. The program does not wake the reader, which
	// would make each connection slower.
	rewriteInterval = 100 * time.Millisecond
)

// openRewrites creates the ring buffer, and its reader if rewrites are recorded.
func (k *linuxKernel) openRewrites(spec *ebpf.MapSpec) error {
	spec = spec.Copy()
	spec.MaxEntries = uint32(os.Getpagesize())
	if k.cfg.RecentRewrites > 0 {
		spec.MaxEntries = max(spec.MaxEntries, rewriteBuffer)
	}
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return err
	}
	k.shared[bytecode.ServicesMapRewrites] = m
	if k.cfg.RecentRewrites > 0 {
		k.rewrites, err = ringbuf.NewReader(m)
	}
	return err
}

// readRewrites implements kernel.
func (k *linuxKernel) readRewrites(ctx context.Context, each func(rewrite)) error {
	stop := context.AfterFunc(ctx, func() { _ = k.rewrites.Close() })
	defer stop()
	var record ringbuf.Record
	for {
		k.rewrites.SetDeadline(time.Now().Add(rewriteInterval))
		err := k.rewrites.ReadInto(&record)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return fmt.Errorf("ebpf: read rewrites: %w", err)
		}
		if len(record.RawSample) >= rewriteSize {
			each(decodeRewrite(record.RawSample))
		}
	}
}

// decodeRewrite decodes a struct rewrite.
func decodeRewrite(b []byte) rewrite {
	r := rewrite{namespace: binary.NativeEndian.Uint64(b[8:]), frontend: frontendKey(b[16:36]), endpoint: endpointKey(b[36:56])}
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil {
		r.at = time.Now().Add(-time.Duration(now.Nano() - int64(binary.NativeEndian.Uint64(b))))
	}
	return r
}
