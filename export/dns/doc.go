// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dns answers DNS queries for the names of a cluster from a store of cluster state, as the
// Kubernetes DNS specification describes. It has no client of an API server, keeps no
// copy of the state, and forwards no queries.
//
// A [Server] reads the current snapshot of the store for each query: the store is ordered by name, so
// it is the index of names. The only further index has the Services and endpoints of addresses, for
// reverse lookups, and is updated by the changes of the store.
//
// The store needs headless Services, hostnames and external names: kubeapi.Details with [Details].
//
// # Files
//
//	config.go    Config
//	server.go    life cycle; the queries of a [Listener]
//	listener.go  sockets: UDP, and TCP with limits
//	message.go   from a packet to a packet: header, question, EDNS
//	names.go     names of the zone, and what they refer to
//	records.go   the records of Services and endpoints
//	reverse.go   names of addresses, and their index
//	writer.go    records in the format of packets, and truncation
//
// # Glossary
//
//	zone      the domain of the cluster, such as cluster.local, and all names in it
//	NXDOMAIN  the name does not exist, nor does any name below it
//	NODATA    the name exists, and has no record of the requested type
package dns
