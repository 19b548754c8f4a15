// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package oracle computes from API objects what happens to the connections of clients on a node,
// and compares it with what a proxy acknowledges and with the rules in the kernel. It shares no code
// with the proxy: it imports the types of the Kubernetes API and the standard library only, and does
// in a simple, slow way what docs/semantics.md describes.
//
//	cluster.go   the input: API objects and a node
//	model.go     a Model: frontends of a node, and the outcome for a client
//	desired.go   API objects -> Model; endpoints.go: the endpoints of one port
//	state.go     the page /state of a proxy -> Model
//	ruleset.go   the output of "nft -j list ruleset" -> Ruleset
//	evaluate.go  the way of a packet through a Ruleset; expressions.go: parts of rules
//	compare.go   the differences of the three
//
// # What it compares
//
// A probe is the first packet of a connection: a client, a destination address, protocol and port. The
// destinations are all frontends that one of the three sources has, an unused port of each cluster
// IP, and an address of each Service network that no Service has. Node ports are probed on each
// address of the node. The clients are a pod of the node, the node, and two clients outside, one of
// which is in the source ranges that tests use.
//
// For each probe the outcome is compared: the set of possible endpoints, whether the client's address
// is replaced, and the timeout of session affinity; or that the packet is rejected, dropped or left
// alone. For the kernel, the outcome follows from the rules: the oracle evaluates base chains, jumps,
// maps and random numbers, and does not depend on the names of chains and maps, except to find
// destinations that must not be there. It also compares which endpoints are masqueraded when
// they connect to themselves.
//
// # What it does not compare
//
//   - The shares of endpoints, affinity entries of clients, and established connections.
//   - Pods that an interface identifies, weights, consistent selection, refused shares,
//     node ports on loopback addresses, and proxies with other flags than those of the test.
//   - Health check ports, problems and other parts of /state.
//   - The backends other than nftables, and the JSON of nft versions other than 1.0.6. What it
//     cannot decode is an error.
package oracle
