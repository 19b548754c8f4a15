// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nftables is a [localsink.Sink] that programs Services into the kernel's
// nf_tables over netlink; it knows no Kubernetes policy, and runs no nft command.
//
// # Layout
//
// There is one table for each address family, and in it neither a chain nor a rule
// nor a set for any single Service, unless that has session affinity:
//
//	prerouting, output (nat)
//	  └─ find-service
//	       1. address . protocol . port   @sources    ── jump from-<hash>: return, or drop
//	       2. address . protocol . port   @services   ── goto a plan
//	       3. an address of this node that answers on node ports
//	            └─ find-nodeport: protocol . port  @nodeport-sources, @nodeports ── goto a plan
//
//	prerouting-rest, output-rest (nat, later)
//	  └─ find-service, once more: the rules may have changed under a packet's way
//	  address  @cluster-ips                           ── reject: a port that nobody has
//	  address in a network of Services                ── drop: an address that nobody has
//
//	a plan       service.pods-1-of-10.any-masq-1-of-10
//	               from pods of this node                     ── goto service-1-of-10
//	               set the mark                               ── goto service-1-of-10
//	a balancer   service-1-of-10
//	               dnat to address . protocol . port . (random below 10)  @service-endpoints-1-16
//
//	postrouting (nat)
//	  1. after dnat, source . destination  @hairpin   ── masquerade
//	  2. the mark                                     ── take it off, masquerade
//
// A plan is the chain for all frontends whose [localsink.Route]s are alike: for
// whom, masqueraded or not, and how many endpoints there are to choose from. A
// balancer is the chain for all pools of one size. Which endpoints those are, only
// the endpoint maps know: the key of an element is the frontend and the number of
// a slot, the value is an endpoint. "1-of-10" reads: the frontend's first pool,
// which has 10 endpoints. A frontend that sends everybody to one pool needs no
// plan, its verdict names the balancer.
//
// # Session affinity
//
// A port with affinity has plans of its own, one memory of its clients, and for each
// of its pools a chain and a list of endpoints:
//
//	a plan       service.<port>.pods-1.any-masq-1
//	               from pods of this node                     ── goto sticky-<port>-1
//	               set the mark                               ── goto sticky-<port>-1
//	a pool       sticky-<port>-1
//	               1. no pin yet: make one, else renew it     pins-<port>-a: client : slot
//	               2. dnat to the pin's endpoint              endpoints-<port>-1-a: slot : endpoint
//	               3. the pin is of another pool: make a new one, dnat to that
//	               4. there is no room for a pin: dnat to a random endpoint
//
// "<port>" is the name of the Service and a number made of all that identifies the
// port, so that it is the same after a restart. All frontends of the port lead here.
// The key is the client's address as it comes in, before any masquerading. It costs a
// connection two more lookups, and nothing after its first packet.
//
// Slots count the endpoints of all pools of the port. A pool whose slots do not begin
// with zero, without gaps, draws from a map of its own, "draws-<port>-1-a".
//
// When endpoints only come, they get more slots. When one leaves, or the timeout
// changes, new maps take the place of the old ones in the same transaction, with those
// pins that lead to endpoints which are still there. Their names end in "-a" and "-b"
// by turns. No pin ever leads to an endpoint that left, however packets and changes
// meet; but a pin that is made at the moment of copying may be lost. The same copying,
// from the old table to the new one, is how pins outlive a restart.
//
// # Why
//
// The kernel's work for a new chain, rule or set grows with how many there are, so
// that a chain for each Service makes a first load quadratic: minutes for ten
// thousand Services, where elements take a fifth of a second. When an endpoint is
// replaced, one element is; when one is added or removed, also the one verdict that
// leads to the balancer. A packet of a new connection costs two or three lookups
// in hash tables, whatever the number of Services, and other packets cost nothing,
// since the nat hooks see only the first of a connection. This is why refusals and
// source ranges are there too, and not in chains of type filter.
//
// Some things look as they do for the kernel's sake:
//
//   - Adding an element costs time for every rule that uses the map. Hence there are
//     several endpoint maps, by pool size ("-16": of 9 to 16 endpoints).
//   - A rule that begins to use a map walks all of it. Hence the balancers for up to
//     32 endpoints exist from the beginning, when the maps are empty.
//   - Maps of a fixed size are twice as fast as those that grow. Hence maps have
//     twice the size needed, and the whole table is replaced when one is full.
//   - Before Linux 6.2 a chain cannot be deleted along with the last reference to it.
//     Hence plans that nobody uses stay for a while.
//   - A listener to changes, in whichever network namespace of the machine, makes a
//     load ten times slower. Hence the backend does not listen while it loads, and
//     checks afterwards whether it was alone.
//   - A packet can be between two lookups when the rules change. Hence slots that
//     are no longer used go in a second transaction, when no verdict leads to them.
//   - nft 1.0.6 aborts when the result of one lookup is part of the key of another.
//     Hence no rule does that, and "nft list ruleset" always works. The type that it
//     prints for slots is "mark", since it has no name for plain numbers.
//
// # State
//
// The backend remembers what it wrote and never reads it back. The first Sync, and
// every Sync after something went wrong, after somebody else changed the tables, or
// after the node changed, writes all anew: in one transaction that deletes the old
// table and creates the new one. A transaction alone is not enough for no packet to
// find neither: a packet may be on its way through the chains just then. What is
// done about that is told where the chains named "handover" are made, in layout.go.
// The pins of session affinity are the exception: packets make them, so the backend
// reads them before it replaces what holds them. Connections that exist are
// remembered by conntrack and keep their endpoints.
//
// # Limits
//
// Ports with session affinity cost the kernel time that grows with how many there
// are: to load 1,000 takes 0.4 s, 3,000 take three seconds, and to replace an endpoint
// takes 1.5 ms when there are 1,000. Each of them remembers up to 65,536 client
// addresses of a family and serves further ones without affinity; to copy so many,
// when an endpoint leaves, takes some tenths of a second. A client that comes to two
// pools by turns which have no endpoint in common draws anew each time. A timeout that
// becomes shorter also shortens what is left to those that are remembered; one that
// becomes longer counts from their next connection.
//
// Node ports do not answer on loopback addresses: see package localhost. A process of the node whose UDP
// packet is refused sees EPERM from sending it and ECONNREFUSED after that. Source
// ranges of one frontend are tried one after the other, by each new connection to it.
// Without CAP_NET_ADMIN in the initial user namespace, transactions are limited by
// the sysctl net.core.wmem_max: 4 MiB are enough for about 90,000 endpoints.
//
// The files: backend.go drives, table.go keeps one family in line, mirror.go
// computes what to change, candidate.go reads Services, layout.go says which chains
// there are and why they are called so, affinity.go adds those of session affinity,
// expr.go and encode.go write messages, monitor.go hears of others, and internal/nfnl
// talks to the kernel.
package nftables
