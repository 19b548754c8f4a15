// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes/fake"
	clientevents "k8s.io/client-go/tools/events"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodeproxy/events"
)

// A fakeTakeover calls run.
type fakeTakeover struct{ run func(ctx context.Context) }

func (f fakeTakeover) Run(ctx context.Context) { f.run(ctx) }
func (fakeTakeover) Failures() uint64          { return 42 }

// TestTakeoverWaitsForTheRules checks that Takeover is called once, after the first update
// that was applied, and that it does not delay later updates.
func TestTakeoverWaitsForTheRules(t *testing.T) {
	rules := &failingSink{err: errors.New("injected")}
	called := make(chan struct{})
	p, err := newProxy(Config{
		Settings: settings(t, nil), Client: fake.NewClientset(), Rules: rules,
		Takeover: fakeTakeover{func(ctx context.Context) { close(called); <-ctx.Done() }},
	}, events.New(clientevents.NewFakeRecorder(1)))
	require.NoError(t, err)
	defer func() { require.NoError(t, p.close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- p.takeOver(ctx) }()

	d := sinktest.Driver{Sink: p.sink, Node: &localsink.Node{Name: "node-1"}}
	require.Error(t, d.Sync(t.Context(), sinktest.NewState()))
	select {
	case <-p.synced:
		t.Fatal("the rules are not in place")
	case <-called:
		t.Fatal("the rules are not in place")
	default:
	}
	rules.err = nil
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState()))
	<-called
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState()), "while Takeover runs")
	_, metrics := get(p.operatorHandler, "/metrics")
	require.Contains(t, metrics, "\nkpng_takeover_failures_total 42\n")
	cancel()
	require.NoError(t, <-ended)
}

func TestProxyWithoutTakeover(t *testing.T) {
	p := &proxy{}
	require.NoError(t, p.takeOver(t.Context()))

	p = &proxy{cfg: Config{Takeover: fakeTakeover{func(context.Context) { t.Error("called without an update") }}}, synced: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, p.takeOver(ctx))
}
