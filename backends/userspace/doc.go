// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package userspace serves Services without kernel rules: it listens at local addresses and
// forwards connections and datagrams in this process. It is for laptops, for nodes without
// nftables, and for processes without root, on Linux, macOS and Windows. It contains no traffic
// policy.
//
// [Backend] is a localsink.Sink. [Config.Map] determines where a frontend is served: at its own
// address ([Identity]), which an interface of the node must have; at a loopback address for each
// Service ([LoopbackAliases]); at given ports ([PortMap]); or at free ports ([FreePorts]).
//
// # What differs from kernel rules
//
//   - Endpoints see an address of this node as the client, whatever Route.Masquerade requires.
//     Masquerade exceptions are unsupported. Source ranges, routes and consistent selection use
//     the client's address nevertheless.
//   - Connections, UDP sessions and affinity entries end with the process.
//   - Verdict Reject: if all clients of an address are rejected, its socket is closed and the
//     kernel refuses them. Otherwise a TCP connection is reset after it was accepted, and a UDP
//     client gets no answer. The same holds for the share of refused connections; the decision
//     about a UDP client holds for ten seconds.
//   - Verdict Drop, and clients outside the source ranges: a TCP connection is accepted and gets
//     no answer; after ten seconds it is reset. At most 1,024 are held so at a time.
//   - Verdict Pass is unsupported: a listener has the packet already. If it applies to all
//     clients, there is no listener.
//   - Pods of the node are recognised by PodSources.Networks only: a socket does not know the
//     input interface.
//   - An address that another process uses cannot be served. It is retried, and its Service is
//     in [Backend.NotProgrammed].
//   - Nothing happens to other ports of a cluster IP, or to addresses in Node.ServiceNetworks
//     without a frontend.
//   - SCTP is unsupported.
//
// # Selection of an endpoint
//
// Affinity, weights, consistent selection and least connections are those of localsink.Port. If
// an endpoint does not accept a TCP connection, up to two others are tried within five seconds,
// but only if neither affinity nor consistent selection requires this endpoint. The contract
// permits it: a random endpoint, or one with few connections, is as good as the first.
//
// # Limits
//
// A connection takes two descriptors and two goroutines. On Unix systems, an idle direction
// holds neither a buffer nor a pipe: it waits until the socket is readable. Up to 16 KiB are copied
// through a buffer; a direction with more calls io.Copy, which uses splice(2) on Linux, for about
// a second at a time. A peer that does not read costs the buffers of its sockets and one pipe or
// buffer of 64 KiB; nothing else is stored for it. UDP datagrams are not
// queued. At [Config.MaxConnections], listeners accept no more, and clients wait in the
// backlog of the kernel. Affinity tables, refused UDP clients and dropped connections are
// bounded too.
//
// # States
//
// A listener:
//
//	state     description                          leaves it when
//	closed    all clients are rejected             an endpoint appears: Sync opens it
//	open      serves its first claim               no endpoint is left: closed, or draining
//	failed    could not be opened                  a later Sync opens it; retried each five seconds
//	draining  UDP: sessions with draining          the last session ends: a resync closes it; or an
//	          endpoints remain, others are dropped endpoint appears: open
//
// Several frontends may claim one address. One with the exact address precedes a node port;
// otherwise the first in name order is served and the others are in NotProgrammed. A listener
// that moves to another Service stays open.
//
// A TCP connection:
//
//	state       description                               next
//	accepted    waits for a slot of the limits            routed; reset if the listener closes
//	routed      source ranges, route and pool are known   dialling, held (drop), reset (reject)
//	dialling    connects to an endpoint, up to three      relayed; reset after failures
//	relayed     both directions are copied                half-closed at the end of one, reset after an error
//	half-closed the end of one direction was forwarded    closed at the end of the other
//
// Sync does not end a TCP connection, even if its endpoint or its Service is removed. Close
// waits for [Config.Grace], then resets.
//
// A UDP session, of a client address and port at one listener:
//
//	state       description                               next
//	none        no datagram, or refused or dropped        open at the first datagram
//	open        a socket connected to the endpoint        ended when idle, when its endpoint is neither in a
//	                                                      pool nor draining, or after an ICMP error
//	ended       the next datagram selects an endpoint     open
//
// # Pieces
//
//   - backend.go, config.go: [Backend] and [Config]
//   - map.go: [Map] and its implementations
//   - sync.go: Services to claims, claims to listeners
//   - listener.go: opens, retries and accepts
//   - target.go: source ranges and routes of a client
//   - port.go, selector.go, affinity.go: the endpoint of a new connection
//   - relay.go, poll_unix.go: TCP connections
//   - udp.go: UDP sessions
//   - limits.go, held.go: limits of connections, and dropped ones
//   - stats.go: [Stats], [Listener], [PortTraffic] and the counts of connections
package userspace
