// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package xds serves the Services of a node over xDS, the protocol by which gRPC clients
// (xds:///web.default.svc.cluster.local:80) and proxies such as Envoy find endpoints. It has no notion of
// the Kubernetes API: it is a [localsink.Sink] of the desired state.
//
//   - config.go, sink.go: [New], and [Sink.Sync], which replaces the resources of changed Services.
//   - names.go, render.go, endpoints.go: the resources of a port and their names.
//   - resource.go, table.go: encoded resources. All streams share them.
//   - serve.go, stream.go: [Sink.Serve] and the streams of clients.
//   - request.go, subscription.go: what a client asks for, and the next response. rejection.go: what it
//     rejects.
//
// A port has four resources with one name: a Listener, a RouteConfiguration, a Cluster and a
// ClusterLoadAssignment. They change independently: a change of endpoints is one resource. The version of
// a resource is a hash of its content, so replicas and restarted servers agree.
//
// # Streams
//
// A stream has no queue. It holds sets of numbers of resources: those that the client has subscribed to,
// and those that have changed since it received them. A response is made of the current resources when
// the client has answered the previous one. So a slow client costs two bits for each resource, and
// receives the last state.
//
// A subscription of a stream to one type is in one of these states:
//
//	state      event                                          next state
//	inactive   request                                        due
//	due        response sent                                  sent
//	sent       acknowledged, or rejected with a reason        idle, or due if a resource has changed
//	idle       a resource that it covers changes; names are   due
//	           added to the request
//	any        the stream ends                                inactive
//
// Requests that answer an earlier response than the last one are ignored in the SotW
// protocol. Responses of clusters and listeners are complete in that protocol; all others have at most
// 128 KiB.
package xds
