// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package umltest runs the tests of a package on a Linux kernel that is a process: that of the
// Debian package user-mode-linux. Its kernel has IPVS, IP sets, SCTP, dummy interfaces and the
// legacy tables of iptables, whatever that of the host has. It has no usable nf_tables.
//
// A test on the host calls [Run], which compiles the test binary of the package, boots the
// kernel with the host's files as a read-only root, and runs the binary there. [Inside] reports
// in a test whether it runs there. A boot takes about three seconds; the kernel has one
// processor and is slower than the host's.
package umltest
