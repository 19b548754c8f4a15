// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodelocal resolves Services: from the state of a cluster it computes the desired
// state of one node. It is the only package that implements the semantics of Services
// (traffic policies, topology hints, terminating endpoints, address conflicts); it does not
// know kernels, Kubernetes clients or wire formats.
//
// [Run] connects a watcher to a sink. [Resolver] serves callers that have their own loop;
// [MultiNodeResolver] serves servers, which compute shared results once for many nodes;
// [Explain] gives the reasons for the result of one Service on one node. The files:
//
//	run.go           Run and Follow: watcher -> Resolver -> sink
//	resolver.go      Resolver: the desired state of one node
//	multinode.go     MultiNodeResolver: the desired state of all nodes
//	services.go      which Services a change of objects affects, and resolving them
//	resolve.go       one Service and its EndpointSlices -> ResolvedService
//	frontends.go     the addresses of a Service, by address family
//	routes.go        which endpoints, masquerading and verdict each kind of client gets
//	endpoints.go     EndpointSlices -> the endpoints of one port; readiness and hints
//	conflicts.go     two Services request one address: which one owns it
//	resolved.go      ResolvedService: the base of a zone and the overlay of a node
//	node.go          the addresses and zone of a node
//	knownnode.go     what is known of a node without a Node object
//	nodeports/       the addresses that serve node ports
//	poddetection.go  how packets of local pods are recognised
//	explain.go       Explain: the reason for each endpoint
//	nomatch.go       warnings about names that match no object
//	problems.go      warnings about invalid objects
//
// The result for a Service depends only on the Service, its EndpointSlices, the node, and
// the other Services that request its addresses. One changed object therefore costs the
// work of one Service, independent of the size of the cluster.
package nodelocal
