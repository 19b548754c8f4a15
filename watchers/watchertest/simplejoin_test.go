// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/kpng/watchers"
)

// A simpleJoin is a joined watcher that computes its whole store after each change.
type simpleJoin struct {
	joinFaults

	sources []watchers.Source
	last    *watchers.Store // of the last Run

	stores  []*watchers.Store // of the sources
	merging chan struct{}     // a lock with which time in a bubble advances
}

// joinFaults are the faults of a simpleJoin.
type joinFaults struct {
	lastWins, unreported, reportsContent, syncedByFirst, byKeyWithService, withoutOrigin, oneByOne bool
	forgets, keepsAcrossStores, replacesAtOnce                                                     bool
	losesOnFailure, endsOnFailure, neverRetries, retriesAlways                                     bool
	returnsEarly, oneStore                                                                         bool
}

func (j *simpleJoin) Run(ctx context.Context, store *watchers.Store) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if j.stores == nil || j.forgets || j.last != store && !j.keepsAcrossStores {
		j.stores = nil
		for range j.sources {
			j.stores = append(j.stores, watchers.NewStore())
		}
	}
	j.last = store
	var running sync.WaitGroup
	for i := range j.sources {
		if j.oneStore {
			j.stores[i] = store
		} else {
			running.Go(func() { j.follow(ctx, j.stores[i], store) })
		}
		running.Go(func() {
			if err := j.runSource(ctx, i, store); err != nil {
				cancel(err)
			}
		})
	}
	if j.returnsEarly {
		<-ctx.Done()
	} else {
		running.Wait()
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// follow merges after each change of the store of a source.
func (j *simpleJoin) follow(ctx context.Context, source, store *watchers.Store) {
	for {
		current := source.Snapshot()
		j.merge(store)
		select {
		case <-ctx.Done():
			return
		case <-current.Newer():
		}
	}
}

func (j *simpleJoin) runSource(ctx context.Context, i int, store *watchers.Store) error {
	for {
		err := j.sources[i].Watcher.Run(ctx, j.stores[i])
		switch {
		case ctx.Err() != nil:
			if j.returnsEarly {
				time.Sleep(time.Second)
			}
			return nil
		case !j.stores[i].Snapshot().Synced() && !j.retriesAlways, j.endsOnFailure:
			return fmt.Errorf("%s: %w", j.sources[i].Name, err)
		case j.neverRetries:
			<-ctx.Done()
			return nil
		case j.losesOnFailure:
			j.stores[i].Update(func(tx *watchers.Tx) { tx.RetainAll(func(watchers.Key) bool { return false }) })
			j.merge(store)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// merge replaces the objects in store.
func (j *simpleJoin) merge(store *watchers.Store) {
	j.merging <- struct{}{}
	defer func() { <-j.merging }()
	synced := 0
	objects, others := map[watchers.Key]watchers.Object{}, map[watchers.Key][]string{}
	for i := range j.stores {
		if j.lastWins {
			i = len(j.stores) - 1 - i
		}
		for id, o := range j.stores[i].Snapshot().All() {
			if id.Kind == watchers.KindSynced {
				synced++
				continue
			}
			id = j.identity(id)
			if objects[id] == nil {
				objects[id] = o
				continue
			}
			others[id] = append(others[id], j.sources[i].Name)
			if j.reportsContent {
				others[id] = append(others[id], fmt.Sprint(o))
			}
		}
	}
	kept := map[watchers.Key]bool{}
	var writes []func(tx *watchers.Tx)
	for id, o := range objects {
		if len(others[id]) > 0 && !j.unreported {
			o = withConflict(o, "also in "+strings.Join(others[id], " "))
		}
		writes = append(writes, func(tx *watchers.Tx) { kept[tx.Set(o)] = true })
	}
	writes = append(writes, func(tx *watchers.Tx) {
		if synced == len(j.sources) || store.Snapshot().Len() == 0 || j.replacesAtOnce {
			tx.RetainAll(func(k watchers.Key) bool { return kept[k] })
		}
		if synced == len(j.sources) || j.syncedByFirst && synced > 0 {
			tx.SetSynced()
		}
	})
	j.write(store, writes)
}

func (j *simpleJoin) identity(key watchers.Key) watchers.Key {
	if key.Kind == watchers.KindEndpointSlice && !j.byKeyWithService {
		key.Name = ""
	}
	if j.withoutOrigin {
		key.Origin = ""
	}
	return key
}

func (j *simpleJoin) write(store *watchers.Store, writes []func(tx *watchers.Tx)) {
	if j.oneByOne {
		for _, w := range writes {
			store.Update(w)
			time.Sleep(time.Millisecond)
		}
		return
	}
	store.Update(func(tx *watchers.Tx) {
		for _, w := range writes {
			w(tx)
		}
	})
}

// withConflict returns a copy of an object with a Problem.
func withConflict(object watchers.Object, message string) watchers.Object {
	problems := func(name string, existing []watchers.Problem) []watchers.Problem {
		return slices.Insert(slices.Clone(existing), 0, watchers.Problem{Object: name, Field: "metadata", Message: message})
	}
	switch o := object.(type) {
	case *watchers.Service:
		out := *o
		out.Problems = problems("Service "+o.Name.String(), o.Problems)
		return &out
	case *watchers.EndpointSlice:
		out := *o
		out.Problems = problems("EndpointSlice "+o.Namespace+"/"+o.Name, o.Problems)
		return &out
	case *watchers.Node:
		out := *o
		out.Problems = problems("Node "+o.Name, o.Problems)
		return &out
	case *watchers.ServiceCIDR:
		out := *o
		out.Problems = problems("ServiceCIDR "+o.Name, o.Problems)
		return &out
	}
	return object
}
