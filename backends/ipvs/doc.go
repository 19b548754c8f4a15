// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ipvs is a [localsink.Sink] that programs Services into IPVS, the load balancer of the
// kernel, and into rules of iptables for what IPVS lacks. It is a home for users of kube-proxy's
// ipvs mode, which Kubernetes removes. It contains no Kubernetes policy.
//
// # What the kernel contains
//
//	dummy interface kube-ipvs0         the addresses of Services, so that packets to them are
//	                                   delivered to this node, where IPVS receives them
//	virtual server TCP 10.96.0.10:80   one for each frontend; for a node port, one for each
//	  destination 10.244.1.4:8080 w=1  address of the node that accepts node ports
//	virtual server FWM 0x12340000      for clients that a frontend treats differently
//	  destination 10.244.0.7:8080 w=1
//	IP sets KPNG-..., KPNG-6-...       one of each per address family: frontends, with the mark
//	                                   for each kind of client, and their source ranges
//	chains KPNG-... of iptables        their number depends on the node only
//
// The first packet of a connection passes these chains:
//
//	mangle INPUT, OUTPUT   KPNG-MARKS       drop it outside of the source ranges; set the mark that
//	                                        KPNG-SERVICES, KPNG-FROM-PODS, KPNG-FROM-NODE or
//	                                        KPNG-FROM-POD-ON-NODE has for destination and client
//	filter INPUT, OUTPUT   KPNG-REJECT      refuse unused ports of addresses of Services
//	IPVS                                    select the destination
//	filter FORWARD, OUTPUT KPNG-NETWORKS    drop it if it is for an unused address of a network
//	                                        of Services
//	mangle POSTROUTING     KPNG-UNMARK      remove the mark of the virtual server
//	nat POSTROUTING        KPNG-MASQUERADE  masquerade hairpin connections, those of processes
//	                                        without a source address of their own, and those
//	                                        with the masquerade mark
//
// # Glossary
//
//   - A frontend is an address, port and protocol that clients dial.
//   - A virtual server has destinations and a scheduler that selects one for each connection. It
//     receives packets for an address, port and protocol, or those with a mark.
//   - The primary pool of a frontend is that of clients that are neither pods nor processes of this
//     node. The virtual server of the frontend's address has it. Each other pool has a virtual
//     server with a mark, which [Config.ServiceMarks] limits and a hash determines.
//   - A record is the compiled form of one Service. The desired state is that of all records.
//   - The programmer brings the kernel to the desired state. It keeps in memory what the kernel
//     has.
//   - Drift is a difference between the two, caused by another program.
//
// # Selection
//
//	Random             Config.Scheduler; wrr for rr, and wlc for lc, if weights differ
//	Client             mh by address; sh if the kernel has no mh
//	Flow               mh by address and port; sh if the kernel has no mh
//	LeastConnections   lc; wlc if weights differ
//
// Selection by client and by flow sends a client to the same endpoint on nodes with the same
// destinations, but not to the endpoint that package localsink/consistent determines, so both are
// declared as unsupported.
//
// Session affinity is the persistence of IPVS. Each frontend of a port has entries of its own. An
// entry does not expire while the kernel keeps connections of the client, as with kube-proxy: for
// two minutes after the end of a TCP connection, and for the timeout of UDP flows (300 s). IPVS
// does not translate ports for virtual servers with a mark and persistence; there the client's
// address selects the destination.
//
// # Connections
//
// A destination that is removed loses its weight first: it gets no new connections. It is deleted
// when it has none any more; the backend looks every five seconds. Those over UDP do not end by
// themselves, so such a destination remains only as long as it is in localsink.Port.Draining.
//
// # States
//
//	state     event                                     next state
//	unknown   Sync: read the kernel, write what differs current
//	unknown   Sync fails                                unknown
//	current   Sync: write the delta                     current
//	current   Sync fails                                unknown
//	current   another program changes something,        unknown
//	          or an address of the node changes
//
// A restart is the first row: it adopts virtual servers, also those of kube-proxy, and
// connections continue. The backend compares once a second what it can cheaply: the virtual
// servers, the destinations of fifty of them, the numbers of elements of sets and of the rules that use
// them, and addresses if some have changed.
//
// A virtual server that the kernel refuses does not prevent the others:
// [Backend.NotProgrammed] has its Service, and the backend retries it.
//
// # Limits
//
// The verdict Pass and a share of refused connections are not supported. Node ports do not answer on
// loopback addresses. A process of the node that dials a Service without choosing a source
// address is masqueraded.
//
// IPVS finds the connection of a reply by client and endpoint alone. If a client uses one source
// port at the same time for connections to two Services that lead to the same endpoint, the replies
// of both seem to come from one of them, and the other stalls. Clients that bind a port of their
// own for each connection avoid that; kube-proxy's ipvs mode has the same limit.
//
// Without CAP_NET_ADMIN in the namespace, New fails. The rules need iptables
// with xt_set, xt_ipvs and xt_bpf. They ran with the legacy variant only.
//
// # Files
//
//   - backend.go, config.go, new_linux.go: the API. kernel.go: what the backend needs of a kernel.
//   - compile.go, marks.go: Services to records. desired.go: the desired state. programmer.go: its
//     difference to the kernel. rules.go: chains of iptables.
//   - kernel_linux.go, ipset_linux.go, iptables_linux.go, sysctl_linux.go: Linux.
package ipvs
