// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package problems

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func TestProblemsAreReportedOnce(t *testing.T) {
	var log bytes.Buffer
	var warnings recorder
	d := sinktest.Driver{Sink: NewReporter(slog.New(slog.NewTextHandler(&log, nil)), warnings.record), Node: &localsink.Node{}}
	sync := func(problems ...localsink.Problem) {
		t.Helper()
		svc := service("a")
		svc.Problems = problems
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(svc)))
	}
	address := localsink.Problem{Object: "Service ns/a", Field: "spec.externalIPs[0]", Message: "invalid"}
	port := localsink.Problem{Object: "Service ns/a", Field: "spec.ports[0]", Message: "conflict"}

	sync(address)
	require.Equal(t, []string{"ServiceProblem Service ns/a: spec.externalIPs[0]: invalid"}, warnings.take())
	require.Contains(t, log.String(), `msg="Service not programmed as specified" service=ns/a object="Service ns/a" field=spec.externalIPs[0] reason=invalid`)
	sync(address, port)
	require.Equal(t, []string{"ServiceProblem Service ns/a: spec.ports[0]: conflict"}, warnings.take())
	sync(address)
	require.Empty(t, warnings.take())
	sync()
	sync(address)
	require.Len(t, warnings.take(), 1, "it is a new occurrence")
	require.Equal(t, 2, strings.Count(log.String(), "level=WARN"), "each is logged once in an hour")
	require.Equal(t, 1, strings.Count(log.String(), `msg="Services not programmed as specified" services=1 problems=1`))

	require.NoError(t, d.Sync(t.Context(), sinktest.NewState()))
	sync(address)
	require.Len(t, warnings.take(), 1, "the Service is a new one")
}

func TestReporterWithoutLoggerAndEvents(t *testing.T) {
	svc := service("a")
	svc.Problems = []localsink.Problem{{Object: "Service ns/a"}}
	require.NoError(t, NewReporter(nil, nil).Sync(t.Context(), &localsink.Update{Changed: []*localsink.Service{svc}}))
}
