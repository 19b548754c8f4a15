// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// TestObservedTimeIsOfFirstChange: the observed time of an update is that of the first change
// that it contains, also after a failed attempt. Changes that do not affect the node are
// ignored.
func TestObservedTimeIsOfFirstChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var mu sync.Mutex
		var observed []time.Duration // since start; -1 is unset
		var fail error
		sink := localsink.Func(func(_ context.Context, u *localsink.Update) error {
			mu.Lock()
			defer mu.Unlock()
			since := time.Duration(-1)
			if !u.ObservedTime.IsZero() {
				since = u.ObservedTime.Sub(start)
			}
			observed = append(observed, since)
			return fail
		})
		cfg := config()
		cfg.MinInterval, cfg.MaxBackoff = 10*time.Second, time.Second
		store := watchers.NewStore()
		store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
		done := make(chan error)
		go func() { done <- Follow(ctx, store, sink, cfg) }()
		wait := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		set := func(name, clusterIP string) {
			store.Update(func(tx *watchers.Tx) {
				tx.SetService(&watchers.Service{Name: watchers.ServiceName{Namespace: "ns", Name: name},
					ClusterIP: netip.MustParseAddr(clusterIP), Ports: []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 80}}})
			})
		}
		take := func() (out []time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			out, observed = observed, nil
			return out
		}
		failWith := func(err error) {
			mu.Lock()
			defer mu.Unlock()
			fail = err
		}

		wait(time.Second)
		require.Equal(t, []time.Duration{-1}, take(), "the first update has no observed time")
		set("a", "10.96.0.1") // at 1 s
		wait(2 * time.Second)
		set("b", "10.96.0.2") // at 3 s
		wait(7 * time.Second)
		require.Equal(t, []time.Duration{time.Second}, take(), "one update for both")

		store.Update(func(tx *watchers.Tx) {
			tx.SetEndpointSlice(&watchers.EndpointSlice{Namespace: "ns", Name: "unrelated"})
		}) // at 10 s
		wait(20 * time.Second)
		require.Empty(t, take())
		failWith(errors.New("injected"))
		set("a", "10.96.0.3") // at 30 s
		wait(50 * time.Millisecond)
		failWith(nil)
		wait(20 * time.Second)
		require.Equal(t, []time.Duration{30 * time.Second, 30 * time.Second}, take(), "both attempts have the time of the change")
		set("a", "10.96.0.4")
		wait(20 * time.Second)
		require.Equal(t, []time.Duration{50*time.Second + 50*time.Millisecond}, take())
		cancel()
		require.NoError(t, <-done)
	})
}
