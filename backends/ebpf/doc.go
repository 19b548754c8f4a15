// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ebpf serves Services at the sockets of clients: when a process connects or sends to the
// address of a Service, the kernel replaces it by the address of an endpoint. Packets then need no
// translation and no connection tracking. It needs Linux 5.18 and a cgroup v2.
//
// It serves processes on the node and in its pods. Traffic from outside, and what cannot be decided
// at a socket, needs a backend in the packet path, such as nftables, which receives the same
// updates; see [Config.Combined] and, for traffic from outside, [Config.Devices]:
//
//	rules, err := nftables.New(nftables.Config{})
//	sockets, err := ebpf.New(ebpf.Config{Combined: true})
//	sink := localsink.Chain(rules, sockets)
//
// # Where a connection is decided
//
//	cluster IP, external IP, load balancer address    at the socket
//	node port at an address of the node               at the socket
//	node port at 127.0.0.1, from the node             at the socket (TCP)
//	port of a cluster IP without frontend             packet path
//	verdict Reject                                    at the socket: ECONNREFUSED
//	verdict Drop                                      packet path; alone, EPERM
//	verdict Pass                                      left alone
//	masqueraded route, client in a pod                packet path
//	source ranges, selection by client or flow        at the socket if it is bound to an address,
//	                                                  otherwise packet path; alone, EPERM
//	SCTP, other protocols                             packet path
//
// A socket that is not bound has no source address yet when it connects. Session affinity
// therefore identifies the client by its network namespace, at the socket.
//
// # Connections from outside
//
// On the devices in [Config.Devices], a program at the ingress of tc (tcx, or clsact before Linux 6.6)
// decides about the first packet of a connection from outside to a node port, external IP or load
// balancer address. It selects an endpoint from the same maps and adds an entry with the translation
// to the connection tracking of the kernel (Linux 6.1). The kernel then translates this and all
// further packets, as it does after a rule has matched; for that the packet path must have chains of
// type nat, as backends/nftables has. No rule for Services sees the packets.
//
//	TCP with SYN alone, UDP; an entry exists        left alone
//	route without masquerading                      at tc
//	masqueraded route, client that is the endpoint  at tc, with the source address of the route to
//	                                                the endpoint; packet path if the kernel finds
//	                                                none (before Linux 6.7 and older stable
//	                                                releases with BPF_FIB_LOOKUP_SRC, such as 6.1
//	                                                of Debian 12), or if the endpoint has an address
//	                                                of the node
//	masqueraded route with Node.NoMasquerade        packet path
//	selection at random or by hash, weights         at tc
//	session affinity, refused share                 packet path, which has the state
//	no endpoint; client outside of source ranges    packet path, which can answer
//	client in Node.LocalPods.Networks               packet path
//	fragments, options or extensions of IP, VLAN
//	tags that the device has not removed, SCTP      packet path
//
// An entry exists before the rules of a firewall run, for 10 seconds if these drop the packet, so a
// firewall does not protect the table of connections from clients that flood it. The kernel does not
// account for the packets of these entries (net.netfilter.nf_conntrack_acct), sends no events about
// them, and applies no helper or other address translation to them.
//
// The devices are compared with the configuration every [Config.CheckInterval]: new ones get the
// program, and one that another program has detached is attached again. Links of tcx are pinned
// beside those of the sockets. The loopback device is left out, and so are the devices that identify
// pods (Node.LocalPods). If a device cannot be served, the packet path serves its connections. New
// returns errors.ErrUnsupported if the kernel does not accept the program, such as Debian's Linux 7.3,
// whose modules nf_conntrack and nf_nat have different types of an entry.
//
// # What applications see
//
// getpeername returns the address of the Service, and so does recvfrom for UDP. A TCP connection
// to a Service without endpoints fails at once with ECONNREFUSED, and so do connect and sendto of
// UDP. The local address of a connection is one from which the endpoint can be reached. An endpoint
// that connects to its own Service and selects itself sees its own address.
//
// When an endpoint is removed, connected UDP sockets to it are closed within 50 ms, because they
// would not get another endpoint: reading fails with ECONNABORTED, writing with EDESTADDRREQ, or
// ECONNREFUSED or EPIPE, and the application must connect again. Unconnected sockets get another
// endpoint with their next packet. TCP connections are not closed.
//
// # Maps
//
// The programs (internal/bytecode/services.bpf.c, packets.bpf.c) contain no policy. A frontend leads
// to two records, one for clients in the network namespace of the node and one for pods. With
// devices, the record after the first is for clients outside:
//
//	frontends  hash        address, port, protocol -> two indices of records, in one word
//	records    array       verdict, pool, source ranges, session affinity, refused share
//	slots      array       endpoints; a pool is a range of slots
//	tables     array       consistent selection: the endpoint of each value of the hash
//	ranges     LPM trie    source ranges
//	affinity   LRU hash    namespace, port -> endpoint, time
//	flows      LRU hash    UDP socket, frontend -> endpoint
//	reverse    LRU hash    UDP socket, endpoint -> frontend
//	connected  array       connected socket -> frontend, endpoint; at its cookie modulo the size
//	peers      storage     the same, for a socket whose element of connected is in use
//	namespaces hash        excluded network namespaces
//
// A change writes new slots and a new record to unused elements, and then the word of the
// frontend. A program sees either the old or the new pool. Elements that are no longer used are
// reused after a second. If a map is full, larger maps are filled, and the programs are replaced
// by ones that use these; so are they after a restart, and after external changes. The links of
// the programs, and the maps from affinity on, are pinned in [Config.PinDirectory].
//
// # Cost
//
// The programs at sockets have less than 600 lines, with the headers and the program that closes
// sockets; packets.bpf.c has 150 more. What they cost is in docs/performance.md.
package ebpf
