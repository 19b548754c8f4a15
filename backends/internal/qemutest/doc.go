// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package qemutest runs programs on the kernels of Linux distributions, in an emulated machine. It
// contains no tests. The root of the guest is an initial RAM disk: programs of the host with their
// libraries, modules of the kernel, and other files.
//
// The processor is emulated without KVM, and its clock counts instructions, so that the load of the
// host causes no timeouts in the guest. Command kernels runs the tests of the backends there.
package qemutest
