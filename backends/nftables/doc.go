// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nftables is a [localsink.Sink] that programs Services into the kernel's nf_tables
// over netlink. It contains no Kubernetes policy and runs no nft command.
//
// # Chains and maps
//
// There is one table for each address family. Where kube-proxy's nftables mode has a chain,
// map or set for the same purpose, the name is the same. "nft list ruleset" prints a comment
// for each of them. No Service has a chain, rule or set of its own, unless it has session
// affinity:
//
//	nat-prerouting, nat-output
//	  └─ services
//	       1. address . protocol . port   @firewall-ips   ── jump firewall-<hash>: return or drop
//	       2. address . protocol . port   @service-ips    ── goto a dispatch chain
//	       3. address of this node that accepts node ports
//	            └─ nodeports: protocol . port   @firewall-nodeports, @service-nodeports ── as above
//
//	cluster-ips-check-prerouting, cluster-ips-check-output (later)
//	  └─ services, once more: the rules may have changed while the packet passed them
//	  address   @cluster-ips                  ── goto reject-chain: unused port of a ClusterIP
//	  address in a network of Services        ── goto drop-chain: unallocated ClusterIP
//
//	dispatch chain         dispatch-service.pods-pool1-10.any-masq-pool1-10
//	  from pods of this node                  ── goto loadbalance-service-pool1-10
//	  set the masquerade mark                 ── goto loadbalance-service-pool1-10
//
//	dispatch chain         dispatch-service.refuse800.any-pool1-10
//	  a random number below 1000 is below 800 ── goto reject-chain
//	                                          ── goto loadbalance-service-pool1-10
//
//	pass-chain (if needed): verdict Pass      ── accept
//
//	load-balancing chain   loadbalance-service-pool1-10
//	  dnat to address . protocol . port . (random number below 10)   @endpoints-service-pool1-max16
//
//	nat-postrouting
//	  └─ masquerading
//	       1. after DNAT, source . destination   @hairpin-connections ── masquerade
//	       2. clients in NoMasquerade            ── clear the mark, return
//	       3. masquerade mark                    ── clear the mark, masquerade
//
// Golden files contain these tables as netlink messages in readable form, one line per object
// ("ip6" in place of "ip" for IPv6):
//
//   - testdata/table-ip.txt: all static chains, maps and sets
//   - testdata/kinds-ip.txt: each kind of frontend and route
//   - testdata/endpoints-ip.txt: what changes of endpoints write
//   - testdata/affinity-ip.txt: session affinity
//   - testdata/concepts-ip.txt: verdict Pass, refused shares and masquerade exceptions
//   - testdata/counted-ip.txt: counters of connections
//   - testdata/selection-ip.txt: consistent selection
//   - testdata/weights-ip.txt: changes of weights
//   - testdata/refused.txt: the search for a Service that the kernel refuses
//
// # Glossary
//
//   - A frontend is an address, protocol and port that clients connect to, or a node port with
//     its protocol. Its frontend key is the key of its elements in maps.
//   - A service record is a Service with its programmed frontends.
//   - A dispatch is what happens to the connections to a frontend: for each kind of client,
//     whether they are masqueraded, and how many endpoints there are to choose from. A dispatch
//     chain implements a dispatch; all frontends with that dispatch share it. A branch is one
//     of its rules. Where all clients are treated alike and none is masqueraded, verdicts lead
//     to the load-balancing chain directly.
//   - A load-balancing chain sends a connection to a random endpoint of a pool. All pools of
//     one size share it; which endpoints they have is in an endpoint map. In names, "pool1-10"
//     is the first pool of the frontend, with 10 endpoints.
//   - A slot is the number of an endpoint in its pool. An endpoint map maps frontend key and
//     slot to an endpoint. "pool1-max16" is the map for first pools of 9 to 16 endpoints.
//   - A firewall chain drops connections from outside of source ranges. Frontends with equal
//     source ranges share it.
//   - An affinity port is a Service port with session affinity, an affinity entry the slot
//     that a client address is bound to.
//   - The table state is what the backend has programmed into a table, kept in memory.
//   - A rebuild replaces a whole table, in one transaction.
//   - Drift is a difference between table state and kernel, caused by an external change:
//     a change by another program.
//
// # Weights
//
// An endpoint occurs in as many slots as its weight requires in relation to the others: weights
// 80 and 20 are four slots and one. Weights whose ratios need more than 256 slots are rounded to
// 1,024 slots, or more for more than 256 endpoints: a share is wrong by less than 0.1 % of the
// connections. An endpoint with a smaller share has one slot nevertheless, and the endpoints with
// most slots have fewer for it. Equal weights, whatever they are, need one slot each.
//
// # Consistent selection
//
// With selection by client or by flow, a table of package consistent maps the hash of a client to
// the number of an endpoint:
//
//	consistent-<n>-client-tcp
//	  hash of the source address   @index-consistent-<n> : number
//	  dnat to                      @endpoints-consistent-<n>: number : endpoint
//
// All pools with equal endpoints and weights share a table, unless connections are counted. When
// the endpoints change for all of its pools, the table remains, with the slots that differ
// replaced: no verdict and no chain changes. A pool of one endpoint needs no table. With session
// affinity the endpoint of a new client is selected so. A table has 8,191 slots, for up to 128
// endpoints: it takes 10 to 30 milliseconds to create and 0.7 MB of kernel memory; a connection
// costs three lookups. If the kernel cannot compute hashes (module nft_hash), the features are
// unsupported and the selection is random, as it is for selection by least connections.
//
// # Other verdicts
//
// A rule of the dispatch chain compares a random number with the share of connections to refuse,
// before the others. With session affinity the chain of the pool does, after its rules for clients
// with an entry. The verdict Pass leads to pass-chain, which accepts: neither DNAT nor the
// cluster-ips-check chains concern the packet. The chain masquerading has a rule for each network
// of clients that are excepted; a change of these replaces the rules of this chain only.
//
// # Session affinity
//
// A port with affinity has dispatch chains of its own, one map of affinity entries, and a
// load-balancing chain with an endpoint map for each of its pools:
//
//	dispatch chain         dispatch-service.<port>.pods-pool1.any-masq-pool1
//	  from pods of this node                  ── goto affinity-<port>-pool1
//	  set the masquerade mark                 ── goto affinity-<port>-pool1
//
//	load-balancing chain   affinity-<port>-pool1
//	  1. add or refresh the client's entry    @affinity-<port>-a: client address : slot
//	  2. dnat to the endpoint of the slot     @endpoints-<port>-pool1-a: slot : endpoint
//	  3. the slot is of another pool: replace the entry, dnat to the new endpoint
//	  4. no room for an entry: dnat to a random endpoint
//
// "<port>" is the Service's name and a hash of the identity of the port, so it is the same
// after a restart. All frontends of the port lead here. The key of an entry is the client's
// address before any masquerading. Affinity costs a connection two more lookups, and nothing
// after its first packet.
//
// Slots count the endpoints of all pools of the port. If the slots of a pool are not 0, 1,
// 2..., or have different weights, the map index-<port>-pool1-a translates random numbers to slots.
//
// New endpoints get further slots. When an endpoint is removed or the timeout changes, new
// maps replace the present ones in one transaction, with the entries of the endpoints that
// remain. The names of the maps end in "-a" and "-b" in turn. No entry ever leads to a removed
// endpoint; an entry that a packet adds while entries are copied may be lost. In the same way
// entries are copied to the new table when a table is rebuilt, also after a restart.
//
// # Counts of connections
//
// With [Config.CountConnections], the elements of the maps service-ips, service-nodeports and
// endpoints-... have counters. In the nat chains they count the first packets of connections: by
// frontend, and by frontend and endpoint. A port with session affinity has one endpoint map for
// all frontends, which connections that follow an affinity entry look up too.
//
// A counter ends with its element. So the backend reads the counters of elements that a
// transaction removes, before it, and adds them to counts in memory. To read the counts of a
// Service, it reads the counters of its elements and no others. connectioncounts.go has what
// happens if another program removes elements.
//
// # Design rationale
//
// The kernel's time to create a chain, rule or set grows with their number. A chain for each
// Service makes the first load quadratic: minutes for 10,000 Services, where elements take a
// fifth of a second. To replace an endpoint changes one element; to add or remove one also
// changes the one verdict that leads to the load-balancing chain. A new connection costs two
// or three lookups in hash tables, whatever the number of Services. Other packets cost nothing,
// because nat chains see only the first packet of a connection. For that reason rejections and
// source ranges are in nat chains too, and not in filter chains.
//
// Some details have reasons in the kernel or in nft:
//
//   - To add an element costs time for each rule that uses the map. So there are several
//     endpoint maps, by pool size.
//   - A rule that begins to use a map walks all of it. So the load-balancing chains for up to
//     32 endpoints are created while the maps are empty.
//   - Maps of a fixed size are twice as fast as growing ones. So maps have twice the necessary
//     size, and a full map leads to a rebuild.
//   - Before Linux 6.2 a chain cannot be deleted together with its last reference. So up to
//     64 unused dispatch chains remain.
//   - A socket that receives notifications of nf_tables, in any network namespace of the machine,
//     makes a load eight times slower, because the kernel describes each element to it. So the
//     backend receives none; see External changes.
//   - A packet can be between two lookups when the rules change. So slots that are no longer
//     used are removed in a second transaction, when no verdict leads to them.
//   - nft 1.0.6 aborts when it lists a lookup whose key contains the result of another lookup.
//     So no rule does that; the packet priority holds the result in between.
//   - nft must be able to load what it has listed, so each map has types that nft derives from
//     the rules again: typeof.go and [affinityPort.rules] have the details.
//
// # External changes
//
// Every 250 milliseconds the backend asks for the generation of the rules, which counts the
// transactions in the network namespace. If it is the one that its own transactions lead to,
// nothing has changed. Otherwise another program has changed some table. Then the backend verifies
// its own, from cheap to expensive:
//
//	what is read                              finds                                 with 10,000 x 10
//	the number of chains and sets, the flags  flush ruleset, a removed table        20 µs
//	the handles of chains, rules and sets;    other chains, rules and sets; where   1 ms
//	where the kernel returns it (Linux 6.18   the kernel returns it, added and
//	does), the number of elements of each     removed elements, a flushed map
//	the elements of each set                  all other changes of elements         0.3 s CPU
//
// While other programs keep changing their rules, the second and the third rest between two
// verifications so that each takes at most 1 % of a CPU, and at most a minute; the first does not.
// With 200 Services all of it takes 2 ms, so each change is found at once. After a difference the
// backend requests a resync.
//
// What to expect follows from the transactions: the kernel numbers the chains, rules and sets of a
// table in the order of their creation, and each set has a sum of the digests of its elements.
// Nothing is read after a transaction of the backend itself. Affinity entries, which packets change,
// and the size and timeout of a set are not verified.
//
// # States of a table
//
// The backend keeps the table state in memory and does not update it from the kernel. Affinity
// entries are the exception: packets add them, so the backend reads them before it replaces
// their map. Established connections are tracked by conntrack and keep their endpoints.
//
//	state     event                                        next state
//	unknown   Sync: rebuild acknowledged                   current
//	unknown   Sync: rebuild fails                          unknown, Sync returns the error
//	current   Sync: both transactions acknowledged         current
//	current   Sync: a transaction fails, or a map is full  unknown, Sync rebuilds at once
//	current   verification finds an external change        drifted, a resync is requested
//	drifted   Sync                                         unknown, Sync rebuilds at once
//	current   Sync with other node properties in rules,    unknown, Sync rebuilds at once
//	          apart from masquerade exceptions
//
// A rebuild deletes the old table and creates the new one in one transaction. That alone does
// not ensure that each packet passes one of them, because a packet may be between two base
// chains at that moment; replacementHooks in chains.go describes the remedy.
//
// # Limits
//
// The cost of ports with session affinity grows with their number: to load 1,000 takes 0.4
// seconds, 3,000 three seconds; to replace an endpoint takes 1.5 milliseconds with 1,000. Each
// of them holds up to 65,536 client addresses per family and serves further clients without
// affinity; to copy that many, after an endpoint was removed, takes some tenths of a second.
// A client that connects in turn to two pools without a common endpoint gets a new endpoint
// each time. A shorter timeout also shortens the remaining lifetimes of present entries; a
// longer one counts from the client's next connection.
//
// Node ports do not answer on loopback addresses; package localhost adds that. When a UDP
// packet of a process of this node is rejected, the process gets EPERM from sending it and
// ECONNREFUSED afterwards. Each new connection compares its source address with the source
// ranges of its frontend one by one. Without CAP_NET_ADMIN in the initial user namespace, the
// sysctl net.core.wmem_max limits the size of transactions: 4 MiB are enough for about 90,000
// endpoints.
//
// # Files
//
//   - backend.go, config.go, stats.go, describe.go, new_linux.go: the API. kernel_linux.go:
//     requirements of the kernel.
//   - table.go: Sync, rebuild and commit for one family. refused.go: Services that the kernel
//     refuses. externalchanges.go, handles.go: verification after external changes.
//   - desired.go: frontends of an update, validated. tablestate.go, objects.go: the table
//     state. change.go: its difference to the desired frontends.
//     deferredremovals.go: what the second transaction of a change removes.
//   - selection.go: consistent selection.
//   - weights.go: the number of slots of each endpoint.
//   - names.go: names and comments of kernel objects. chains.go: static chains. dispatch.go,
//     loadbalancing.go, firewall.go: the other chains and endpoint maps. nodematches.go:
//     properties of the node in rules.
//   - affinity.go: maps and rules of a port with affinity. affinitystate.go: their changes.
//     affinitycopy.go: copies of entries.
//   - connections.go: numbers of new connections. connectioncounts.go: those that removed
//     elements have counted.
//   - sets.go, typeof.go, expressions.go, family.go: sets and rules. transaction.go,
//     elements.go: their encoding. internal/nfnl: netlink.
package nftables
