// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dataplane creates the backend of a proxy mode, with its connection tracking, its
// metrics and the removal of what other modes left. It contains no rules itself, and has no
// flags.
//
//	mode        Rules                 Flows       Takeover keeps
//	nftables    backends/nftables     conntrack   nothing of kube-proxy
//	ebpf        backends/nftables     conntrack   nothing of kube-proxy
//	            and backends/ebpf
//	iptables    backends/iptables     conntrack   the chains of the mode, in the variant in use
//	ipvs        backends/ipvs         conntrack   virtual servers, kube-ipvs0, IP sets and the chains of the mode
//	userspace   backends/userspace    none        nothing of kube-proxy
//	kernelspace backends/hns          none        no Takeover: the backend adopts what kube-proxy left
//
// After a change of the mode, the backend of the new mode programs its rules first; then Takeover
// removes those of the former mode, whether kube-proxy or this module programmed them. Changes
// between the modes nftables and iptables fail no connection; test/e2e makes them under traffic.
// Connections through IPVS end with their virtual server. Those of the mode userspace end with
// the process; it also needs the addresses of Services to be local ones.
//
// A program that has one backend only does not need this package, and compiles less without it.
package dataplane
