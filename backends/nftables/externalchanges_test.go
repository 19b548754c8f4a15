// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"errors"
	"maps"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// A readableKernel is a transport and kernelReader that accepts everything. It holds what the
// backend sends until a test changes it.
type readableKernel struct {
	transport
	table       *table
	generation  uint32
	altered     map[string]uint64    // digests of sets that another program has changed
	skipped     int                  // number of objects that it does not list
	interrupted bool                 // whether lists may be wrong
	missing     bool                 // whether another program has removed the table
	fail        error                // of each read
	duration    time.Duration        // of each read
	reads       map[string]int       // by kind
	onDigest    func(setName string) // during a read
}

func (k *readableKernel) Commit(*nfnl.Batch) error { k.generation++; return nil }
func (k *readableKernel) Check(*nfnl.Batch) error  { return nil }
func (k *readableKernel) Elements(uint8, string, string) ([]nfnl.Element, error) {
	return nil, syscall.ENOENT
}

func (k *readableKernel) read(kind string) error {
	k.reads[kind]++
	time.Sleep(k.duration)
	if k.missing && k.fail == nil {
		return syscall.ENOENT
	}
	return k.fail
}

func (k *readableKernel) Generation() (uint32, error) {
	k.reads["generation"]++
	return k.generation, nil
}

func (k *readableKernel) Table(uint8, string) (nfnl.Table, error) {
	return nfnl.Table{Objects: len(k.table.handles.chains) + len(k.table.handles.sets)}, k.read("table")
}

func (k *readableKernel) Objects(uint8, string) (all []nfnl.Object, exact bool, err error) {
	for _, handle := range slices.Sorted(maps.Keys(k.table.handles.names)) {
		n := k.table.handles.names[handle]
		all = append(all, nfnl.Object{Kind: n.kind, Name: n.name, Handle: handle, Elements: -1})
	}
	return all[k.skipped:], !k.interrupted, k.read("objects")
}

func (k *readableKernel) SetDigest(_ uint8, _, name string) (uint64, error) {
	err := k.read("elements")
	if k.onDigest != nil {
		k.onDigest(name)
	}
	for s := range k.table.state.verifiable {
		if s.name == name {
			return s.digest + k.altered[name], err
		}
	}
	return 0, syscall.ENOENT
}

// withVerifier runs f in fake time with a verifier of a table that holds one Service.
func withVerifier(t *testing.T, f func(t *testing.T, v *verifier, k *readableKernel)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := &readableKernel{generation: 7, altered: map[string]uint64{}, reads: map[string]int{}}
		cfg, err := Config{}.withDefaults()
		require.NoError(t, err)
		k.table = newTable(ipv4(), cfg, k)
		v, err := newVerifier([]*table{k.table}, make(chan struct{}, 1), k)
		require.NoError(t, err)
		k.syncOne(t)
		f(t, v, k)
	})
}

// syncOne replaces the table.
func (k *readableKernel) syncOne(t *testing.T) {
	k.table.state = nil
	require.NoError(t, k.table.sync(firstUpdate(&localsink.Node{}, manyServices(1, 1).serviceList...), nil))
}

// checkIntact calls check and requires that it finds no change. It returns the number of reads.
func checkIntact(t *testing.T, v *verifier, k *readableKernel) map[string]int {
	t.Helper()
	clear(k.reads)
	changed, err := v.check(t.Context())
	require.NoError(t, err)
	require.False(t, changed)
	return maps.Clone(k.reads)
}

// checkChanged requires that check finds a change, once.
func checkChanged(t *testing.T, v *verifier) {
	t.Helper()
	changed, err := v.check(t.Context())
	require.NoError(t, err)
	require.True(t, changed)
	v.generation-- // one more transaction of another program
	changed, err = v.check(t.Context())
	require.NoError(t, err)
	require.False(t, changed, "the table is to be replaced")
}

func TestOwnTransactionsAreNotVerified(t *testing.T) {
	withVerifier(t, func(t *testing.T, v *verifier, k *readableKernel) {
		require.Equal(t, map[string]int{"generation": 1}, checkIntact(t, v, k))
		for range 3 {
			k.syncOne(t)
		}
		require.Equal(t, map[string]int{"generation": 1}, checkIntact(t, v, k))
	})
}

func TestTransactionOfAnotherProgramIsVerifiedOnce(t *testing.T) {
	withVerifier(t, func(t *testing.T, v *verifier, k *readableKernel) {
		for range 3 {
			k.generation++
			reads := checkIntact(t, v, k)
			require.Equal(t, 1, reads["table"])
			require.Equal(t, 1, reads["objects"])
			require.Positive(t, reads["elements"])
			require.Equal(t, map[string]int{"generation": 1}, checkIntact(t, v, k))
		}
	})
}

// While other programs keep changing rules, verifications take 1 % of the time.
func TestVerificationsRest(t *testing.T) {
	withVerifier(t, func(t *testing.T, v *verifier, k *readableKernel) {
		k.duration = 4 * time.Millisecond
		total := map[string]int{}
		const ticks = 4000
		for range ticks {
			time.Sleep(pollInterval)
			k.generation++
			for kind, n := range checkIntact(t, v, k) {
				total[kind] += n
			}
		}
		require.Equal(t, ticks, total["table"], "a flush is found at once")
		elapsed := ticks * pollInterval
		require.InDelta(t, 0.01, (2*4*time.Millisecond*time.Duration(total["objects"])).Seconds()/elapsed.Seconds(), 0.004)
		require.InDelta(t, 0.01, (4*time.Millisecond*time.Duration(total["elements"])).Seconds()/elapsed.Seconds(), 0.002)
		k.altered[mapServiceIPs] = 1
		for range ticks {
			time.Sleep(pollInterval)
			k.generation++
			if changed, _ := v.check(t.Context()); changed {
				return
			}
		}
		t.Fatal("a changed element was not found")
	})
}

// A slow machine must not postpone verifications for hours.
func TestRestHasALimit(t *testing.T) {
	withVerifier(t, func(t *testing.T, v *verifier, k *readableKernel) {
		k.duration = 4 * time.Second
		k.generation++
		checkIntact(t, v, k)
		k.generation++
		require.Zero(t, checkIntact(t, v, k)["objects"])
		time.Sleep(maxRest)
		require.Positive(t, checkIntact(t, v, k)["objects"])
	})
}

func TestChangesOfTheTableAreFound(t *testing.T) {
	for name, change := range map[string]func(k *readableKernel){
		"table removed":   func(k *readableKernel) { k.missing = true },
		"chain removed":   func(k *readableKernel) { k.skipped = 1 },
		"element changed": func(k *readableKernel) { k.altered[setClusterIPs] = 1 },
	} {
		withVerifier(t, func(t *testing.T, v *verifier, k *readableKernel) {
			change(k)
			require.Equal(t, map[string]int{"generation": 1}, checkIntact(t, v, k), name)
			k.generation++
			checkChanged(t, v)
			k.missing, k.skipped = false, 0
			clear(k.altered)
			k.syncOne(t)
			k.generation++
			require.Positive(t, checkIntact(t, v, k)["elements"])
		})
	}
}

// The backend changes a set while it is read. The set is read again.
func TestSetThatTheBackendChangesIsReadAgain(t *testing.T) {
	withVerifier(t, func(t *testing.T, v *verifier, k *readableKernel) {
		changes := 0
		k.onDigest = func(name string) {
			if name == setClusterIPs && changes < 3 {
				changes++
				k.table.state.clusterIPs.digest++
			}
		}
		k.generation++
		before := 0
		for range k.table.state.verifiable {
			before++
		}
		require.Equal(t, before+3, checkIntact(t, v, k)["elements"])
		// The table is replaced meanwhile.
		k.onDigest = func(name string) {
			if name == setClusterIPs {
				k.onDigest = nil
				k.syncOne(t)
				k.altered[name] = 1
			}
		}
		k.generation++
		require.Positive(t, checkIntact(t, v, k)["elements"])
	})
}

// A list that another transaction has interrupted may be wrong, so it shows no change. If it is
// right, nothing has changed.
func TestInterruptedListsShowNoChange(t *testing.T) {
	withVerifier(t, func(t *testing.T, v *verifier, k *readableKernel) {
		k.interrupted = true
		k.generation++
		require.Equal(t, 1, checkIntact(t, v, k)["objects"])
		require.Zero(t, checkIntact(t, v, k)["objects"])
		k.skipped = 1
		k.generation++
		for range 3 {
			require.Equal(t, 1, checkIntact(t, v, k)["objects"])
		}
		k.interrupted = false
		checkChanged(t, v)
	})
}

func TestFailedReadsAreRepeated(t *testing.T) {
	withVerifier(t, func(t *testing.T, v *verifier, k *readableKernel) {
		failed := errors.New("failed")
		k.fail = failed
		k.generation++
		for range 3 {
			_, err := v.check(t.Context())
			require.ErrorIs(t, err, failed)
		}
		k.fail = nil
		require.Positive(t, checkIntact(t, v, k)["objects"])
	})
}

func TestCheckEndsWithItsContext(t *testing.T) {
	withVerifier(t, func(t *testing.T, v *verifier, k *readableKernel) {
		v.lock <- struct{}{} // a Sync that takes long
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		k.generation++
		changed, err := v.check(ctx)
		require.False(t, changed)
		require.NoError(t, err)
		<-v.lock
		require.Positive(t, checkIntact(t, v, k)["objects"])
	})
}

// The numbers of objects follow from transactions, whatever their order.
func TestHandlesFollowFromTransactions(t *testing.T) {
	chainWith := func(name string, rules int) chainSpec { return chainSpec{name: name, rules: make([]rule, rules)} }
	s1, s2 := &set{name: "s1"}, &set{name: "s2"}
	var h objectHandles
	h.apply(&transaction{replaceTable: true, sets: []*set{s1}, chains: []chainSpec{chainWith("a", 2), chainWith("b", 0)}})
	object := func(kind uint16, handle uint64, name string) nfnl.Object {
		return nfnl.Object{Kind: kind, Handle: handle, Name: name}
	}
	held := []nfnl.Object{
		object(nfnl.MsgNewSet, 1, "s1"), object(nfnl.MsgNewChain, 2, "a"), object(nfnl.MsgNewChain, 3, "b"),
		object(nfnl.MsgNewRule, 4, "a"), object(nfnl.MsgNewRule, 5, "a"),
	}
	require.True(t, h.match(held))
	require.False(t, h.match(held[1:]), "missing")
	require.False(t, h.match(append(slices.Clone(held), object(nfnl.MsgNewRule, 6, "a"))), "more")
	for i := range held {
		other := slices.Clone(held)
		other[i].Handle = 9
		require.False(t, h.match(other))
		other[i] = held[i]
		other[i].Name = "x"
		require.False(t, h.match(other))
		other[i] = held[i]
		other[i].Drops = true
		require.False(t, h.match(other))
	}
	h.apply(&transaction{sets: []*set{s2}, replacedRules: []chainSpec{chainWith("a", 1)}, deletedChains: []string{"b"}, deletedSets: []*set{s1}})
	require.True(t, h.match([]nfnl.Object{
		object(nfnl.MsgNewChain, 2, "a"), object(nfnl.MsgNewSet, 6, "s2"), object(nfnl.MsgNewRule, 7, "a"),
	}))
	h.apply(&transaction{replaceTable: true})
	require.True(t, h.match(nil))
}
