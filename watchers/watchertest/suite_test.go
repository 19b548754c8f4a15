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

// annotation is Harness.Annotation in these tests.
const annotation = "watchertest.example/mode"

// harness returns a harness of a watcher whose source is a memory.
func harness(t testing.TB, m *Memory, w watchers.Watcher) Harness {
	m.SetSynced()
	extend, err := kubeapi.CopyKeys(annotation)
	require.NoError(t, err)
	converter := kubeapi.Converter{Extend: extend}
	return Harness{
		Watcher:    w,
		Annotation: annotation,
		Apply: func(objects ...APIObject) {
			for _, o := range objects {
				converted, err := converter.Object(o)
				require.NoError(t, err)
				m.Update(func(tx *watchers.Tx) { tx.Set(converted) })
			}
		},
		Delete: func(objects ...APIObject) {
			for _, o := range objects {
				switch o := o.(type) {
				case *corev1.Service:
					m.DeleteService(serviceName(o.Name))
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

// objectHarness is like harness, with the objects of package watchers.
func objectHarness(_ testing.TB, m *Memory, w watchers.Watcher) Harness {
	m.SetSynced()
	return Harness{
		Watcher: w,
		Set: func(objects ...watchers.Object) {
			for _, o := range objects { // one write each, as in harness
				m.Update(func(tx *watchers.Tx) { tx.Set(o) })
			}
		},
		Remove: func(objects ...watchers.Object) {
			for _, o := range objects {
				m.Update(func(tx *watchers.Tx) { tx.Delete(tx.Set(o)) }) // Set returns the key
			}
		},
		Annotation: annotation,
		AllFields:  true,
	}
}

func TestMemoryObeysAllLaws(t *testing.T) {
	TestWatcher(t, func(t *testing.T) Harness {
		m := NewMemory()
		return harness(t, m, m)
	})
}

func TestMemoryOfLibraryObjectsObeysAllLaws(t *testing.T) {
	TestWatcher(t, func(t *testing.T) Harness {
		m := NewMemory()
		return objectHarness(t, m, m)
	})
}

func TestIncompleteHarnessFails(t *testing.T) {
	m := NewMemory()
	both := harness(t, m, m)
	both.Set, both.Remove = objectHarness(t, m, m).Set, objectHarness(t, m, m).Remove
	for name, h := range map[string]Harness{
		"nothing":    {},
		"no watcher": {Set: both.Set, Remove: both.Remove},
		"no Remove":  {Watcher: m, Set: both.Set},
		"both forms": both,
		"AllFields":  {Watcher: m, Apply: both.Apply, Delete: both.Delete, AllFields: true},
	} {
		tb := &recorderTB{TB: t}
		check, done := h.withAPIObjects, make(chan struct{})
		go func() { // FailNow of a recorderTB ends its goroutine
			defer close(done)
			check(tb)
		}()
		<-done
		require.True(t, tb.failed, name)
	}
}

// TestLawsDetectBrokenWatchers runs all laws against watchers with one fault each. Exactly
// the listed laws must fail.
func TestLawsDetectBrokenWatchers(t *testing.T) {
	for _, c := range []struct {
		fault string
		laws  []string
		run   func(m *Memory, end <-chan struct{}) watchers.Func // end is closed after the law
	}{
		{"none", nil, func(m *Memory, _ <-chan struct{}) watchers.Func { return m.Run }},
		{"an empty source never syncs", []string{"EmptySourceSyncs"}, syncedBy(func(tx *watchers.Tx, current watchers.Snapshot) {
			if current.Len() > 1 {
				tx.SetSynced()
			}
		})},
		{"synced too early", []string{"SyncedHoldsAll", "MetadataIsNotAChange", "SliceChangesService", "RunStops"}, syncedTooEarly},
		{"Services are not deleted", []string{"FollowsServices", "KeepsAllFields", "RunCanBeRepeated"}, restoreDeleted(func(tx *watchers.Tx, o watchers.Object) {
			if s, ok := o.(*watchers.Service); ok {
				tx.SetService(s)
			}
		})},
		{"slices are not deleted", []string{"FollowsEndpointSlices", "KeepsAllFields", "SliceChangesService", "RunCanBeRepeated"}, restoreDeleted(func(tx *watchers.Tx, o watchers.Object) {
			if s, ok := o.(*watchers.EndpointSlice); ok {
				tx.SetEndpointSlice(s)
			}
		})},
		{"nodes are not deleted", []string{"FollowsNodes", "KeepsAllFields", "RunCanBeRepeated"}, restoreDeleted(func(tx *watchers.Tx, o watchers.Object) {
			if n, ok := o.(*watchers.Node); ok {
				tx.SetNode(n)
			}
		})},
		{"each write of the source is a change", []string{"EmptySourceSyncs", "SyncedHoldsAll", "KeepsAllFields", "MetadataIsNotAChange"}, countWrites},
		{"extensions are lost", []string{"FollowsExtensions", "KeepsAllFields"}, changeServices(func(s *watchers.Service, _ watchers.Snapshot) {
			s.Extensions = watchers.Extensions{}
		})},
		{"an extension is never deleted", []string{"FollowsExtensions", "KeepsAllFields"}, changeServices(func(s *watchers.Service, old watchers.Snapshot) {
			if before := old.Service(s.Name); before != nil {
				s.Extensions = s.Extensions.With(before.Extensions)
			}
		})},
		{"the selection of ports is lost", []string{"KeepsAllFields"}, changeServices(func(s *watchers.Service, _ watchers.Snapshot) {
			s.Ports = slices.Clone(s.Ports)
			for i := range s.Ports {
				s.Ports[i].Selection = 0
			}
		})},
		{"deletions between two calls of Run are missed", []string{"RunCanBeRepeated"}, applyChangesOnly},
		{"Run returns the error of its context", everyLaw(), func(m *Memory, _ <-chan struct{}) watchers.Func {
			return func(ctx context.Context, s *watchers.Store) error { return errors.Join(m.Run(ctx, s), ctx.Err()) }
		}},
		{"Run does not return", everyLaw(), func(m *Memory, end <-chan struct{}) watchers.Func {
			return func(ctx context.Context, s *watchers.Store) error {
				err := m.Run(ctx, s)
				<-end
				return err
			}
		}},
		{"Run leaks a goroutine", []string{"RunStops"}, func(m *Memory, end <-chan struct{}) watchers.Func {
			return func(ctx context.Context, s *watchers.Store) error {
				go func() { <-end }()
				return m.Run(ctx, s)
			}
		}},
		{"Run returns an error", everyLaw(), func(*Memory, <-chan struct{}) watchers.Func {
			return func(context.Context, *watchers.Store) error { return errors.New("injected") }
		}},
	} {
		t.Run(c.fault, func(t *testing.T) {
			for _, form := range []harnessForm{harness, objectHarness} {
				want, failed := lawsOf(t, form, c.laws, c.run)
				require.Equal(t, want, failed)
			}
		})
	}
}

// lawsOf returns those of the given laws that apply to a form of harness, and the laws that fail.
func lawsOf(t *testing.T, form harnessForm, names []string, run func(m *Memory, end <-chan struct{}) watchers.Func) (want, failed []string) {
	for _, law := range laws() {
		if m := NewMemory(); law.missing(form(t, m, m)) != "" {
			continue
		}
		if slices.Contains(names, law.name) {
			want = append(want, law.name)
		}
		if fails(t, law, form, run) {
			failed = append(failed, law.name)
		}
	}
	return want, failed
}

type harnessForm func(t testing.TB, m *Memory, w watchers.Watcher) Harness

func everyLaw() (names []string) {
	for _, l := range laws() {
		names = append(names, l.name)
	}
	return names
}

// fails reports whether a law fails for a watcher. Time is simulated, so timeouts of the law
// take no real time.
func fails(t *testing.T, l law, form harnessForm, run func(m *Memory, end <-chan struct{}) watchers.Func) (failed bool) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		m := NewMemory()
		tb := &recorderTB{TB: t}
		h := form(tb, m, run(m, end)).withAPIObjects(tb)
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer tb.cleanup()
			l.check(tb, h)
		}()
		<-done
		failed = tb.failed
	})
	return failed
}

// A recorderTB records failures without failing the test.
type recorderTB struct {
	testing.TB
	failed   bool
	cleanups []func()
}

func (r *recorderTB) Helper()                   {}
func (r *recorderTB) Errorf(string, ...any)     { r.failed = true }
func (r *recorderTB) Cleanup(fn func())         { r.cleanups = append(r.cleanups, fn) }
func (r *recorderTB) Logf(string, ...any)       {}
func (r *recorderTB) FailNow()                  { r.failed = true; runtime.Goexit() }
func (r *recorderTB) Fatalf(f string, a ...any) { r.FailNow() }

func (r *recorderTB) cleanup() {
	for _, fn := range slices.Backward(r.cleanups) {
		func() {
			done := make(chan struct{})
			go func() { defer close(done); fn() }()
			<-done
		}()
	}
}

// eachState returns a watcher that calls write with each state of m.
func eachState(m *Memory, write func(tx *watchers.Tx, old, current watchers.Snapshot)) watchers.Func {
	return func(ctx context.Context, store *watchers.Store) error {
		old := watchers.NewStore().Snapshot()
		for {
			current := m.source.Snapshot()
			store.Update(func(tx *watchers.Tx) { write(tx, old, current) })
			old = current
			select {
			case <-ctx.Done():
				return nil
			case <-current.Newer():
			}
		}
	}
}

// replaceObjects replaces all objects but not the synced marker.
func replaceObjects(tx *watchers.Tx, current watchers.Snapshot) {
	unsynced := watchers.NewStore().Update(func(other *watchers.Tx) {
		for k, o := range current.All() {
			if k.Kind != watchers.KindSynced {
				set(other, k, o)
			}
		}
	})
	replaceAll(tx, unsynced)
}

// syncedBy replaces all objects and leaves the synced marker to mark.
func syncedBy(mark func(tx *watchers.Tx, current watchers.Snapshot)) func(*Memory, <-chan struct{}) watchers.Func {
	return func(m *Memory, _ <-chan struct{}) watchers.Func {
		return eachState(m, func(tx *watchers.Tx, _, current watchers.Snapshot) {
			replaceObjects(tx, current)
			mark(tx, current)
		})
	}
}

// syncedTooEarly marks the store as synced one second before it sets the objects.
func syncedTooEarly(m *Memory, _ <-chan struct{}) watchers.Func {
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

// restoreDeleted sets deleted objects again, as if their deletion had been missed.
func restoreDeleted(restore func(tx *watchers.Tx, o watchers.Object)) func(*Memory, <-chan struct{}) watchers.Func {
	return func(m *Memory, _ <-chan struct{}) watchers.Func {
		var all []watchers.Object
		return eachState(m, func(tx *watchers.Tx, _, current watchers.Snapshot) {
			replaceAll(tx, current)
			for _, o := range all {
				if !contains(current, o) {
					restore(tx, o)
				}
			}
			for _, o := range current.All() {
				all = append(all, o)
			}
		})
	}
}

// changeServices changes a copy of each Service. change gets the last state of the source.
func changeServices(change func(s *watchers.Service, old watchers.Snapshot)) func(*Memory, <-chan struct{}) watchers.Func {
	return func(m *Memory, _ <-chan struct{}) watchers.Func {
		return eachState(m, func(tx *watchers.Tx, old, current watchers.Snapshot) {
			replaceAll(tx, current)
			for s := range current.Services() {
				changed := *s
				change(&changed, old)
				tx.SetService(&changed)
			}
		})
	}
}

// contains reports whether a snapshot has an object with the key of o.
func contains(s watchers.Snapshot, o watchers.Object) bool {
	switch o := o.(type) {
	case *watchers.Service:
		return s.Service(o.Name) != nil
	case *watchers.EndpointSlice:
		_, ok := s.Get(watchers.Key{Kind: watchers.KindEndpointSlice, Namespace: o.Namespace, Name: o.Service.Name, Slice: o.Name, Origin: o.Service.Origin})
		return ok
	case *watchers.Node:
		return s.Node(o.Name) != nil
	case *watchers.ServiceCIDR:
		return hasServiceCIDR(o.Name, o.Networks[0].String())(s)
	}
	return true
}

// countWrites counts the writes in an object of its own, as if resource versions were content.
func countWrites(m *Memory, _ <-chan struct{}) watchers.Func {
	n := 0
	return eachState(m, func(tx *watchers.Tx, _, current watchers.Snapshot) {
		n++
		replaceAll(tx, current)
		tx.SetNode(&watchers.Node{Name: strings.Repeat("x", 20), Zone: fmt.Sprint(n)})
	})
}

// applyChangesOnly does not remove, in a second Run, objects of the first.
func applyChangesOnly(m *Memory, _ <-chan struct{}) watchers.Func {
	return eachState(m, applyChanges)
}
