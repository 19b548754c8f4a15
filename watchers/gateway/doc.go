// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gateway adds the TCPRoutes and UDPRoutes of the Gateway API (v1.6) to the Services of
// another source: a [Watcher] writes all objects of that source into a [watchers.Store], and what
// the routes make of them. It writes nothing to the API server; [Watcher.Status] has what a
// controller would write.
//
// # Gateways
//
// A Gateway whose GatewayClass has Config.ControllerName becomes a Service with the origin
// [Origin]. Its addresses are those of a load balancer: the addresses of the Gateway's status, or of
// its specification while the status has none. Each TCP or UDP listener that a route is attached
// to is a port with the listener's name.
//
// # Services as parents
//
// The ports of a Service that a route in its namespace refers to get the endpoints of the route's
// backends in place of their own. All frontends of the port follow: cluster IP, node port and load
// balancer. The Service keeps its affinity and traffic policies.
//
// # Backends
//
// The weight of a backend is divided by the number of its endpoints that are ready. A backend
// that does not exist, is not permitted, or has no endpoints refuses its share of the
// connections (ServicePort.RefusedPerMille). Endpoints of a backend with the weight 0 keep their
// established connections. With several backends, hints for topology have no effect.
//
// # Conflicts and invalid objects
//
// Of several routes at a listener, or at a port of a Service, the oldest has it, then the first by
// namespace and name. Each route with an invalid field has an object with its kind as the origin,
// which has Problems and neither addresses nor endpoints. Problems of Gateways are in their Service.
//
// # Work per change
//
// An object affects the parents that it concerns: a route its parents, an endpoint the parents of
// the routes to its Service, a grant those of the routes that cross into its namespace. Each of them
// is computed anew from the current objects, so that the result does not depend on history.
package gateway
