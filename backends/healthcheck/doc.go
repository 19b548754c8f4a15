// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package healthcheck answers HTTP health checks of load balancers and supervisors. It
// programs no packets and contains no traffic policy. Response bodies and status codes are
// those of kube-proxy.
//
// Each kind of health check has a sink, and a part that the sink is made of, for programs
// without a [localsink.Sink]:
//
//		health checks                           sink        without a sink
//		/healthz and /livez of the proxy        [Proxy]     [ProxyHealth]
//		the health check node port of Services  [Services]  [Server]
//
//	  - /livez has status 200 while the proxy is live, /healthz while it is healthy and the node
//	    is eligible for load balancers; otherwise 503 (proxyhealth.go, proxy.go).
//	  - A health check node port has status 200 if the node has local endpoints of the Service
//	    and the proxy is healthy, otherwise 503 (server.go, services.go; check.go has the
//	    listeners of one Service, addresses.go chooses the addresses to listen on).
//
// Place Services behind the sink that programs the rules, in a localsink.Chain: a load
// balancer must not send traffic before packets reach the endpoints. Proxy wraps the sinks
// whose progress it observes.
//
// The port of a Service is absent, open or failed:
//
//	from    to      when
//	absent  open    Set, Sync: all its listeners are open
//	absent  failed  Set, Sync: a listener is not open; Failures has the reason
//	failed  open    another Service releases the port, or a retry succeeds
//	open    failed  the addresses of the node or the networks change, and a new one cannot be listened on
//	any     absent  Remove, Sync without the Service, Close
package healthcheck
