// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package remotemetrics tells Prometheus how a server of nodes stands; it serves no HTTP
// and registers nothing by itself.
//
// [Nodes] collects what a server knows at the time of a scrape. [Latencies] collects how
// long changes take to reach nodes, stage by stage:
//
//	latencies := remotemetrics.NewLatencies()
//	server, err := remote.NewServer(store, remote.ServerConfig{Observe: latencies.Observe})
//	...
//	registry.MustRegister(latencies, remotemetrics.NewNodes(server))
package nodemetrics
