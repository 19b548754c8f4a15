// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"log/slog"

	"sigs.k8s.io/kpng/watchers"
)

// maxProblems bounds the problems of one Service: all of them are stored, sent and logged, and
// its slices and addresses may be thousands.
const maxProblems = 100

// limitProblems removes the problems beyond maxProblems, and adds their number to the last one.
// svc must not be shared yet.
func (svc *ResolvedService) limitProblems() {
	if len(svc.problems) <= maxProblems {
		return
	}
	last := &svc.problems[maxProblems-1] // names an object and a field, as each problem does
	last.Message = fmt.Sprintf("%s; %d further problems of the Service and its slices", last.Message, len(svc.problems)-maxProblems)
	svc.problems = svc.problems[:maxProblems:maxProblems]
}

// logProblems logs the problems of an object that no Service reports: those of a node that
// isRelevant accepts, of a ServiceCIDR, of an EndpointSlice without a Service,
// or of a Service without a name.
func logProblems(log *slog.Logger, snapshot watchers.Snapshot, object watchers.Object, isRelevant func(node string) bool) {
	var problems []watchers.Problem
	switch object := object.(type) {
	case *watchers.Service:
		if unnamed(object.Name) {
			problems = object.Problems
		}
	case *watchers.EndpointSlice:
		if snapshot.Service(object.Service) == nil {
			problems = object.Problems
		}
	case *watchers.Node:
		if isRelevant(object.Name) {
			problems = object.Problems
		}
	case *watchers.ServiceCIDR:
		problems = object.Problems
	}
	for _, p := range problems {
		log.Warn("Object has an invalid field", "object", p.Object, "field", p.Field, "reason", p.Message)
	}
}
