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
	require.Zero(t, r.count())
	r.add(NodeSink{Sink: localsink.Func(nil), Repairs: func() uint64 { return one }})
	r.add(NodeSink{Flows: localsink.Func(nil)})
	r.add(NodeSink{Sink: localsink.Func(nil), Repairs: func() uint64 { return two }})
	require.EqualValues(t, 3, r.count())
	two++
	require.EqualValues(t, 4, r.count())
	r.add(NodeSink{Sink: localsink.Func(nil)}) // such as a program, which may repair at any time
	require.NotEqual(t, r.count(), r.count())
}
