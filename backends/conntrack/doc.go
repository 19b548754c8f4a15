// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conntrack removes stale UDP flows from the kernel's connection tracking, so that
// the next packet of each is load-balanced again. It programs no rules and contains
// no traffic policy.
//
// A flow is stale when the kernel sends it to an endpoint that its Service no longer has,
// or when it began before the Service had rules or endpoints and is therefore not
// translated. Flows to a draining endpoint stay. TCP and SCTP connections end by
// themselves; the sink never removes them.
//
// Flows may begin while another program has removed rules. With Config.Repairs, all flows are compared
// after each repair; without it, after each update that has no delta.
//
// Place the sink behind the sink that programs the rules, in a localsink.Chain: a client
// that sends again before the rules are in place creates another stale flow.
//
// A program without a [localsink.Sink] states which flows to remove, by frontend and by
// endpoint, with a [Cutter]. The sink uses the same one.
//
// The pieces:
//
//   - backend.go: [Backend], the sink.
//   - cutter.go: [Cutter], which removes flows of one address.
//   - stale.go: which frontends of an update may have stale flows, and which flows are stale.
//   - flowtable_linux.go: reads and deletes flows over netlink.
package conntrack
