// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package pointermap

import (
	"fmt"
	"hash/maphash"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

type name struct{ namespace, name, origin string }

type object struct {
	name  name
	value int
}

func nameOf(o *object) name { return o.name }

// FuzzMapIsAsAGoMap runs random operations on a map and on a Go map. Of the hashes, only a few
// bits remain, so that many keys have the same.
func FuzzMapIsAsAGoMap(f *testing.F) {
	f.Add([]byte("abc"), uint8(0))
	f.Add([]byte{1, 2, 3, 0x81, 0x82, 0x83, 1, 3, 2, 0x83, 0x81, 0x82, 3, 3, 0x83}, uint8(1))
	for bits := range uint8(4) {
		operations := make([]byte, 512)
		for i := range operations {
			operations[i] = byte(i * i * 7)
		}
		f.Add(operations, bits)
	}
	f.Fuzz(func(t *testing.T, operations []byte, bits uint8) {
		seed := maphash.MakeSeed()
		m := newWithHash(nameOf, func(n name) uint64 { return maphash.Comparable(seed, n) >> (64 - bits%8) })
		want := map[name]*object{}
		for i, b := range operations {
			k := name{"ns", fmt.Sprint(b & 0x1f), "origin"}
			if b < 0x80 {
				o := &object{k, i}
				m.Set(o)
				want[k] = o
			} else {
				m.Delete(k)
				delete(want, k)
			}
			require.Same(t, want[k], m.Get(k))
			require.Equal(t, len(want), m.Len())
		}
		got := map[name]*object{}
		for o := range m.All() {
			got[o.name] = o
		}
		require.Equal(t, want, got)
		for k := range want {
			m.Delete(k)
		}
		require.Zero(t, m.Len())
	})
}

// TestIterationEndsAndAllowsDeletion also has values with equal hashes.
func TestIterationEndsAndAllowsDeletion(t *testing.T) {
	m := newWithHash(nameOf, func(n name) uint64 { return uint64(len(n.name)) })
	for i := range 20 {
		m.Set(&object{name: name{name: fmt.Sprint(i)}})
	}
	for range 2 {
		n := 0
		for range m.All() {
			if n++; n == 15 {
				break
			}
		}
		require.Equal(t, 15, n)
	}
	for o := range m.All() {
		m.Delete(o.name)
	}
	require.Zero(t, m.Len())
}

// BenchmarkMemory compares a map of 10,000 values with a Go map.
func BenchmarkMemory(b *testing.B) {
	const n = 10_000
	objects := make([]object, n)
	for i := range objects {
		objects[i].name = name{"namespace", fmt.Sprintf("service-%d", i), ""}
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	b.Run("Map", func(b *testing.B) {
		for b.Loop() {
			before, m := heap(), New(nameOf)
			for i := range objects {
				m.Set(&objects[i])
			}
			b.ReportMetric(float64(heap()-before)/n, "B/value")
			runtime.KeepAlive(m)
		}
	})
	b.Run("GoMap", func(b *testing.B) {
		for b.Loop() {
			before, m := heap(), map[name]*object{}
			for i := range objects {
				m[objects[i].name] = &objects[i]
			}
			b.ReportMetric(float64(heap()-before)/n, "B/value")
			runtime.KeepAlive(m)
		}
	})
}

// BenchmarkGet compares the time with that of a Go map.
func BenchmarkGet(b *testing.B) {
	const n = 10_000
	m, g := New(nameOf), map[name]*object{}
	names := make([]name, n)
	for i := range names {
		o := &object{name: name{"namespace", fmt.Sprintf("service-%d", i), ""}}
		names[i], g[o.name] = o.name, o
		m.Set(o)
	}
	b.Run("Map", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			_ = m.Get(names[i%n])
		}
	})
	b.Run("GoMap", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_ = g[names[i%n]]
		}
	})
}
