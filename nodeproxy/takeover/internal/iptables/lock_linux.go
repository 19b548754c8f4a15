// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockPath is the file that the commands of iptables-legacy lock. In a container it must
	// be that of the host.
	lockPath     = "/run/xtables.lock"
	lockTimeout  = 10 * time.Second
	lockInterval = 20 * time.Millisecond
)

// lock waits for the lock of the iptables commands. Without the file it goes on: the kernel
// then still detects most concurrent changes, as it compares the number of rules.
func lock(ctx context.Context, logger *slog.Logger) (unlock func() error, err error) {
	file, err := os.OpenFile(lockPath, os.O_CREATE|os.O_RDONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		logger.WarnContext(ctx, "Cannot open the lock file of iptables, going on without lock", "file", lockPath, "err", err)
		return func() error { return nil }, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	ticker := time.NewTicker(lockInterval)
	defer ticker.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return file.Close, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return nil, errors.Join(fmt.Errorf("lock %s: %w", lockPath, err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("lock %s: another program holds it: %w", lockPath, ctx.Err()), file.Close())
		case <-ticker.C:
		}
	}
}
