// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

func TestJoinRejectsInvalidSources(t *testing.T) {
	w := watchertest.NewMemory()
	for want, sources := range map[string][]watchers.Source{
		"watchers: Join: sources: at least one is required":                     nil,
		`watchers: Join: sources[1].Name: "" is empty`:                          {{Name: "a", Watcher: w}, {Watcher: w}},
		`watchers: Join: sources[1].Name: "a" is the name of an earlier source`: {{Name: "a", Watcher: w}, {Name: "a", Watcher: w}},
		"watchers: Join: source b: Watcher: required":                           {{Name: "a", Watcher: w}, {Name: "b"}},
	} {
		_, err := watchers.Join(watchers.JoinConfig{}, sources...)
		require.EqualError(t, err, want)
	}
	_, err := watchers.Join(watchers.JoinConfig{}, watchers.Source{Name: "a\nb", Watcher: w})
	require.ErrorContains(t, err, `sources[0].Name: "a\nb"`)
}

// TestJoinOneSourceWritesDirectly checks that one source has no store of its own.
func TestJoinOneSourceWritesDirectly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newJoinModel(t, 1)
		defer m.stop()
		require.Same(t, m.store, m.sources[0].current())
		m.sources[0].update((*watchers.Tx).SetSynced)
		m.sources[0].fail <- errors.New("injected failure")
		synctest.Wait()
		time.Sleep(time.Minute)
		require.Same(t, m.store, m.sources[0].current(), "after it has failed, too")
	})
}

// TestJoinLimitsProblems adds the Problem of a conflict to an object with the maximum
// number of Problems. Any store keeps the result as it is.
func TestJoinLimitsProblems(t *testing.T) {
	for _, c := range []struct {
		own, want int
		last      string
	}{
		{0, 1, "source source-0 is used; also defined by source-1"},
		{31, 32, "30"},
		{32, 33, "31"},
		{33, 33, "2 further problems of the object"},
		{40, 33, "9 further problems of the object"},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newJoinModel(t, 2)
			defer m.stop()
			node := &watchers.Node{Name: "n"}
			for i := range c.own {
				node.Problems = append(node.Problems, watchers.Problem{Object: "Node n", Field: "f", Message: fmt.Sprint(i)})
			}
			for _, s := range m.sources {
				s.update(func(tx *watchers.Tx) { tx.SetNode(node) })
			}
			got := m.store.Snapshot().Node("n")
			require.Len(t, got.Problems, c.want)
			require.Equal(t, "Node n: metadata.name: source source-0 is used; also defined by source-1", got.Problems[0].String())
			require.Equal(t, c.last, got.Problems[c.want-1].Message)
			again := watchers.NewStore().Update(func(tx *watchers.Tx) { tx.SetNode(got) })
			require.Same(t, got, again.Node("n"))
		})
	}
}

func TestJoinRetriesWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var starts []time.Time
		runs := []time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 0, 2 * time.Minute, 0}
		w, err := watchers.Join(watchers.JoinConfig{}, watchers.Source{Name: "a", Watcher: watchers.Func(func(ctx context.Context, store *watchers.Store) error {
			store.Update((*watchers.Tx).SetSynced)
			starts = append(starts, time.Now())
			if len(starts) > len(runs) {
				<-ctx.Done()
				return nil
			}
			time.Sleep(runs[len(starts)-1])
			if len(starts)%2 == 0 {
				return nil // too early, which is a failure as well
			}
			return errors.New("injected failure")
		})})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.NoError(t, w.Run(ctx, watchers.NewStore()))
		require.Len(t, starts, len(runs)+1)
		for i, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60, 60, 1, 2} {
			delay := starts[i+1].Sub(starts[i]) - runs[i]
			longest := time.Duration(seconds) * time.Second
			require.LessOrEqual(t, delay, longest, i)
			require.GreaterOrEqual(t, delay, longest/2, i)
		}
	})
}

func TestJoinLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		lines := func() string {
			synctest.Wait()
			defer out.Reset()
			return strings.TrimSpace(out.String())
		}
		handler := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "retryIn" {
				return slog.Attr{}
			}
			return a
		}})
		a, b := &manualSource{fail: make(chan error)}, &manualSource{}
		w, err := watchers.Join(watchers.JoinConfig{Logger: slog.New(handler)}, watchers.Source{Name: "a", Watcher: a}, watchers.Source{Name: "b", Watcher: b})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx, watchers.NewStore()) }()
		require.Empty(t, lines())

		nodes := func(tx *watchers.Tx) {
			tx.SetNode(&watchers.Node{Name: "n"})
			tx.SetNode(&watchers.Node{Name: "m"})
		}
		a.update(nodes)
		a.update((*watchers.Tx).SetSynced)
		require.Equal(t, `level=INFO msg="Source synced" source=a objects=2`, lines())
		b.update(nodes)
		require.Equal(t, `level=WARN msg="Several sources define an object" object="Node n" source=a ignored=b furtherObjects=1`, lines())
		b.update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "n", Zone: "z"}) })
		require.Empty(t, lines(), "a change of an object with a conflict")
		a.update(func(tx *watchers.Tx) { tx.DeleteNode("n") })
		require.Equal(t, `level=INFO msg="Only one source defines an object again" object="Node n" source=b furtherObjects=0`, lines())
		a.fail <- errors.New("injected failure")
		require.Equal(t, `level=WARN msg="Source failed, keeping its objects" source=a err="injected failure"`, lines())
		cancel()
		require.NoError(t, <-done)
		require.Empty(t, lines())
	})
}

// serviceChange returns a transaction that changes a Service with each call.
func serviceChange() func() func(tx *watchers.Tx) {
	i := 0
	return func() func(tx *watchers.Tx) {
		i++
		ip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
		svc := &watchers.Service{
			Name: watchers.ServiceName{Namespace: "ns", Name: "svc"}, ClusterIP: ip,
			ClusterIPs: []netip.Addr{ip}, IPFamilies: []watchers.IPFamily{watchers.FamilyIPv4},
			Ports: []watchers.ServicePort{{Name: "a", Protocol: localsink.ProtocolTCP, Port: 80}},
		}
		return func(tx *watchers.Tx) { tx.SetService(svc) }
	}
}

// addNodes adds 1,000 objects, so that the trees of the store have several levels.
func addNodes(store *watchers.Store, source int) {
	for i := range 1000 {
		store.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: fmt.Sprint(source, "-", i)}) })
	}
}

// runJoined runs a joined watcher of n manual sources until the test ends. It returns the
// store of the last source.
func runJoined(t testing.TB, n int) *watchers.Store {
	started, last := make(chan struct{}, n), &manualSource{}
	sources := make([]watchers.Source, n)
	for i := range sources {
		s := &manualSource{}
		if i == n-1 {
			s = last
		}
		sources[i] = watchers.Source{Name: fmt.Sprint(i), Watcher: watchers.Func(func(ctx context.Context, store *watchers.Store) error {
			addNodes(store, i)
			s.mu.Lock()
			s.store = store
			s.mu.Unlock()
			started <- struct{}{}
			<-ctx.Done()
			return nil
		})}
	}
	w, err := watchers.Join(watchers.JoinConfig{}, sources...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, watchers.NewStore()) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	for range n {
		<-started
	}
	return last.current()
}

// TestJoinAllocations limits the allocations of one change through a joined watcher to
// twice those of a store, and a few.
func TestJoinAllocations(t *testing.T) {
	perChange := func(store *watchers.Store) float64 {
		next := serviceChange()
		return testing.AllocsPerRun(1000, func() { store.Update(next()) })
	}
	store := watchers.NewStore()
	addNodes(store, 0)
	direct := perChange(store)
	one := runJoined(t, 1)
	require.InDelta(t, direct, perChange(one), 5, "one source")
	for _, n := range []int{2, 8} {
		source := runJoined(t, n)
		require.LessOrEqual(t, perChange(source), 2*direct+10, "%d sources", n)
	}
}

// BenchmarkJoin measures one change of a Service, by the number of sources. With 0, it is
// written into a store directly.
func BenchmarkJoin(b *testing.B) {
	for _, n := range []int{0, 1, 2, 8} {
		b.Run(fmt.Sprint("sources=", n), func(b *testing.B) {
			store := watchers.NewStore()
			if n > 0 {
				store = runJoined(b, n)
			} else {
				addNodes(store, 0)
			}
			next := serviceChange()
			b.ReportAllocs()
			for b.Loop() {
				store.Update(next())
			}
		})
	}
}
