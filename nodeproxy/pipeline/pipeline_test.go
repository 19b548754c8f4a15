// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodeproxy/httpserver"
)

// A fakeTakeover calls run.
type fakeTakeover struct{ run func(ctx context.Context) }

func (f fakeTakeover) Run(ctx context.Context) { f.run(ctx) }
func (fakeTakeover) Failures() uint64          { return 42 }

// TestTakeoverWaitsForTheRules checks that Takeover is called once, after the first update
// that was applied, and that it does not delay later updates.
func TestTakeoverWaitsForTheRules(t *testing.T) {
	fail := errors.New("injected")
	called := make(chan struct{})
	p, err := New(Config{
		Rules:    localsink.Func(func(context.Context, *localsink.Update) error { return fail }),
		Takeover: fakeTakeover{func(ctx context.Context) { close(called); <-ctx.Done() }},
		Limiter:  httpserver.NewLimiter(httpserver.LimiterConfig{}),
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- p.RunTakeover(ctx) }()

	d := sinktest.Driver{Sink: p, Node: &localsink.Node{Name: "node-1"}}
	require.Error(t, d.Sync(t.Context(), sinktest.NewState()))
	select {
	case <-p.synced:
		t.Fatal("the rules are not in place")
	case <-called:
		t.Fatal("the rules are not in place")
	default:
	}
	fail = nil
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState()))
	<-called
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState()), "while Takeover runs")
	require.Equal(t, uint64(42), p.takeoverFailures())
	cancel()
	require.NoError(t, <-ended)
}

func TestPipelineWithoutTakeover(t *testing.T) {
	p := &Pipeline{}
	require.NoError(t, p.RunTakeover(t.Context()))

	p = &Pipeline{cfg: Config{Takeover: fakeTakeover{func(context.Context) { t.Error("called without an update") }}}, synced: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, p.RunTakeover(ctx))
}

// TestRequiredFields checks that the error names the field.
func TestRequiredFields(t *testing.T) {
	_, err := New(Config{Limiter: httpserver.NewLimiter(httpserver.LimiterConfig{})})
	require.EqualError(t, err, "pipeline: Rules: required")
	_, err = New(Config{Rules: localsink.Tee()})
	require.EqualError(t, err, "pipeline: Limiter: required")
}
