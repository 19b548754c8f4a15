// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package localsink is the contract between the resolver, which computes what one node must
// do for its Services, and a backend, which programs that into a dataplane. It has no notion
// of the Kubernetes API, of traffic policies or of kernels, and imports only the standard
// library.
//
// A backend implements [Sink], which has one method. Sync receives an [Update]: the whole
// desired state of the node, and its delta from the last state that the sink acknowledged.
// A simple backend reads only the state, a fast one only the delta.
//
//   - sink.go: [Sink], and the optional interfaces [FeatureReporter], [FailureReporter],
//     [ResyncRequester] and [DriftReporter]; connections.go: [ConnectionCounter]
//   - update.go: [Update] and [Snapshot]
//   - service.go: [Service] and its [Port], [Frontend], [Route] and [Pool]
//   - node.go: [Node]
//   - features.go: [Features] that a backend may not support
//   - extensions.go: [Extensions], vendor-specific properties, and the [Accessor] that reads them
//   - compose.go: [Tee], [Chain] and [Walk]
//   - text.go: [Service.Text]
//
// # The desired state
//
// The resolver has already applied traffic policies, readiness, topology hints, masquerade
// rules and the precedence of Services that claim the same address. The result is data:
//
//	Service default/web
//	  Port "http" TCP
//	    Frontends             addresses that clients dial
//	      ClusterIP 10.96.0.10:80
//	        Routes            the first route that matches the client applies
//	          LocalPods -> Pool 0
//	          Any       -> Pool 0, masqueraded
//	    Pools                 endpoints of one address family
//	      Pool 0: 10.244.1.4:8080 10.244.2.7:8080
//
// A backend that evaluates traffic policies, zones or readiness itself is wrong.
//
// # What a backend must do
//
//   - For each connection to a [Frontend], apply the first matching [Route]: select an
//     endpoint of its pool as [Port.Selection] requires, masquerade if required, or reject,
//     drop or pass the connection if the pool is empty.
//   - Masquerade a connection that reaches the endpoint it originates from, whatever the
//     route requires.
//   - Reject packets to ports of a cluster IP that have no frontend, and drop packets to the
//     remaining addresses of [Node.ServiceNetworks].
//   - Keep established connections to endpoints in [Port.Draining].
//   - Report what it does not support ([FeatureReporter]) or could not program
//     ([FailureReporter]), instead of failing the whole update.
//
// Package localsink/consistent is the algorithm of consistent selection. Package
// localsink/sinktest has a conformance suite and a reference implementation of
// these rules; package localsink/reconciler calls sinks and retries.
//
// # Ownership
//
// All values reachable from an [Update] are immutable. A sink may keep references to them
// for any time and must not write to them. Equal lists may share memory.
package localsink
