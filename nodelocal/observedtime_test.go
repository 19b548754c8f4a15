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

// TestNoticed: an update tells when the first of its causes came, also when an earlier
// attempt failed, and what means nothing to the node does not count.
func TestNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		var mu sync.Mutex
		var noticed []time.Duration // since the begin; -1 is never
		var fail error
		sink := localsink.Func(func(_ context.Context, u *localsink.Update) error {
			mu.Lock()
			defer mu.Unlock()
			since := time.Duration(-1)
			if !u.ObservedTime.IsZero() {
				since = u.ObservedTime.Sub(begun)
			}
			noticed = append(noticed, since)
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
		told := func() (out []time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			out, noticed = noticed, nil
			return out
		}
		failWith := func(err error) {
			mu.Lock()
			defer mu.Unlock()
			fail = err
		}

		wait(time.Second)
		require.Equal(t, []time.Duration{-1}, told(), "a first update has no cause")
		set("a", "10.96.0.1") // at 1 s
		wait(2 * time.Second)
		set("b", "10.96.0.2") // at 3 s
		wait(7 * time.Second)
		require.Equal(t, []time.Duration{time.Second}, told(), "one update for both")

		store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(&watchers.EndpointSlice{Namespace: "ns", Name: "nobody"}) }) // at 10 s
		wait(20 * time.Second)
		require.Empty(t, told())
		failWith(errors.New("injected"))
		set("a", "10.96.0.3") // at 30 s
		wait(50 * time.Millisecond)
		failWith(nil)
		wait(20 * time.Second)
		require.Equal(t, []time.Duration{30 * time.Second, 30 * time.Second}, told(), "each attempt")
		set("a", "10.96.0.4")
		wait(20 * time.Second)
		require.Equal(t, []time.Duration{50*time.Second + 50*time.Millisecond}, told())
		cancel()
		require.NoError(t, <-done)
	})
}
