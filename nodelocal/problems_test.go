// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// TestProblemsAreHeard: what is wrong with facts is told once, by the Service that they
// belong to or, when there is none, in the log.
func TestProblemsAreHeard(t *testing.T) {
	var log strings.Builder
	heard := func() (out []string) {
		for line := range strings.Lines(log.String()) {
			_, what, _ := strings.Cut(strings.TrimSpace(line), "object=")
			out = append(out, what)
		}
		log.Reset()
		return out
	}
	wrong := func(object string) []watchers.Problem {
		return []watchers.Problem{{Object: object, Field: "f", Message: "m"}}
	}
	orphan := func() *watchers.EndpointSlice {
		s := slice(t, "orphan", "10.0.0.1 R")
		s.Problems = wrong("EndpointSlice ns/orphan")
		return s
	}
	n := newNode(t, nodelocal.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, orphan(),
		&watchers.Node{Name: "node-1", Problems: wrong("Node node-1")},
		&watchers.Node{Name: "node-2", Problems: wrong("Node node-2")},
		&watchers.ServiceCIDR{Name: "c", Problems: wrong("ServiceCIDR c")})
	require.ElementsMatch(t, []string{
		`"Node node-1" field=f problem=m`, `"EndpointSlice ns/orphan" field=f problem=m`, `"ServiceCIDR c" field=f problem=m`,
	}, heard())

	n.set(orphan())
	n.update()
	require.Empty(t, heard(), "once")

	n.set(service())
	n.update()
	require.Equal(t, wrong("EndpointSlice ns/orphan"), n.get(name()).Problems, "the Service tells of it")
	changed := orphan()
	changed.Endpoints = nil
	n.set(changed)
	n.update()
	require.Empty(t, heard(), "the Service tells of it")

	newNode(t, nodelocal.Config{}, orphan()) // nobody hears of it, and nothing breaks
}
