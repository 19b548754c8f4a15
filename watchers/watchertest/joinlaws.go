// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
)

func syncedWhenAllSourcesAre(t testing.TB, join JoinFunc) {
	for _, firstLast := range []bool{true, false} {
		j := newJoinTest(join)
		early, late := j.first, j.second
		if firstLast {
			early, late = late, early
		}
		key := early.set(newService("early"))
		j.run(t, watchers.NewStore())
		require.False(t, j.snapshot().Synced(), "no source is synced")
		early.SetSynced()
		require.False(t, j.snapshot().Synced(), "one source is not synced")
		late.Update(func(tx *watchers.Tx) {
			tx.SetService(newService("late"))
			tx.SetSynced()
		})
		snap := j.snapshot()
		require.True(t, snap.Synced(), "all sources are synced")
		require.ElementsMatch(t, []watchers.Key{{Kind: watchers.KindSynced}, key, watchers.ServiceKey(serviceName("late"))}, keys(snap))
		j.stop()
	}
}

func sourcesOwnTheirObjects(t testing.TB, join JoinFunc) {
	j := startJoin(t, join)
	for _, source := range []*joinSource{j.first, j.second} {
		other := j.second
		if source == j.second {
			other = j.first
		}
		var kept []watchers.Key
		for _, v := range variants() {
			kept = append(kept, other.set(v[0]))
		}
		source.set(newService("deleted"), sliceOf("web", "deleted"), &watchers.Node{Name: "deleted"}, &watchers.ServiceCIDR{Name: "deleted"})
		require.Equal(t, 2*len(kept)+1, j.snapshot().Len())
		source.Update(func(tx *watchers.Tx) { tx.RetainAll(func(watchers.Key) bool { return false }) })
		require.ElementsMatch(t, append(kept, watchers.Key{Kind: watchers.KindSynced}), keys(j.snapshot()))
		for _, k := range kept {
			other.delete(k)
		}
		require.Equal(t, 1, j.snapshot().Len())
	}
}

func firstSourceWins(t testing.TB, join JoinFunc) {
	j := startJoin(t, join)
	has := func(key watchers.Key, want watchers.Object, what string) {
		object, problems := withoutProblems(j.get(key))
		require.Equal(t, want, object, what)
		require.NotEmpty(t, problems, what)
	}
	for _, v := range variants() {
		key := j.first.set(v[0])
		j.second.set(v[1])
		has(key, v[0], "the second source defines it later")
		j.first.delete(key)
		require.Same(t, v[1], j.get(key), "the first source has deleted it")
		j.first.set(v[0])
		has(key, v[0], "the first source defines it later")
		j.second.delete(key)
		require.Same(t, v[0], j.get(key), "the second source has deleted it")
		j.first.delete(key)
		require.Nil(t, j.get(key), "both sources have deleted it")
	}
}

func conflictsAreReported(t testing.TB, join JoinFunc) {
	j := startJoin(t, join)
	own := watchers.Problem{Object: "Node n", Field: "spec", Message: "is odd"}
	names := []string{"Service default/web", "EndpointSlice default/x", "Node n", "ServiceCIDR c"}
	for i, v := range variants() {
		key := j.first.set(v[0])
		require.Same(t, v[0], j.get(key), "one definition")
		j.second.set(v[1])
		_, problems := withoutProblems(j.get(key))
		require.Len(t, problems, 1)
		require.Equal(t, names[i], problems[0].Object)
		require.NotEmpty(t, problems[0].Field)
		require.Contains(t, problems[0].Message, "second")
		j.second.delete(key)
		require.Same(t, v[0], j.get(key), "one definition again")
	}
	j.second.set(&watchers.Node{Name: "n"})
	j.first.set(&watchers.Node{Name: "n", Problems: []watchers.Problem{own}})
	problems := j.snapshot().Node("n").Problems
	require.Len(t, problems, 2)
	require.True(t, slices.Contains(problems, own), "Problems of the object remain")
}

func slicesOfEqualNameConflict(t testing.TB, join JoinFunc) {
	const web, db, api = "web", "db", "api"
	j := startJoin(t, join)
	isOf := func(service, what string, problems int) {
		var of []string
		for _, name := range []string{web, db, api} {
			if s := find(j.snapshot(), name, "x"); s != nil {
				require.Len(t, s.Problems, problems, what)
				of = append(of, name)
			}
		}
		require.Equal(t, []string{service}, of, what)
	}
	for _, step := range []struct {
		do       func()
		service  string
		problems int
		what     string
	}{
		{func() { j.second.set(sliceOf(db, "x")) }, db, 0, "only the second source has it"},
		{func() { j.first.set(sliceOf(web, "x")) }, web, 1, "the first source has it for another Service"},
		{func() { j.second.set(sliceOf(web, "x")) }, web, 1, "the Service of the second has changed"},
		{func() { j.first.set(sliceOf(api, "x")) }, api, 1, "the Service of the first has changed"},
		{func() { j.second.set(sliceOf(db, "x")) }, api, 1, "the Service of the second has changed again"},
		{func() { j.first.DeleteEndpointSlice(namespace, "x") }, db, 0, "the first source has deleted it"},
		{func() { j.second.set(sliceOf(web, "x")) }, web, 0, "without a conflict, the Service has changed"},
		{func() { j.first.set(sliceOf(web, "x")) }, web, 1, "both have it for the same Service"},
		{func() { j.first.set(sliceOf(db, "x")) }, db, 1, "the Service of the first has changed"},
		{func() { j.second.DeleteEndpointSlice(namespace, "x") }, db, 0, "the second source has deleted it"},
	} {
		step.do()
		isOf(step.service, step.what, step.problems)
	}
	j.first.DeleteEndpointSlice(namespace, "x")
	require.Equal(t, 1, j.snapshot().Len())
}

func originsCoexist(t testing.TB, join JoinFunc) {
	j := startJoin(t, join)
	for _, origin := range []string{"", "ServiceImport"} {
		web := newService("web")
		web.Name.Origin = origin
		slice := sliceOf("web", "x")
		slice.Service = web.Name
		source := j.first
		if origin != "" {
			source = j.second
		}
		source.set(web, slice)
	}
	snap := j.snapshot()
	require.Equal(t, 5, snap.Len())
	for key, object := range snap.All() {
		_, problems := withoutProblems(object)
		require.Empty(t, problems, "%v", key)
	}
}

func transactionsStayWhole(t testing.TB, join JoinFunc) {
	j := startJoin(t, join)
	for i, source := range []*joinSource{j.first, j.second, j.first} {
		zone := string(rune('a' + i))
		before := j.snapshot()
		source.Update(func(tx *watchers.Tx) {
			for _, name := range []string{"n", "m"} {
				tx.SetNode(&watchers.Node{Name: name + zone, Zone: zone})
			}
			tx.DeleteNode("n" + string(rune('a'+i-2)))
		})
		<-before.Newer()
		snap := j.store.Snapshot()
		require.NotNil(t, snap.Node("n"+zone))
		require.NotNil(t, snap.Node("m"+zone))
		require.Nil(t, snap.Node("n"+string(rune('a'+i-2))))
		require.Same(t, snap.Snapshot, j.snapshot().Snapshot, "nothing else changes")
	}
}

func equalObjectIsNoChange(t testing.TB, join JoinFunc) {
	j := startJoin(t, join)
	for _, v := range variants() {
		j.first.set(v[0])
	}
	before := j.snapshot()
	for _, v := range variants() { // equal, at another address
		j.first.set(v[0])
	}
	require.Same(t, before.Snapshot, j.snapshot().Snapshot, "equal objects")
	for _, v := range variants() {
		j.second.set(v[0])
	}
	before = j.snapshot()
	for _, v := range variants() {
		j.second.set(v[1])
	}
	require.Same(t, before.Snapshot, j.snapshot().Snapshot, "objects that are not used")
}

func failedSourceKeepsItsObjects(t testing.TB, join JoinFunc) {
	for _, secondFails := range []bool{false, true} {
		j := startJoin(t, join)
		failed, other := j.first, j.second
		if secondFails {
			failed, other = other, failed
		}
		failed.set(newService("kept"), newService("deleted"))
		other.set(newService("other"))
		j.snapshot()
		failed.fail(errInjected)
		failed.DeleteService(serviceName("deleted"))
		failed.set(newService("added"))
		other.set(newService("changed"))
		other.DeleteService(serviceName("other"))
		snap := j.snapshot()
		require.True(t, all(hasService("kept"), hasService("deleted"))(snap), "the objects of the failed source")
		require.True(t, all(hasService("changed"), not(hasService("other")))(snap), "the changes of the other source")
		require.True(t, snap.Synced())
		time.Sleep(retryTime)
		require.True(t, all(hasService("kept"), hasService("added"), hasService("changed"), not(hasService("deleted")))(j.snapshot()), "the source runs again")
		j.stop()
	}
}

func failureBeforeSyncedEndsRun(t testing.TB, join JoinFunc) {
	for _, name := range []string{"first", "second"} {
		j := newJoinTest(join)
		failed, other := j.first, j.second
		if name == "second" {
			failed, other = other, failed
		}
		other.SetSynced()
		done := make(chan error, 1)
		go func() { done <- j.watcher.Run(t.Context(), watchers.NewStore()) }()
		settle()
		failed.fail(errInjected)
		settle()
		require.Len(t, done, 1, "Run has returned")
		err := <-done
		require.ErrorIs(t, err, errInjected)
		require.ErrorContains(t, err, name)
		require.Zero(t, other.running(), "the other source has returned")
	}
}

func repeatedRunKeepsOwners(t testing.TB, join JoinFunc) {
	j := startJoin(t, join)
	for _, v := range variants() {
		j.first.set(v[0])
	}
	j.second.set(newService("deleted"))
	before := j.snapshot()
	j.stop()
	j.first.unreachable = true
	for _, v := range variants() {
		j.second.set(v[1])
	}
	j.second.DeleteService(serviceName("deleted"))
	j.run(t, j.store)
	snap := j.snapshot()
	require.Nil(t, snap.Service(serviceName("deleted")))
	require.Equal(t, before.Len()-1, snap.Len())
	for k, want := range before.All() {
		if object, _ := withoutProblems(want); k != watchers.ServiceKey(serviceName("deleted")) {
			got, _ := withoutProblems(j.get(k))
			require.Equal(t, object, got, "an object of the source that is not reachable")
		}
	}
	j.second.set(newService("added"))
	require.True(t, hasService("added")(j.snapshot()), "a change in the second Run")
}

func otherStoreStartsEmpty(t testing.TB, join JoinFunc) {
	j := startJoin(t, join)
	j.first.set(newService("stale"))
	j.second.set(newService("web"))
	old := j.snapshot()
	j.stop()
	j.first.unreachable = true
	first := j.store
	j.run(t, watchers.NewStore())
	snap := j.snapshot()
	require.False(t, snap.Synced(), "a source is not synced")
	require.Nil(t, snap.Service(serviceName("stale")))
	require.NotNil(t, snap.Service(serviceName("web")))
	require.Same(t, old.Snapshot, first.Snapshot().Snapshot, "the other store does not change")
}

func leftoversGoWhenSynced(t testing.TB, join JoinFunc) {
	j := newJoinTest(join)
	store := watchers.NewStore()
	kept := &watchers.Service{Name: serviceName("kept"), ClusterIP: netip.MustParseAddr("10.0.0.1")}
	store.Update(func(tx *watchers.Tx) {
		tx.SetSynced()
		tx.SetService(kept)
		tx.SetService(newService("stale"))
		tx.SetEndpointSlice(sliceOf("web", "stale"))
		tx.SetEndpointSlice(sliceOf("web", "moved"))
	})
	j.run(t, store)
	j.second.set(newService("web"), sliceOf("db", "moved"))
	j.second.SetSynced()
	snap := j.snapshot()
	require.True(t, all(hasService("kept"), hasService("stale"), hasService("web"), hasSlice("web", "stale"))(snap), "one source is not synced")
	j.first.set(kept)
	j.first.SetSynced()
	require.ElementsMatch(t, []watchers.Key{
		{Kind: watchers.KindSynced}, watchers.ServiceKey(serviceName("kept")), watchers.ServiceKey(serviceName("web")),
		{Kind: watchers.KindEndpointSlice, Namespace: namespace, Name: "db", Slice: "moved"},
	}, keys(j.snapshot()))
}

func joinedRunStops(t testing.TB, join JoinFunc) {
	j := startJoin(t, join)
	require.Equal(t, 2, j.first.running()+j.second.running())
	j.first.setSlow(true)
	j.stop()
	require.Zero(t, j.first.running()+j.second.running(), "Run has returned before its sources")
	j.first.setSlow(false)
	j.run(t, j.store)
	settle()
	j.second.fail(errInjected)
	settle()
	require.Equal(t, 1, j.first.running()+j.second.running(), "the source waits before it runs again")
	j.stop()
	require.Zero(t, j.first.running()+j.second.running())
}
