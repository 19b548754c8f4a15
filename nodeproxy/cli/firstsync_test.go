// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// sequence replaces what a terminal interprets.
func sequence() *strings.Replacer { return strings.NewReplacer("\r\x1b[K", "<erase>") }

// update has two Services.
func update() *localsink.Update {
	state := sinktest.NewState(&localsink.Service{Name: localsink.ServiceName{Namespace: "a", Name: "x"}},
		&localsink.Service{Name: localsink.ServiceName{Namespace: "a", Name: "y"}})
	return sinktest.NewUpdate(&localsink.Node{Name: "node-1"}, nil, state)
}

func TestAfterAllCallsOnce(t *testing.T) {
	calls := 0
	applied := afterAll(3, func() { calls++ })
	for _, want := range []int{0, 0, 1, 1} {
		applied()
		require.Equal(t, want, calls)
	}
}

// A slow source and two sinks, of which the second one fails at first.
func TestProgressOfFirstSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var terminal strings.Builder
		p := &progress{terminal: &terminal, start: time.Now()}
		var received atomic.Bool
		p.objects = func() (int, bool) { return 7, received.Load() }
		failures := 1
		chain := localsink.Chain(append(p.show("rules", localsink.Func(func(context.Context, *localsink.Update) error {
			time.Sleep(time.Second)
			return nil
		})), p.show("flows", localsink.Func(func(context.Context, *localsink.Update) error {
			time.Sleep(300 * time.Millisecond)
			if failures--; failures == 0 {
				return errors.New("busy")
			}
			return nil
		}))...)...)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.run(ctx) }()
		drawn := func() string {
			synctest.Wait()
			p.mu.Lock() // terminal is also written by run
			defer p.mu.Unlock()
			text := sequence().Replace(terminal.String())
			terminal.Reset()
			return text
		}

		time.Sleep(950 * time.Millisecond)
		require.Empty(t, drawn(), "a short sync shows nothing")
		time.Sleep(300 * time.Millisecond)
		require.Equal(t, "[                    ] receiving, 7 objects (1.0 s)<erase>[                    ] receiving, 7 objects (1.2 s)", drawn())
		fmt.Fprintln(p.beside(&terminal), "Source is slow")
		require.Equal(t, "<erase>Source is slow\n", drawn())
		received.Store(true)
		time.Sleep(200 * time.Millisecond)
		require.Equal(t, "[======              ] resolving, 7 objects (1.4 s)", drawn())

		synced := make(chan error, 2)
		go func() { synced <- chain.Sync(ctx, update()) }()
		time.Sleep(200 * time.Millisecond)
		require.Equal(t, "<erase>[======              ] rules, 2 Services (1.6 s)", drawn())
		time.Sleep(time.Second)
		require.True(t, strings.HasSuffix(drawn(), "<erase>[=============       ] flows, 2 Services (2.6 s)"))
		require.EqualError(t, <-synced, "busy")
		go func() { synced <- chain.Sync(ctx, update()) }()
		require.NoError(t, <-synced)
		time.Sleep(200 * time.Millisecond)
		require.True(t, strings.HasSuffix(drawn(), "<erase>First sync: 2 Services in 4.2 s\n"))
		require.NoError(t, chain.Sync(ctx, update()))
		time.Sleep(time.Second)
		require.Empty(t, drawn(), "only the first sync is shown")
		cancel()
		require.NoError(t, <-ended)
		require.Empty(t, drawn())
	})
}

// An end before the first sync is complete leaves no line; a source of one node has no objects.
func TestProgressIsErasedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var terminal strings.Builder
		p := &progress{terminal: &terminal, start: time.Now()}
		p.show("rules", localsink.Func(func(context.Context, *localsink.Update) error { return nil }))
		ctx, cancel := context.WithTimeout(t.Context(), 1100*time.Millisecond)
		defer cancel()
		require.NoError(t, p.run(ctx))
		require.Equal(t, "[                    ] waiting for the server (1.0 s)<erase>", sequence().Replace(terminal.String()))
	})
}

// Without a terminal, nothing is shown and no sink is added.
func TestNoProgressWithoutTerminal(t *testing.T) {
	f := &runFlags{stderr: &strings.Builder{}}
	p := f.showProgress()
	require.Nil(t, p)
	require.Len(t, p.show("rules", localsink.Func(nil)), 1)
}
