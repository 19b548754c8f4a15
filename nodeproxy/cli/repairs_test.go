// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestRepairsOfAllSinks(t *testing.T) {
	one, two := uint64(1), uint64(2)
	var r repairs
	check := func(want uint64, wantKnown bool) {
		t.Helper()
		total, known := r.count()
		require.Equal(t, want, total)
		require.Equal(t, wantKnown, known)
	}
	check(0, true)
	r.add(NodeSink{Sink: localsink.Func(nil), Repairs: func() uint64 { return one }})
	r.add(NodeSink{Flows: localsink.Func(nil)})
	r.add(NodeSink{Sink: localsink.Func(nil), Repairs: func() uint64 { return two }})
	check(3, true)
	two++
	check(4, true)
	r.add(NodeSink{Sink: localsink.Func(nil)}) // such as a program, which may repair at any time
	check(4, false)
}
