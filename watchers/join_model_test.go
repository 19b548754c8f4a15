// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

// A manualSource is a watcher whose store the test changes.
type manualSource struct {
	name string
	fail chan error

	mu    sync.Mutex
	store *watchers.Store // of the last Run
}

func (s *manualSource) Run(ctx context.Context, store *watchers.Store) error {
	s.mu.Lock()
	s.store = store
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.fail:
		return err
	}
}

func (s *manualSource) update(fn func(tx *watchers.Tx)) { s.current().Update(fn) }

func (s *manualSource) current() *watchers.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store
}

// A joinModel is a joined watcher of manual sources in a bubble of package synctest.
type joinModel struct {
	*testing.T

	sources []*manualSource
	joined  *watchers.Joined
	store   *watchers.Store
	stop    func()
}

func newJoinModel(t *testing.T, n int) *joinModel {
	m := &joinModel{T: t, store: watchers.NewStore()}
	var sources []watchers.Source
	for i := range n {
		s := &manualSource{name: fmt.Sprint("source-", i), fail: make(chan error)}
		m.sources = append(m.sources, s)
		sources = append(sources, watchers.Source{Name: s.name, Watcher: s})
	}
	var err error
	m.joined, err = watchers.Join(watchers.JoinConfig{}, sources...)
	require.NoError(t, err)
	m.start()
	return m
}

func (m *joinModel) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.joined.Run(ctx, m.store) }()
	synctest.Wait()
	m.stop = func() {
		cancel()
		require.NoError(m, <-done)
	}
}

// check compares the joined store with one that is computed from the stores of the sources.
func (m *joinModel) check() {
	want, conflicts := m.expected()
	snap := m.store.Snapshot()
	require.Equal(m, len(want), snap.Len())
	for key, object := range snap.All() {
		require.NotNil(m, want[key], "%v", key)
		require.Equal(m, content(want[key]), content(object), "%v", key)
	}
	if len(m.sources) > 1 {
		require.Equal(m, conflicts, m.joined.Conflicts())
	}
}

// expected returns the objects of the joined store and the number of conflicts.
func (m *joinModel) expected() (objects map[watchers.Key]watchers.Object, conflicts int) {
	type definition struct {
		key    watchers.Key
		object watchers.Object
		names  []string
	}
	definitions := map[watchers.Key]*definition{}
	synced := 0
	for _, s := range m.sources {
		for key, object := range s.current().Snapshot().All() {
			if key.Kind == watchers.KindSynced {
				synced++
				continue
			}
			id := identity(key)
			d := definitions[id]
			if d == nil {
				d = &definition{key: key, object: object}
				definitions[id] = d
			}
			d.names = append(d.names, s.name)
		}
	}
	objects = map[watchers.Key]watchers.Object{}
	if synced == len(m.sources) {
		marker := watchers.NewStore().Update((*watchers.Tx).SetSynced)
		objects[watchers.Key{}], _ = marker.Get(watchers.Key{})
	}
	for _, d := range definitions {
		if objects[d.key] = d.object; len(d.names) > 1 {
			conflicts++
			objects[d.key] = conflicting(d.object, d.names)
		}
	}
	return objects, conflicts
}

// identity returns the key without the Service of an EndpointSlice.
func identity(key watchers.Key) watchers.Key {
	if key.Kind == watchers.KindEndpointSlice {
		key.Name = ""
	}
	return key
}

// conflicting returns a copy of an object with the Problem of its conflict.
func conflicting(object watchers.Object, names []string) watchers.Object {
	out := reflect.New(reflect.TypeOf(object).Elem())
	out.Elem().Set(reflect.ValueOf(object).Elem())
	problems := out.Elem().FieldByName("Problems").Addr().Interface().(*[]watchers.Problem)
	var name string
	switch o := object.(type) {
	case *watchers.Service:
		name = cmp.Or(o.Name.Origin, "Service") + " " + o.Name.Namespace + "/" + o.Name.Name
	case *watchers.EndpointSlice:
		name = "EndpointSlice " + o.Namespace + "/" + o.Name
	case *watchers.Node:
		name = "Node " + o.Name
	case *watchers.ServiceCIDR:
		name = "ServiceCIDR " + o.Name
	}
	*problems = append([]watchers.Problem{{Object: name, Field: "metadata.name", Message: "source " + names[0] + " is used; also defined by " + strings.Join(names[1:], ", ")}}, *problems...)
	return out.Interface().(watchers.Object)
}

// content returns an object without its TriggerTime, which is not part of the content.
func content(object watchers.Object) watchers.Object {
	if s, ok := object.(*watchers.EndpointSlice); ok {
		out := *s
		out.TriggerTime = time.Time{}
		return &out
	}
	return object
}

// step applies one operation to a source or to the joined watcher.
func (m *joinModel) step(op byte, r watchertest.Random) {
	s := m.sources[int(op>>4)%len(m.sources)]
	switch op & 0xf {
	default:
		s.update(r.Step())
	case 8, 9: // a slice of any name, which may exist for another Service
		slice, other := r.EndpointSlice(), r.EndpointSlice()
		slice.Name = other.Name
		s.update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice) })
	case 10: // the source lists its objects again
		listed := map[watchers.Key]bool{}
		s.update(func(tx *watchers.Tx) {
			for range r.IntN(20) {
				listed[tx.Set([]watchers.Object{r.Service(), r.EndpointSlice(), r.Node()}[r.IntN(3)])] = true
			}
			tx.RetainAll(func(k watchers.Key) bool { return listed[k] })
		})
	case 11:
		s.update((*watchers.Tx).SetSynced)
	case 12:
		if s.current().Snapshot().Synced() {
			s.fail <- errors.New("injected failure")
			synctest.Wait()
			m.check()
			time.Sleep(2 * time.Minute)
		}
	case 13: // Run again
		m.stop()
		m.start()
	case 14: // Run with another store
		m.stop()
		m.store = watchers.NewStore()
		m.start()
	}
}

// FuzzJoin applies random operations to two to four sources.
func FuzzJoin(f *testing.F) {
	for seed := range uint64(30) {
		ops := make([]byte, 100)
		for i := range ops {
			ops[i] = byte(rand.New(rand.NewPCG(seed, uint64(i))).Uint32())
		}
		f.Add(seed, ops)
	}
	f.Fuzz(func(t *testing.T, seed uint64, ops []byte) {
		if len(ops) > 1000 {
			t.Skip("too long")
		}
		synctest.Test(t, func(t *testing.T) {
			m := newJoinModel(t, 1+int(seed%4))
			defer func() { m.stop() }()
			r := watchertest.NewRandom(seed, 3, 5)
			r.Extended = seed%3 != 0
			for _, op := range ops {
				m.step(op, r)
				m.check()
			}
		})
	})
}

// TestJoinConcurrentSources lets all sources write at once, while a reader of the joined
// store follows its changes.
func TestJoinConcurrentSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newJoinModel(t, 4)
		defer m.stop()
		var writers sync.WaitGroup
		for i, s := range m.sources {
			writers.Go(func() {
				r := watchertest.NewRandom(uint64(i), 3, 5)
				r.Extended = true
				for range 500 {
					s.update(r.Step())
				}
				s.update((*watchers.Tx).SetSynced)
			})
		}
		followed := map[watchers.Key]watchers.Object{}
		reader := m.store.Reader()
		defer reader.Close()
		for {
			snap, changes := reader.Pending()
			for c := range changes {
				if c.Deleted {
					delete(followed, c.Key)
				} else {
					followed[c.Key] = c.Value
				}
			}
			reader.Acknowledge(snap)
			if (watchers.Snapshot{Snapshot: snap}).Synced() {
				break
			}
			<-snap.Newer()
		}
		writers.Wait()
		m.check()
		want, _ := m.expected()
		require.Len(t, followed, len(want))
	})
}
