// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package healthcheck answers load balancers and supervisors over HTTP: whether this
// node has endpoints of its own for a Service ([Services], one port per Service), and
// whether the proxy keeps the node in line ([Proxy], /healthz and /livez). It programs
// no packets and knows no policy.
//
// Both are sinks. Services belongs behind the sink that programs the rules, in a
// localsink.Chain, so that no load balancer is told of endpoints before packets reach
// them; Proxy goes around the sinks whose work it judges.
package healthcheck
