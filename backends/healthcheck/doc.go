// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package healthcheck answers HTTP health checks of load balancers and supervisors. It
// programs no packets and contains no traffic policy. Response bodies and status codes are
// those of kube-proxy.
//
//   - [Proxy] serves /healthz and /livez: status 200 while the proxy is healthy or live,
//     otherwise 503 (proxy.go).
//   - [Services] serves the health check node port of each Service that has one: status 200
//     if the node has local endpoints of the Service and the proxy is healthy, otherwise 503
//     (services.go; check.go has the listeners of one Service, addresses.go chooses the
//     addresses to listen on).
//
// Both are sinks. Place Services behind the sink that programs the rules, in a
// localsink.Chain: a load balancer must not send traffic before packets reach the
// endpoints. Proxy wraps the sinks whose progress it observes.
package healthcheck
