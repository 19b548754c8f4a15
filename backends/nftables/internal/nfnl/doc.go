// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nfnl speaks netlink with the kernel's nf_tables: it builds batches,
// sends each as one transaction and hears what others change. It knows the
// format of messages and nothing of what the rules are for.
//
// Batches can be built on any system; sockets exist on Linux only.
package nfnl
