// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

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

// A JoinFunc returns a watcher that joins sources in order of precedence, such as that of
// [watchers.Join].
type JoinFunc func(sources ...watchers.Source) watchers.Watcher

// TestJoin checks the laws of watchers that join several sources. Each law is a subtest of t
// in a bubble of package testing/synctest:
//
//   - SyncedWhenAllSourcesAre: the store is synced when the last source is.
//   - SourcesOwnTheirObjects: a source that deletes everything leaves the objects of others.
//   - FirstSourceWins: of an object with several definitions, the store has that of the first
//     source, in whatever order they arrive, and the next one after its deletion.
//   - ConflictsAreReported: a Problem of such an object names the object and the other
//     source. It disappears with the other definition.
//   - SlicesOfEqualNameConflict: EndpointSlices of equal namespace and name are one object,
//     even if their Services differ or change.
//   - OriginsCoexist: Services of different origins, and their slices, are different objects.
//   - TransactionsStayWhole: a transaction of a source is one transaction of the store.
//   - EqualObjectIsNoChange: an equal object, or a change of an object that is not used, does
//     not change the store.
//   - FailedSourceKeepsItsObjects: it runs again, and the others continue meanwhile.
//   - FailureBeforeSyncedEndsRun: the error of Run wraps that of the source and names it.
//   - RepeatedRunKeepsOwners: a source that is not reachable in a second Run keeps its objects
//     and their precedence, and the others apply their changes.
//   - OtherStoreStartsEmpty: a Run with another store writes no objects of earlier Runs.
//   - LeftoversGoWhenSynced: objects in the store that no source has are deleted once all
//     sources are synced.
//   - RunStops: Run returns nil after all sources have returned.
func TestJoin(t *testing.T, join JoinFunc) {
	for _, law := range joinLaws() {
		t.Run(law.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { law.check(t, join) })
		})
	}
}

type joinLaw struct {
	name  string
	check func(t testing.TB, join JoinFunc)
}

func joinLaws() []joinLaw {
	return []joinLaw{
		{"SyncedWhenAllSourcesAre", syncedWhenAllSourcesAre},
		{"SourcesOwnTheirObjects", sourcesOwnTheirObjects},
		{"FirstSourceWins", firstSourceWins},
		{"ConflictsAreReported", conflictsAreReported},
		{"SlicesOfEqualNameConflict", slicesOfEqualNameConflict},
		{"OriginsCoexist", originsCoexist},
		{"TransactionsStayWhole", transactionsStayWhole},
		{"EqualObjectIsNoChange", equalObjectIsNoChange},
		{"FailedSourceKeepsItsObjects", failedSourceKeepsItsObjects},
		{"FailureBeforeSyncedEndsRun", failureBeforeSyncedEndsRun},
		{"RepeatedRunKeepsOwners", repeatedRunKeepsOwners},
		{"OtherStoreStartsEmpty", otherStoreStartsEmpty},
		{"LeftoversGoWhenSynced", leftoversGoWhenSynced},
		{"RunStops", joinedRunStops},
	}
}

// A joinSource is a [Memory] that can fail, or be unreachable from the next Run on.
type joinSource struct {
	*Memory

	unreachable bool

	mu     sync.Mutex
	slow   bool // Run returns a moment after its end
	runs   int  // calls of Run that have not returned
	cancel context.CancelCauseFunc
}

func (s *joinSource) Run(ctx context.Context, store *watchers.Store) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.mu.Lock()
	s.runs, s.cancel = s.runs+1, cancel
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		slow := s.slow
		s.mu.Unlock()
		if slow {
			time.Sleep(time.Millisecond) // of fake time: a join that does not wait returns before
		}
		s.mu.Lock()
		s.runs--
		s.mu.Unlock()
	}()
	if s.unreachable {
		<-ctx.Done()
	} else if err := s.Memory.Run(ctx, store); err != nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// fail makes the current call of Run return an error.
func (s *joinSource) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel(err)
}

func (s *joinSource) setSlow(slow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow = slow
}

func (s *joinSource) running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs
}

// set sets objects in one transaction, and returns the key of the last.
func (s *joinSource) set(objects ...watchers.Object) (key watchers.Key) {
	s.Update(func(tx *watchers.Tx) {
		for _, o := range objects {
			key = tx.Set(o)
		}
	})
	return key
}

func (s *joinSource) delete(key watchers.Key) {
	s.Update(func(tx *watchers.Tx) { tx.Delete(key) })
}

// A joinTest is a joined watcher with two sources, of which "first" has precedence.
type joinTest struct {
	*runningWatcher

	watcher       watchers.Watcher
	first, second *joinSource
}

func newJoinTest(join JoinFunc) *joinTest {
	j := &joinTest{first: &joinSource{Memory: NewMemory()}, second: &joinSource{Memory: NewMemory()}}
	j.watcher = join(watchers.Source{Name: "first", Watcher: j.first}, watchers.Source{Name: "second", Watcher: j.second})
	return j
}

// startJoin starts a joined watcher whose sources are synced and empty.
func startJoin(t testing.TB, join JoinFunc) *joinTest {
	j := newJoinTest(join)
	j.first.SetSynced()
	j.second.SetSynced()
	j.run(t, watchers.NewStore())
	require.True(t, j.snapshot().Synced(), "all sources are synced")
	return j
}

func (j *joinTest) run(t testing.TB, store *watchers.Store) {
	j.runningWatcher = start(t, Harness{Watcher: j.watcher}, store)
}

// mergeTime is the maximum time until a change of a source is in the store.
const mergeTime = 100 * time.Millisecond

// settle returns when all changes so far have been merged.
func settle() {
	time.Sleep(mergeTime)
	synctest.Wait()
}

// snapshot returns the store after all changes so far have been merged.
func (j *joinTest) snapshot() watchers.Snapshot {
	settle()
	return j.store.Snapshot()
}

func (j *joinTest) get(key watchers.Key) watchers.Object {
	object, _ := j.snapshot().Get(key)
	return object
}

// variants returns two different definitions of one object of each kind.
func variants() [][2]watchers.Object {
	addr := netip.MustParseAddr
	port := []watchers.EndpointPort{{Port: 80, Protocol: localsink.ProtocolTCP}}
	return [][2]watchers.Object{
		{&watchers.Service{Name: serviceName("web"), ClusterIP: addr("10.0.0.1")}, &watchers.Service{Name: serviceName("web"), ClusterIP: addr("10.0.0.2")}},
		{
			&watchers.EndpointSlice{Namespace: namespace, Name: "x", Service: serviceName("web"), Family: watchers.FamilyIPv4, Ports: port},
			&watchers.EndpointSlice{Namespace: namespace, Name: "x", Service: serviceName("web"), Family: watchers.FamilyIPv6, Ports: port},
		},
		{&watchers.Node{Name: "n", Zone: "here"}, &watchers.Node{Name: "n", Zone: "there"}},
		{
			&watchers.ServiceCIDR{Name: "c", Networks: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}},
			&watchers.ServiceCIDR{Name: "c", Networks: []netip.Prefix{netip.MustParsePrefix("10.97.0.0/16")}},
		},
	}
}

// withoutProblems returns a copy of an object without its Problems, and the Problems.
func withoutProblems(object watchers.Object) (watchers.Object, []watchers.Problem) {
	switch o := object.(type) {
	case *watchers.Service:
		out := *o
		out.Problems = nil
		return &out, o.Problems
	case *watchers.EndpointSlice:
		out := *o
		out.Problems = nil
		return &out, o.Problems
	case *watchers.Node:
		out := *o
		out.Problems = nil
		return &out, o.Problems
	case *watchers.ServiceCIDR:
		out := *o
		out.Problems = nil
		return &out, o.Problems
	}
	return object, nil
}

// retryTime is longer than any delay before a failed source runs again.
const retryTime = 2 * time.Minute

var errInjected = errors.New("injected failure")
