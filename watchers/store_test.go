// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers_test

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

func service(name string) *watchers.Service {
	return &watchers.Service{Name: watchers.ServiceName{Namespace: "default", Name: name}}
}

func slice(namespace, name, service string) *watchers.EndpointSlice {
	return &watchers.EndpointSlice{
		Namespace: namespace, Name: name,
		Service: watchers.ServiceName{Namespace: namespace, Name: service}, Family: watchers.FamilyIPv4,
		Ports: []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 80}},
	}
}

func node(name string) *watchers.Node { return &watchers.Node{Name: name} }

// describe returns one line per object of a snapshot.
func describe(s watchers.Snapshot) (all []string) {
	for k := range s.All() {
		all = append(all, strings.Join([]string{
			[]string{"synced", "node", "service", "slice"}[k.Kind], k.Namespace, k.Name, k.Slice,
		}, " "))
	}
	return all
}

func sliceNames(seq iter.Seq[*watchers.EndpointSlice]) (names []string) {
	for s := range seq {
		names = append(names, s.Name)
	}
	return names
}

func TestEmptyStoreCanBeSynced(t *testing.T) {
	s := watchers.NewStore()
	snap := s.Snapshot()
	require.False(t, snap.Synced())
	require.Nil(t, snap.Service(watchers.ServiceName{Namespace: "a", Name: "b"}))
	require.Nil(t, snap.Node("n"))
	require.Empty(t, slices.Collect(snap.Services()))
	require.Empty(t, slices.Collect(snap.EndpointSlices(watchers.ServiceName{Namespace: "a", Name: "b"})))

	after := s.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	require.True(t, after.Synced(), "an empty store can be synced")
	require.False(t, snap.Synced(), "a snapshot never changes")
	<-snap.Newer()
	again := s.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	require.Same(t, after.Snapshot, again.Snapshot)
}

func TestSnapshotReturnsObjectsInOrder(t *testing.T) {
	s := watchers.NewStore()
	web, db, n := service("web"), service("db"), node("n1")
	one, two, other := slice("default", "web-1", "web"), slice("default", "web-2", "web"), slice("default", "we-1", "we")
	snap := s.Update(func(tx *watchers.Tx) {
		tx.SetEndpointSlice(two)
		tx.SetNode(n)
		tx.SetService(web)
		tx.SetEndpointSlice(other)
		tx.SetService(db)
		tx.SetEndpointSlice(one)
	})
	require.Same(t, web, snap.Service(web.Name))
	require.Same(t, n, snap.Node("n1"))
	require.Equal(t, []*watchers.Service{db, web}, slices.Collect(snap.Services()), "in name order")
	require.Equal(t, []*watchers.EndpointSlice{one, two}, slices.Collect(snap.EndpointSlices(web.Name)))
	require.Equal(t, []string{"we-1"}, sliceNames(snap.EndpointSlices(other.Service)), "a Service need not exist")
	require.Empty(t, sliceNames(snap.EndpointSlices(db.Name)))
	for range snap.Services() {
		break
	}
	for range snap.EndpointSlices(web.Name) {
		break
	}

	snap = s.Update(func(tx *watchers.Tx) {
		tx.DeleteService(db.Name)
		tx.DeleteEndpointSlice("default", "web-1")
		tx.DeleteNode("n1")
	})
	require.Equal(t, []string{"service default web ", "slice default we we-1", "slice default web web-2"}, describe(snap))
}

func TestDeletingAbsentObjectsIsNotAChange(t *testing.T) {
	s := watchers.NewStore()
	before := s.Update(func(tx *watchers.Tx) { tx.SetService(service("web")) })
	after := s.Update(func(tx *watchers.Tx) {
		tx.DeleteService(watchers.ServiceName{Namespace: "default", Name: "db"})
		tx.DeleteEndpointSlice("default", "web")
		tx.DeleteNode("web")
	})
	require.Same(t, before.Snapshot, after.Snapshot)
}

func TestSliceChangesItsService(t *testing.T) {
	s := watchers.NewStore()
	move := func(to string) watchers.Snapshot {
		return s.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice("default", "x", to)) })
	}
	move("web")
	require.Equal(t, []string{"slice default db x"}, describe(move("db")))
	require.Equal(t, []string{"slice default web x"}, describe(move("web")))
	snap := s.Update(func(tx *watchers.Tx) {
		tx.SetEndpointSlice(slice("default", "x", "db"))
		tx.SetEndpointSlice(slice("other", "x", "db"))
		tx.DeleteEndpointSlice("default", "x")
	})
	require.Equal(t, []string{"slice other db x"}, describe(snap), "the other namespace is not affected")
}

func TestTriggerTimeIsNotContent(t *testing.T) {
	s := watchers.NewStore()
	set := func(triggerTime time.Time, ready bool) watchers.Snapshot {
		x := slice("default", "x", "web")
		x.TriggerTime = triggerTime
		x.Endpoints = []watchers.Endpoint{{Addr: netip.MustParseAddr("10.0.0.1"), Ready: ready}}
		return s.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(x) })
	}
	before := set(time.Unix(1, 0), false)
	require.Same(t, before.Snapshot, set(time.Unix(2, 0), false).Snapshot)
	require.NotSame(t, before.Snapshot, set(time.Unix(3, 0), true).Snapshot)
}

func TestRetainDeletesOneKind(t *testing.T) {
	setAll := func(tx *watchers.Tx) {
		tx.SetSynced()
		for _, name := range []string{"a", "b", "c"} {
			tx.SetNode(node(name))
			tx.SetService(service(name))
			tx.SetEndpointSlice(slice("default", name+"-1", name))
		}
	}
	for _, c := range []struct {
		name    string
		kind    watchers.Kind
		keep    string
		deleted []string
	}{
		{"nodes", watchers.KindNode, "a", []string{"node  b ", "node  c "}},
		{"Services", watchers.KindService, "b", []string{"service default a ", "service default c "}},
		{"slices", watchers.KindEndpointSlice, "c", []string{"slice default a a-1", "slice default b b-1"}},
		{"none of a kind", watchers.KindNode, "-", []string{"node  a ", "node  b ", "node  c "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := watchers.NewStore()
			all := describe(s.Update(setAll))
			snap := s.Update(func(tx *watchers.Tx) {
				tx.Retain(c.kind, func(k watchers.Key) bool {
					require.Equal(t, c.kind, k.Kind)
					return k.Name == c.keep
				})
			})
			for _, deleted := range c.deleted {
				require.Contains(t, all, deleted)
				all = slices.DeleteFunc(all, func(s string) bool { return s == deleted })
			}
			require.Equal(t, all, describe(snap), "nothing else is deleted")
			require.Len(t, describe(s.Update(setAll)), 10, "deleted objects can be set again")
		})
	}
}

// TestSliceDeletedByRetainCanChangeItsService sets a slice that Retain has deleted again, with
// another Service.
func TestSliceDeletedByRetainCanChangeItsService(t *testing.T) {
	s := watchers.NewStore()
	s.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice("default", "x", "web")) })
	snap := s.Update(func(tx *watchers.Tx) {
		tx.Retain(watchers.KindEndpointSlice, func(watchers.Key) bool { return false })
	})
	require.Empty(t, describe(snap))
	snap = s.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice("default", "x", "db")) })
	require.Equal(t, []string{"slice default db x"}, describe(snap))
	snap = s.Update(func(tx *watchers.Tx) { tx.DeleteEndpointSlice("default", "x") })
	require.Empty(t, describe(snap))
}

// TestContentIsIndependentOfHistory applies the same final writes in random order after
// random earlier writes.
func TestContentIsIndependentOfHistory(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	pick := func(rng *rand.Rand) string { return names[rng.IntN(len(names))] }
	final := []func(tx *watchers.Tx){
		func(tx *watchers.Tx) { tx.SetSynced() },
		func(tx *watchers.Tx) { tx.SetService(service("a")) },
		func(tx *watchers.Tx) { tx.DeleteService(watchers.ServiceName{Namespace: "default", Name: "b"}) },
		func(tx *watchers.Tx) { tx.DeleteService(watchers.ServiceName{Namespace: "default", Name: "c"}) },
		func(tx *watchers.Tx) { tx.SetService(service("d")) },
		func(tx *watchers.Tx) { tx.SetEndpointSlice(slice("default", "a", "a")) },
		func(tx *watchers.Tx) { tx.SetEndpointSlice(slice("default", "b", "a")) },
		func(tx *watchers.Tx) { tx.SetEndpointSlice(slice("default", "c", "d")) },
		func(tx *watchers.Tx) { tx.DeleteEndpointSlice("default", "d") },
		func(tx *watchers.Tx) { tx.DeleteNode("a") },
		func(tx *watchers.Tx) { tx.DeleteNode("b") },
		func(tx *watchers.Tx) { tx.DeleteNode("c") },
		func(tx *watchers.Tx) { tx.SetNode(node("d")) },
	}
	noise := func(rng *rand.Rand, tx *watchers.Tx) {
		switch rng.IntN(6) {
		case 0:
			tx.SetService(service(pick(rng)))
		case 1:
			tx.SetEndpointSlice(slice("default", pick(rng), pick(rng)))
		case 2:
			tx.SetNode(node(pick(rng)))
		case 3:
			tx.DeleteEndpointSlice("default", pick(rng))
		case 4:
			keep := pick(rng)
			tx.Retain(watchers.KindEndpointSlice, func(k watchers.Key) bool { return k.Slice == keep })
		case 5:
			keep := pick(rng)
			tx.Retain(watchers.KindService, func(k watchers.Key) bool { return k.Name == keep })
		}
	}
	want := []string{
		"synced   ", "node  d ", "service default a ", "service default d ",
		"slice default a a", "slice default a b", "slice default d c",
	}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := watchers.NewStore()
		for range rng.IntN(40) {
			s.Update(func(tx *watchers.Tx) { noise(rng, tx) })
		}
		for _, i := range rng.Perm(len(final)) {
			s.Update(final[i])
		}
		require.Equal(t, want, describe(s.Snapshot()), "seed %d", seed)
	}
}

func TestReaderYieldsMovedSliceOnce(t *testing.T) {
	s := watchers.NewStore()
	r := s.Reader()
	defer r.Close()
	s.Update(func(tx *watchers.Tx) { tx.SetNode(node("n1")) })
	s.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice("default", "x", "web")) })
	s.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice("default", "x", "db")) })
	_, changes := r.Pending()
	var keys []watchers.Key
	for c := range changes {
		require.False(t, c.Deleted)
		keys = append(keys, c.Key)
	}
	require.Equal(t, []watchers.Key{
		watchers.NodeKey("n1"),
		{Kind: watchers.KindEndpointSlice, Namespace: "default", Name: "db", Slice: "x"},
	}, keys, "the slice has only its new key")
}

func TestKeysAreOrdered(t *testing.T) {
	name := watchers.ServiceName{Namespace: "default", Name: "web"}
	require.Equal(t, name, watchers.ServiceKey(name).Service())
	sorted := []watchers.Key{
		{Kind: watchers.KindSynced},
		watchers.NodeKey("n"),
		{Kind: watchers.KindService, Namespace: "a", Name: "z"},
		{Kind: watchers.KindService, Namespace: "b", Name: "a"},
		{Kind: watchers.KindService, Namespace: "b", Name: "b"},
		{Kind: watchers.KindEndpointSlice, Namespace: "a", Name: "a", Slice: "y"},
		{Kind: watchers.KindEndpointSlice, Namespace: "a", Name: "a", Slice: "z"},
	}
	for i, a := range sorted {
		for j, b := range sorted {
			require.Equal(t, i-j < 0, a.Compare(b) < 0, "%v, %v", a, b)
			require.Equal(t, i == j, a.Compare(b) == 0, "%v, %v", a, b)
		}
	}
}

func TestFamilyOf(t *testing.T) {
	require.Equal(t, watchers.FamilyIPv4, watchers.FamilyOf(netip.MustParseAddr("10.0.0.1")))
	require.Equal(t, watchers.FamilyIPv6, watchers.FamilyOf(netip.MustParseAddr("fd00::1")))
	require.Zero(t, watchers.FamilyOf(netip.Addr{}))
}

func TestFuncCallsTheFunction(t *testing.T) {
	failed, s := errors.New("failed"), watchers.NewStore()
	w := watchers.Func(func(ctx context.Context, store *watchers.Store) error {
		require.Equal(t, t.Context(), ctx)
		require.Same(t, s, store)
		return failed
	})
	require.Equal(t, failed, w.Run(t.Context(), s))
}

// TestPackageImportsNoKubernetes keeps the cluster state usable without a Kubernetes client.
func TestPackageImportsNoKubernetes(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "sigs.k8s.io/kpng/diffstore")
	for dep := range strings.FieldsSeq(string(out)) {
		require.False(t, strings.HasPrefix(dep, "k8s.io/"), dep)
	}
}
