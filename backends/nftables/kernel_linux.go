// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// checkKernel returns an error on kernels before 5.13, where maps whose keys are
// concatenations do not work reliably.
func checkKernel() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return os.NewSyscallError("uname", err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	if !releaseAtLeast(release, 5, 13) {
		return fmt.Errorf("nftables: Linux %s is not supported: at least 5.13 is required; update the kernel or use another backend", release)
	}
	return nil
}

func releaseAtLeast(release string, major, minor int) bool {
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) < 2 {
		return false
	}
	a, _ := strconv.Atoi(parts[0])
	b, _ := strconv.Atoi(parts[1])
	return a > major || a == major && b >= minor
}

func isFamilyUnsupported(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)
}

// explain adds the remedy to an error.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("nftables: CAP_NET_ADMIN over this network namespace is required: run privileged, or grant the capability: %w", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EINVAL) && errors.As(err, new(*os.SyscallError)):
		return fmt.Errorf("nftables: this kernel does not support nf_tables: load the module nf_tables, or build it in (CONFIG_NF_TABLES): %w", err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("nftables: this kernel does not support all of nf_tables: load the modules nf_tables, nft_chain_nat, nft_nat, nft_masq, "+
			"nft_ct, nft_numgen, nft_fib_ipv4, nft_fib_ipv6, nft_reject_ipv4 and nft_reject_ipv6, or build them in: %w", err)
	}
	return fmt.Errorf("nftables: %w", err)
}
