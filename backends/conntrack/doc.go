// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conntrack is a sink that makes UDP flows follow their Services: flows to
// endpoints that are gone, and flows that began before a Service could serve them,
// are removed from the kernel's connection tracking, so that their next packet is
// routed anew. It programs no routes and knows no policy.
//
// TCP and SCTP connections end by themselves and are never touched. A flow to an
// endpoint that a Service still retains is left alone, even if new flows would not
// go there.
//
// The sink belongs behind the one that programs the rules, in a localsink.Chain:
// a flow that is removed before the rules are in place comes back wrong.
package conntrack
