// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nfnl is a netlink client for the kernel's nf_tables: it builds batches of messages,
// sends each batch as one transaction, and reads the present rules. It contains the format of
// messages, not the purpose of rules.
//
// Files: batch.go builds messages, reply.go parses what the kernel sends, digest.go compares
// elements, consts.go has the kernel's constants. They work on any system. socket_linux.go has a
// [Conn], which sends batches, and list_linux.go its lists of objects.
package nfnl
