// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import "strconv"

// Names of the chains, maps and sets that each table has exactly once. Where kube-proxy's
// nftables mode has an object for the same purpose, the name is the same. No name may be a
// keyword of the nft language.
const (
	mapServiceIPs         = "service-ips"
	mapServiceNodePorts   = "service-nodeports"
	mapFirewallIPs        = "firewall-ips"
	mapFirewallNodePorts  = "firewall-nodeports"
	setClusterIPs         = "cluster-ips"
	setHairpinConnections = "hairpin-connections"

	chainPrerouting           = "nat-prerouting"
	chainOutput               = "nat-output"
	chainPostrouting          = "nat-postrouting"
	chainServices             = "services"
	chainNodePorts            = "nodeports"
	chainMasquerading         = "masquerading"
	chainClusterIPsPrerouting = "cluster-ips-check-prerouting"
	chainClusterIPsOutput     = "cluster-ips-check-output"
	chainReject               = "reject-chain"
	chainDrop                 = "drop-chain"
	chainPass                 = "pass-chain" // exists if a Service needs it

	// replacementSuffix ends the names of the chains that exist while a table is replaced.
	replacementSuffix = "-during-replacement"
)

// Prefixes of the names of objects that a table has several of. The kernel searches sets by
// comparing names one by one, so long prefixes slow down tables with many sets.
const (
	prefixFirewall    = "firewall-"
	prefixDispatch    = "dispatch-"
	prefixLoadBalance = "loadbalance-"
	prefixEndpoints   = "endpoints-"
	prefixAffinity    = "affinity-"
	prefixIndex       = "index-"
	prefixConsistent  = "consistent-"

	// poolWord precedes the number of a pool, counted from one.
	poolWord = "pool"
)

// Comments on kernel objects; "nft list ruleset" prints them.
const (
	commentTable = "Kubernetes Services, written by kpng; changes by other programs are undone"

	commentServiceIPs         = "Frontends with an address: what to do with their connections"
	commentServiceNodePorts   = "Node ports: what to do with their connections"
	commentFirewallIPs        = "Frontends with an address and source ranges: their firewall chain"
	commentFirewallNodePorts  = "Node ports with source ranges: their firewall chain"
	commentClusterIPs         = "ClusterIPs: connections to ports without a Service are rejected"
	commentHairpinConnections = "Local endpoints: connections from one to itself are masqueraded"

	commentPrerouting     = "DNAT of connections from pods and other hosts"
	commentOutput         = "DNAT of connections from this node"
	commentPostrouting    = "Masquerading after DNAT"
	commentServices       = "Finds the frontend of a connection by address, then by node port"
	commentNodePorts      = "Finds the frontend of a connection to an address of this node"
	commentMasquerading   = "Masquerades hairpin connections and packets with the masquerade mark"
	commentClusterIPCheck = "After DNAT: rejects unused ports of ClusterIPs, drops unallocated Service IPs"
	commentReject         = "Rejects: TCP reset, otherwise ICMP port unreachable"
	commentDrop           = "Drops without an answer"
	commentPass           = "Leaves packets alone, as if no Service had their destination"
	commentReplacement    = "Temporary: serves packets in flight while the table is replaced"

	commentFirewall = "Source ranges: returns for allowed clients, drops all others"
	commentDispatch = "Dispatch chain: goes to a load-balancing chain by kind of client"

	commentConsistentChain     = "Load-balancing chain: DNAT by a hash of the client"
	commentConsistentIndex     = "Consistent selection: hash of the client to number of the endpoint"
	commentConsistentEndpoints = "Consistent selection: number to endpoint"

	commentAffinityDispatch  = "Dispatch chain of one Service port with session affinity"
	commentAffinityEntries   = "Session affinity: client address to endpoint slot"
	commentAffinityChain     = "Load-balancing chain of one pool with session affinity"
	commentAffinityEndpoints = "Session affinity: endpoint slot to endpoint, of one pool"
	commentAffinityIndex     = "Session affinity: random number to endpoint slot, of one pool"
)

func loadBalanceComment(endpoints int) string {
	return "Load-balancing chain: DNAT to a random one of " + strconv.Itoa(endpoints) + " endpoints"
}

func endpointMapComment(limit int) string {
	return "Endpoints by frontend and slot, of pools with at most " + strconv.Itoa(limit) + " endpoints"
}
