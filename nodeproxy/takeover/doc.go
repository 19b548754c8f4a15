// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package takeover removes what any mode of kube-proxy left in a network namespace. It
// uses the kernel's interfaces and runs no command, so it works in a container without any
// other program. It needs CAP_NET_ADMIN, and for tables of iptables-legacy the host's
// /run/xtables.lock. It removes:
//
//   - of the nftables mode: the tables "ip kube-proxy" and "ip6 kube-proxy";
//   - of the iptables and ipvs modes, in the tables nat, filter and mangle of IPv4 and IPv6,
//     of both variants, iptables-nft and iptables-legacy: the chains KUBE-SERVICES,
//     KUBE-EXTERNAL-SERVICES, KUBE-NODEPORTS, KUBE-POSTROUTING, KUBE-MARK-MASQ, KUBE-FORWARD,
//     KUBE-PROXY-FIREWALL, KUBE-PROXY-CANARY, KUBE-SOURCE-RANGES-FIREWALL, KUBE-NODE-PORT,
//     KUBE-LOAD-BALANCER, KUBE-IPVS-FILTER, KUBE-IPVS-OUT-FILTER, KUBE-FIREWALL of the table
//     nat, the chains of older releases KUBE-PORTALS-CONTAINER, KUBE-PORTALS-HOST,
//     KUBE-NODEPORT-CONTAINER, KUBE-NODEPORT-HOST and KUBE-NODEPORT-NON-LOCAL, and those
//     whose name begins with KUBE-SVC-, KUBE-SVL-, KUBE-SEP-, KUBE-FW-, KUBE-EXT- or
//     KUBE-XLB-, and the further chains of package backends/iptables; and each rule of a built-in chain that jumps to one of them;
//   - KUBE-FIREWALL of the table filter, if the kubelet has no chain in that variant and
//     family. It protects loopback addresses while the sysctl net.ipv4.conf.all.route_localnet,
//     which kube-proxy sets, is 1; so the sysctl is first set to 0. Where it cannot be
//     written, chain and sysctl stay;
//   - of the ipvs mode: virtual servers whose address is one of the interface kube-ipvs0, and
//     those for node ports; that interface; and kube-proxy's IP sets, which have names such
//     as KUBE-CLUSTER-IP and KUBE-6-CLUSTER-IP. Connections that IPVS forwards end with their
//     virtual server; connections of the other modes continue.
//
// It does not remove:
//
//   - the chains of the kubelet: KUBE-IPTABLES-HINT, KUBE-KUBELET-CANARY, KUBE-MARK-DROP, and
//     KUBE-FIREWALL where the kubelet has others;
//   - chains and sets of other programs with names that begin with KUBE-, such as the network
//     policies of kube-router and k3s (KUBE-ROUTER-..., KUBE-POD-FW-..., KUBE-NWPLCY-...);
//   - chains and IP sets that remaining rules use: rules of user-defined chains that jump to
//     KUBE-SERVICES, for example. Such a chain becomes empty, which is the same as if it did
//     not exist; KUBE-MARK-MASQ keeps its rule. Each is logged at level warn;
//   - virtual servers of other programs, sysctls other than the one above, connection
//     tracking entries, and the accounting objects of kube-proxy's counters (nfacct).
//
// [Config] keeps what the new proxy uses itself, and adds what other backends left.
//
// Rules and chains that remain keep their order, their content and their counters. A second
// removal finds nothing.
package takeover
