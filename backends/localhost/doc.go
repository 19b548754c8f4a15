// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package localhost serves TCP node ports on loopback addresses with a userspace proxy: it
// listens on the addresses in Node.LoopbackNodePorts and forwards each connection to an
// endpoint. It programs no kernel rules and contains no traffic policy.
//
// Kernel rules are not an alternative. For IPv4 they need the sysctl route_localnet, which
// exposes processes that listen on loopback addresses to neighbouring hosts; for IPv6 there
// is no such sysctl. The price of a userspace proxy is that endpoints see the node's address
// and not the client's, and that connections end with the process.
//
// Weights, consistent selection and least connections are those of localsink.Port. All clients
// have the same address, so selection by client leads all of them to one endpoint. A connection
// of the refused share is accepted and reset at once; if the share is 1,000, the port is closed.
//
// UDP and SCTP node ports are not served on loopback addresses. A reply over UDP could be
// assigned to its client only by tracking flows.
//
// Place the sink behind the sink that programs the rules, in a localsink.Chain.
//
// [Sink] is a userspace.Backend that serves only the addresses of
// userspace.LoopbackNodePorts; package userspace has the states of ports and connections. If
// another Service takes over a port, it stays open.
package localhost
