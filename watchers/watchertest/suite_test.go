// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tell makes a harness of a watcher and the memory that it gets its facts from.
func tell(t testing.TB, m *Memory, w watchers.Watcher) Harness {
	m.SetSynced()
	return Harness{
		Watcher: w,
		Apply: func(objects ...Object) {
			for _, o := range objects {
				switch o := o.(type) {
				case *corev1.Service:
					m.SetService(kubeapi.Service(o))
				case *discoveryv1.EndpointSlice:
					s, err := kubeapi.EndpointSlice(o)
					require.NoError(t, err)
					m.SetEndpointSlice(s)
				case *corev1.Node:
					m.SetNode(kubeapi.Node(o))
				case *networkingv1.ServiceCIDR:
					m.SetServiceCIDR(kubeapi.ServiceCIDR(o))
				}
			}
		},
		Delete: func(objects ...Object) {
			for _, o := range objects {
				switch o := o.(type) {
				case *corev1.Service:
					m.DeleteService(id(o.Name))
				case *discoveryv1.EndpointSlice:
					m.DeleteEndpointSlice(o.Namespace, o.Name)
				case *corev1.Node:
					m.DeleteNode(o.Name)
				case *networkingv1.ServiceCIDR:
					m.DeleteServiceCIDR(o.Name)
				}
			}
		},
	}
}

func TestMemory(t *testing.T) {
	Test(t, func(t *testing.T) Harness {
		m := NewMemory()
		return tell(t, m, m)
	})
}

// TestLawsCatch proves that laws can fail: each watcher here has one fault, and
// exactly the laws named beside it say so.
func TestLawsCatch(t *testing.T) {
	for _, c := range []struct {
		fault string
		laws  []string
		run   func(m *Memory, end <-chan struct{}) watchers.Func
	}{
		{"none", nil, func(m *Memory, _ <-chan struct{}) watchers.Func { return m.Run }},
		{"an empty source is never complete", []string{"EmptySourceSyncs"}, filter(func(tx *watchers.Tx, now watchers.Snapshot) {
			if now.Len() > 1 {
				tx.SetSynced()
			}
		})},
		{"complete too early", []string{"SyncedHoldsAll", "MetadataIsNoChange", "SliceMoves", "Stops"}, early},
		{"Services are not deleted", []string{"FollowsServices", "RunsAgain"}, resurrect(func(tx *watchers.Tx, f watchers.Object) {
			if s, ok := f.(*watchers.Service); ok {
				tx.SetService(s)
			}
		})},
		{"slices are not deleted", []string{"FollowsEndpointSlices", "SliceMoves", "RunsAgain"}, resurrect(func(tx *watchers.Tx, f watchers.Object) {
			if s, ok := f.(*watchers.EndpointSlice); ok {
				tx.SetEndpointSlice(s)
			}
		})},
		{"nodes are not deleted", []string{"FollowsNodes", "RunsAgain"}, resurrect(func(tx *watchers.Tx, f watchers.Object) {
			if n, ok := f.(*watchers.Node); ok {
				tx.SetNode(n)
			}
		})},
		{"each write is a change", []string{"EmptySourceSyncs", "SyncedHoldsAll", "MetadataIsNoChange"}, touch},
		{"what went between two Runs stays", []string{"RunsAgain"}, forgetful},
		{"the error of the context", everyLaw(), func(m *Memory, _ <-chan struct{}) watchers.Func {
			return func(ctx context.Context, s *watchers.Store) error { return errors.Join(m.Run(ctx, s), ctx.Err()) }
		}},
		{"no end", everyLaw(), func(m *Memory, end <-chan struct{}) watchers.Func {
			return func(ctx context.Context, s *watchers.Store) error {
				err := m.Run(ctx, s)
				<-end
				return err
			}
		}},
		{"a goroutine is left", []string{"Stops"}, func(m *Memory, end <-chan struct{}) watchers.Func {
			return func(ctx context.Context, s *watchers.Store) error {
				go func() { <-end }()
				return m.Run(ctx, s)
			}
		}},
		{"gives up", everyLaw(), func(*Memory, <-chan struct{}) watchers.Func {
			return func(context.Context, *watchers.Store) error { return errors.New("too hard") }
		}},
	} {
		t.Run(c.fault, func(t *testing.T) {
			var failed []string
			for _, law := range laws() {
				if fails(t, law, c.run) {
					failed = append(failed, law.name)
				}
			}
			require.Equal(t, c.laws, failed)
		})
	}
}

func everyLaw() (names []string) {
	for _, l := range laws() {
		names = append(names, l.name)
	}
	return names
}

// fails reports whether a law finds fault with a watcher. Time is not real, so
// waiting for what does not come takes none.
func fails(t *testing.T, l law, run func(m *Memory, end <-chan struct{}) watchers.Func) (failed bool) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		m := NewMemory()
		tb := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer tb.cleanup()
			l.check(tb, tell(tb, m, run(m, end)))
		}()
		<-done
		failed = tb.failed
	})
	return failed
}

// A recorder is a test that may fail without failing the test it is in.
type recorder struct {
	testing.TB
	failed   bool
	cleanups []func()
}

func (r *recorder) Helper()                   {}
func (r *recorder) Errorf(string, ...any)     { r.failed = true }
func (r *recorder) Cleanup(fn func())         { r.cleanups = append(r.cleanups, fn) }
func (r *recorder) Logf(string, ...any)       {}
func (r *recorder) FailNow()                  { r.failed = true; runtime.Goexit() }
func (r *recorder) Fatalf(f string, a ...any) { r.FailNow() }

func (r *recorder) cleanup() {
	for _, fn := range slices.Backward(r.cleanups) {
		func() {
			done := make(chan struct{})
			go func() { defer close(done); fn() }()
			<-done
		}()
	}
}

// states writes to the store, for each state of m, what write does of it.
func states(m *Memory, write func(tx *watchers.Tx, old, now watchers.Snapshot)) watchers.Func {
	return func(ctx context.Context, store *watchers.Store) error {
		old := watchers.NewStore().Snapshot()
		for {
			now := m.source.Snapshot()
			store.Update(func(tx *watchers.Tx) { write(tx, old, now) })
			old = now
			select {
			case <-ctx.Done():
				return nil
			case <-now.Newer():
			}
		}
	}
}

// facts writes everything but the marker.
func facts(tx *watchers.Tx, now watchers.Snapshot) {
	replaceUnmarked := watchers.NewStore().Update(func(other *watchers.Tx) {
		for k, f := range now.All() {
			if k.Kind != watchers.KindSynced {
				set(other, k, f)
			}
		}
	})
	replace(tx, replaceUnmarked)
}

// filter leaves the marker to a function.
func filter(mark func(tx *watchers.Tx, now watchers.Snapshot)) func(*Memory, <-chan struct{}) watchers.Func {
	return func(m *Memory, _ <-chan struct{}) watchers.Func {
		return states(m, func(tx *watchers.Tx, _, now watchers.Snapshot) {
			facts(tx, now)
			mark(tx, now)
		})
	}
}

// early marks the store first, and takes its time to fill it.
func early(m *Memory, _ <-chan struct{}) watchers.Func {
	return func(ctx context.Context, store *watchers.Store) error {
		store.Update((*watchers.Tx).SetSynced)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
			return m.Run(ctx, store)
		}
	}
}

// resurrect sets again what was deleted, as if the deletion had not been heard.
func resurrect(again func(tx *watchers.Tx, f watchers.Object)) func(*Memory, <-chan struct{}) watchers.Func {
	return func(m *Memory, _ <-chan struct{}) watchers.Func {
		var all []watchers.Object
		return states(m, func(tx *watchers.Tx, _, now watchers.Snapshot) {
			replace(tx, now)
			for _, f := range all {
				if !present(now, f) {
					again(tx, f)
				}
			}
			for _, f := range now.All() {
				all = append(all, f)
			}
		})
	}
}

func present(s watchers.Snapshot, f watchers.Object) bool {
	switch f := f.(type) {
	case *watchers.Service:
		return s.Service(f.Name) != nil
	case *watchers.EndpointSlice:
		return hasSlice(f.Service.Name, f.Name)(s)
	case *watchers.Node:
		return s.Node(f.Name) != nil
	case *watchers.ServiceCIDR:
		return hasNetwork(f.Name, f.Networks[0].String())(s)
	}
	return true
}

// touch counts the writes in a fact of its own, as if versions were content.
func touch(m *Memory, _ <-chan struct{}) watchers.Func {
	n := 0
	return states(m, func(tx *watchers.Tx, _, now watchers.Snapshot) {
		n++
		replace(tx, now)
		tx.SetNode(&watchers.Node{Name: strings.Repeat("x", 20), Zone: fmt.Sprint(n)})
	})
}

// forgetful does not know, in a second Run, what it has written in the first.
func forgetful(m *Memory, _ <-chan struct{}) watchers.Func {
	return states(m, advance)
}
