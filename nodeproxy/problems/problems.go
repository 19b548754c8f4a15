// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package problems collects why Services are not programmed as specified: a [Reporter]
// for invalid fields and unsupported features, a [Tracker] for what the node could not
// do. It is independent of the packet filter and of Kubernetes clients.
//
//	object in the cluster ── localsink.Problem ───────────> Reporter ─> log, events
//	sink (FailureReporter) ─ Service not programmed ──────> Tracker ──> events, metrics, /state
//	sink (error of Sync) ─── update not applied ──────────> Tracker ──> /state
package problems

import "sigs.k8s.io/kpng/localsink"

// Reasons of events about a Service.
const (
	// ReasonProblem is of a Service with an invalid field or an unsupported feature.
	ReasonProblem = "ServiceProblem"
	// ReasonNotProgrammed is of a valid Service that the node could not program.
	ReasonNotProgrammed = "ServiceNotProgrammed"
	// ReasonHealthCheck is kube-proxy's, of a health check port that could not be opened.
	ReasonHealthCheck = "FailedToStartServiceHealthcheck"
)

// An EventFunc receives a warning about a Service, once for each problem. It must not
// block.
type EventFunc func(service localsink.ServiceName, reason, message string)

func (f EventFunc) orDiscard() EventFunc {
	if f == nil {
		return func(localsink.ServiceName, string, string) {}
	}
	return f
}
