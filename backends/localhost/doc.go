// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package localhost is a sink that lets TCP node ports answer on loopback addresses, where
// the node asks for it: it listens there, and passes the bytes of each connection on to an
// endpoint and back. It programs no kernel, knows no policy, and does nothing for other
// addresses.
//
// Packets to loopback addresses can hardly be sent elsewhere by rules: for IPv4 the kernel
// must be told to let them leave at all, which exposes what listens there to neighbours, and
// for IPv6 it cannot be told. A process that listens has neither problem. The price is that
// an endpoint never sees its client, only the node, and that connections end with the
// process.
//
// Only TCP is served. What a client sends to a UDP or SCTP node port on a loopback address
// finds nobody, or a program of the node that listens there itself: a reply could not be
// told from one to another client without keeping flows, and nobody has asked for it.
//
// The sink belongs behind the one that programs the rules, in a localsink.Chain.
package localhost
