// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"log/slog"

	"sigs.k8s.io/kpng/watchers"
)

// report logs what is wrong with a fact when no Service is there to tell of it: with a
// node that whose accepts, a ServiceCIDR, or a slice without a Service.
func report(log *slog.Logger, facts watchers.Snapshot, f watchers.Object, whose func(node string) bool) {
	var problems []watchers.Problem
	switch f := f.(type) {
	case *watchers.EndpointSlice:
		if facts.Service(f.Service) == nil {
			problems = f.Problems
		}
	case *watchers.Node:
		if whose(f.Name) {
			problems = f.Problems
		}
	case *watchers.ServiceCIDR:
		problems = f.Problems
	}
	for _, p := range problems {
		log.Warn("Cannot be honoured", "object", p.Object, "field", p.Field, "problem", p.Message)
	}
}
