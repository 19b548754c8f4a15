// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hns is a [localsink.Sink] that programs Services into the load balancers of the Host
// Networking Service (HNS) of Windows. It contains no Kubernetes policy and no system calls, so it
// compiles and is tested on every system: [HNS] is an interface. The nested module
// sigs.k8s.io/kpng/backends/hns/hcn has the real HNS, package hnstest a strict fake. Nothing of it ran
// on Windows so far.
//
// # What HNS contains
//
//	load balancer TCP 10.96.0.10:80       one for each frontend; a node port is one without address
//	  endpoints A, B -> port 8080         by ID
//	endpoint A 10.244.0.4                 of a pod of this node; the CNI plugin creates it
//	endpoint B 10.244.1.7, remote         of another node; this backend creates it
//	endpoint 10.96.0.10, remote           overlay networks only: of a cluster IP
//	endpoint of the source VIP            overlay networks only
//
// A remote endpoint exists as long as a load balancer needs it, whatever their number.
//
// # Glossary
//
//   - A frontend is an address, port and protocol that clients dial.
//   - A record is the compiled form of one Service; the desired state is that of all records.
//   - The observed state is what HNS has, as it was listed and written since.
//   - A plan is the list of operations, each of them one call, from the observed to the desired
//     state. There is none for what is equal. Endpoints are created before load balancers and deleted
//     after them; a deletion precedes the creation for the same frontend; a load balancer whose
//     endpoints alone change is modified, if the version of Windows can.
//   - The programmer executes a plan and notes what happened.
//
// # States
//
//	state     event                                            next state
//	unknown   Sync: list HNS, write what differs               current
//	unknown   Sync fails or its context ends                   unknown
//	current   Sync: write the delta                            current
//	current   a call for one Service fails; repeated, and      current
//	          HNS listed, after five seconds
//	current   HNS has not what was noted, or has more          unknown, within the same Sync
//	current   HNS restarts, the network, the node's            unknown
//	          addresses or another program change something
//
// A restart of the process is the first row: it adopts load balancers, also those of kube-proxy, and
// deletes those that no Service has. A query that fails ends Sync and changes nothing. Load balancers
// without port mappings are left alone. The backend lists everything at [Config.PollInterval] to find
// changes by other programs.
//
// # Which endpoints a frontend has
//
// HNS does not distinguish clients. A cluster IP gets the endpoints for pods of the node, other
// frontends those for clients outside of the node, so that policies Local work. Other clients reach the
// same endpoints, which is reported if theirs would be others.
//
// # Limits
//
// [Backend.NotProgrammed] has the Services that need what HNS lacks:
//
//   - Connections without an endpoint are not refused: there is no load balancer without endpoints.
//   - Session affinity has no timeout.
//   - All endpoints of a frontend have one port; those with another one than most are not used.
//   - Node ports answer on all addresses of the node.
//   - Source ranges, SCTP, weights, consistent selection and masquerade exceptions do not exist.
//
// UDP flows to removed endpoints, and packets to unused addresses of networks of Services, are left to
// HNS.
//
// # Files
//
//   - backend.go, config.go, cleanup.go: the API. hns.go, schema.go: what the backend needs of HNS.
//   - compile.go: Services to records. desired.go, observed.go: the states. plan.go: the operations.
//     programmer.go: their execution.
package hns
