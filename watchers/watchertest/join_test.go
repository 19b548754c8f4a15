// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
)

func joined(t testing.TB) JoinFunc {
	return func(sources ...watchers.Source) watchers.Watcher {
		w, err := watchers.Join(watchers.JoinConfig{}, sources...)
		require.NoError(t, err)
		return w
	}
}

func TestJoinObeysItsLaws(t *testing.T) { TestJoin(t, joined(t)) }

// TestJoinedWatchersObeyAllLaws runs the laws of watchers with one and with several sources:
// whether all objects are those of one source, or each kind is that of another.
func TestJoinedWatchersObeyAllLaws(t *testing.T) {
	other := func(name string) watchers.Source {
		m := NewMemory()
		m.SetSynced()
		return watchers.Source{Name: name, Watcher: m}
	}
	for name, sources := range map[string]func(of watchers.Source) []watchers.Source{
		"one":   func(of watchers.Source) []watchers.Source { return []watchers.Source{of} },
		"first": func(of watchers.Source) []watchers.Source { return []watchers.Source{of, other("b")} },
		"last":  func(of watchers.Source) []watchers.Source { return []watchers.Source{other("a"), other("b"), of} },
		"nested": func(of watchers.Source) []watchers.Source {
			return []watchers.Source{{Name: "n", Watcher: joined(t)(other("a"), of)}, other("b")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			TestWatcher(t, func(t *testing.T) Harness {
				m := NewMemory()
				return objectHarness(t, m, joined(t)(sources(watchers.Source{Name: "of", Watcher: m})...))
			})
		})
	}
	t.Run("a source per kind", func(t *testing.T) {
		TestWatcher(t, func(t *testing.T) Harness {
			harnesses, sources := map[string]Harness{}, []watchers.Source(nil)
			for _, kind := range []string{"*watchers.Service", "*watchers.EndpointSlice", "*watchers.Node", "*watchers.ServiceCIDR"} {
				m := NewMemory()
				harnesses[kind] = objectHarness(t, m, m)
				sources = append(sources, watchers.Source{Name: kind, Watcher: m})
			}
			return Harness{
				Watcher:    joined(t)(sources...),
				Annotation: annotation,
				AllFields:  true,
				Set: func(objects ...watchers.Object) {
					for _, o := range objects {
						harnesses[fmt.Sprintf("%T", o)].Set(o)
					}
				},
				Remove: func(objects ...watchers.Object) {
					for _, o := range objects {
						harnesses[fmt.Sprintf("%T", o)].Remove(o)
					}
				},
			}
		})
	})
}

// TestJoinLawsDetectBrokenJoins runs all laws against joined watchers with one fault each.
// Exactly the listed laws must fail.
func TestJoinLawsDetectBrokenJoins(t *testing.T) {
	for _, c := range []struct {
		fault  string
		faults joinFaults
		laws   []string
	}{
		{"none", joinFaults{}, nil},
		{"the last source wins", joinFaults{lastWins: true}, []string{"FirstSourceWins", "ConflictsAreReported", "SlicesOfEqualNameConflict", "EqualObjectIsNoChange", "RepeatedRunKeepsOwners"}},
		{"conflicts are not reported", joinFaults{unreported: true}, []string{"FirstSourceWins", "ConflictsAreReported", "SlicesOfEqualNameConflict"}},
		{"conflicts are reported with the unused object", joinFaults{reportsContent: true}, []string{"EqualObjectIsNoChange"}},
		{"synced with the first source", joinFaults{syncedByFirst: true}, []string{"SyncedWhenAllSourcesAre", "OtherStoreStartsEmpty"}},
		{"slices of different Services coexist", joinFaults{byKeyWithService: true}, []string{"SlicesOfEqualNameConflict"}},
		{"objects of different origins conflict", joinFaults{withoutOrigin: true}, []string{"OriginsCoexist"}},
		{"one transaction per object", joinFaults{oneByOne: true}, []string{"TransactionsStayWhole"}},
		{"a second Run forgets the owners", joinFaults{forgets: true}, []string{"RepeatedRunKeepsOwners"}},
		{"objects are kept for another store", joinFaults{keepsAcrossStores: true}, []string{"OtherStoreStartsEmpty"}},
		{"leftovers are deleted at once", joinFaults{replacesAtOnce: true}, []string{"LeftoversGoWhenSynced"}},
		{"a failed source loses its objects", joinFaults{losesOnFailure: true}, []string{"FailedSourceKeepsItsObjects"}},
		{"a failure ends Run", joinFaults{endsOnFailure: true}, []string{"FailedSourceKeepsItsObjects", "RunStops"}},
		{"a failed source does not run again", joinFaults{neverRetries: true}, []string{"FailedSourceKeepsItsObjects"}},
		{"a source that was never synced runs again", joinFaults{retriesAlways: true}, []string{"FailureBeforeSyncedEndsRun"}},
		{"Run returns before its sources", joinFaults{returnsEarly: true}, []string{"RunStops"}},
		{"all sources write into one store", joinFaults{oneStore: true}, []string{
			"SyncedWhenAllSourcesAre", "FirstSourceWins", "ConflictsAreReported", "SlicesOfEqualNameConflict", "EqualObjectIsNoChange", "FailedSourceKeepsItsObjects",
			"FailureBeforeSyncedEndsRun", "RepeatedRunKeepsOwners", "OtherStoreStartsEmpty", "LeftoversGoWhenSynced",
		}},
	} {
		t.Run(c.fault, func(t *testing.T) {
			var failed []string
			for _, law := range joinLaws() {
				if joinFails(t, law, c.faults) {
					failed = append(failed, law.name)
				}
			}
			require.Equal(t, c.laws, failed)
		})
	}
}

// joinFails reports whether a law fails for a simpleJoin.
func joinFails(t *testing.T, l joinLaw, faults joinFaults) (failed bool) {
	synctest.Test(t, func(t *testing.T) {
		tb := &recorderTB{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer tb.cleanup()
			l.check(tb, func(sources ...watchers.Source) watchers.Watcher {
				return &simpleJoin{joinFaults: faults, sources: sources, merging: make(chan struct{}, 1)}
			})
		}()
		<-done
		time.Sleep(time.Minute) // sources of a Run that has returned before them
		failed = tb.failed
	})
	return failed
}
