// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodemetrics provides Prometheus collectors for a server of package node. It
// registers nothing and serves no HTTP.
//
// [Nodes] collects the number of nodes and their lag at the time of a scrape. [Latencies]
// collects how long changes take to reach nodes, by stage:
//
//	latencies := nodemetrics.NewLatencies()
//	server, err := node.NewServer(store, node.ServerConfig{OnAcknowledge: latencies.Observe})
//	...
//	registry.MustRegister(latencies, nodemetrics.NewNodes(server))
package nodemetrics
