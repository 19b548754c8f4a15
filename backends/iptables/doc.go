// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package iptables is a [localsink.Sink] that programs Services with iptables-restore. It contains
// no Kubernetes policy. Use package nftables instead where the kernel has nf_tables: it is faster.
//
// # Chains
//
// Chains have the names of kube-proxy's iptables mode where they have the same purpose, and rules
// have its comments. The first Sync takes over the rules of a running kube-proxy in place, with
// one step per table, and a kube-proxy that starts later takes them back. The nat table:
//
//	PREROUTING, OUTPUT
//	  └─ KUBE-SERVICES
//	       1. low bits of the address             ── KUBE-SVC-DISPATCH-00 to -63
//	            address, protocol, port           ── a chain of the Service, or ACCEPT
//	       2. address of this node that accepts node ports
//	            └─ KUBE-NODEPORTS: protocol, port ── a chain of the Service, or ACCEPT
//
//	KUBE-FW-<hash>   source ranges of a frontend  ── KUBE-EXT-<hash> or KUBE-SVC-<hash>, or ACCEPT
//	KUBE-EXT-<hash>  routes of frontends          ── for each kind of client KUBE-MARK-MASQ,
//	                                                 then KUBE-SVC-<hash>, or ACCEPT
//	KUBE-SVC-<hash>  the first pool of a port, KUBE-SVL-<hash> its other pools:
//	  1. cluster IPs with masqueraded routes      ── KUBE-MARK-MASQ
//	  2. clients with session affinity            ── DNAT to their endpoint
//	  3. the refused share of connections         ── ACCEPT
//	  4. for each endpoint, a random share        ── DNAT
//
//	POSTROUTING
//	  └─ KUBE-POSTROUTING
//	       1. after DNAT: KUBE-HAIRPIN, each local endpoint to itself ── MASQUERADE
//	       2. masquerade mark, unless the client is in NoMasquerade   ── MASQUERADE
//
// The target ACCEPT ends the rules of Services in the nat table: the connection has no endpoint.
// The filter table then drops, refuses or passes it, because it still has its first destination:
//
//	INPUT, FORWARD, OUTPUT (new connections)
//	  ├─ KUBE-PROXY-FIREWALL      clients outside of source ranges ── DROP
//	  ├─ KUBE-EXTERNAL-SERVICES   external frontends and node ports without an endpoint
//	  └─ KUBE-SERVICES            cluster IPs without an endpoint, then unless there was a DNAT:
//	       KUBE-CLUSTER-IPS-00 to -63: unused ports of cluster IPs ── KUBE-REJECT
//	       addresses in a network of Services                      ── DROP
//
// KUBE-FORWARD, KUBE-NODEPORTS (health checks) and KUBE-FIREWALL of that table are those of
// kube-proxy. testdata has complete examples.
//
// # Glossary
//
//   - A rendering is all rules of one Service, for one family. It depends on the Service and the
//     node alone, so the backend keeps no rules in memory, only the Services it has programmed.
//   - A service chain belongs to one Service. A change replaces its rules.
//   - A shared chain has entries: rules of single Services. A change adds and deletes entries.
//   - The entries of one frontend in one chain are a group, whose order matters.
//   - A jump leads from a chain of the kernel to a static chain.
//   - A load writes all rules, a change those of the Services that have changed.
//   - Drift is a difference between the rules of the backend and those in the kernel, caused by
//     another program.
//
// # States
//
// For each family:
//
//	state      event                                         next state
//	unknown    Sync: load succeeds                           known
//	unknown    Sync: load fails                              unknown, Sync returns the error
//	known      Sync: change succeeds                         known
//	known      Sync: change is refused                       unknown, Sync loads at once
//	known      Sync: change fails for another reason         unknown, Sync returns the error
//	known      Sync after drift, or with other properties    unknown, Sync loads at once
//	           of the node in rules
//
// # Design rationale
//
// The legacy variant reads and replaces the whole table in the kernel for each change, so the cost
// of a change is in proportion to the number of all rules and chains. For this reason endpoints
// have one rule each and no chain, hairpin connections have rules for local addresses only, and
// endpoints have no comments: the nat table has less than a third of kube-proxy's entries.
//
// kube-proxy writes the chain KUBE-SERVICES with the rules of all Services in each change. Here it
// is constant: the low bits of an address select one of 64 chains, in which a change adds and
// deletes single rules. A connection then passes the rules of a 64th of the Services. When
// kube-proxy takes over, it deletes these chains because of their names.
//
// # Limits
//
// Consistent selection and selection by least connections are unsupported: no match of iptables
// does that. The nft variant is unusable with more than about 1,000 Services. The kernel's module
// xt_recent keeps 100 client addresses with session affinity per endpoint unless its parameter
// ip_list_tot is higher, as with kube-proxy.
//
// A passed or refused connection skips rules of other programs that follow in the nat table.
// Node ports on an IPv6 loopback address need package localhost.
//
// # Files
//
//   - backend.go, config.go, new_linux.go, cleanup_linux.go: the API. variant.go, program.go: the
//     iptables commands.
//   - service.go, frontend.go, verdicts.go, balancing.go, validation.go: the rendering of a Service.
//     static.go: what is the same without Services. family.go, names.go: names and matches.
//   - tablestate.go: Sync for one family. rules.go, change.go, load.go, hairpins.go: from renderings
//     to the input of iptables-restore, restore.go. saved.go: the output of iptables-save.
//   - probe.go: Services that are refused. watcher_linux.go, counters_linux.go: drift. stats.go: numbers.
//   - loopback_linux.go: the sysctl for node ports on loopback addresses.
package iptables
