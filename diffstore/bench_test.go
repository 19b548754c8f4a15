// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sigs.k8s.io/kpng/diffstore"
)

// A service has the size of a typical value in a proxy: a name, an address and three
// endpoints.
type service struct {
	name      string
	addr      netip.Addr
	endpoints []netip.AddrPort
}

func (s *service) hash(h *diffstore.Hash) {
	h.String(s.name)
	h.Addr(s.addr)
	h.Len(len(s.endpoints))
	for _, e := range s.endpoints {
		h.AddrPort(e)
	}
}

func hashService(h *diffstore.Hash, s *service) { s.hash(h) }

func newService(i, version int) (string, *service) {
	ip := func(net byte) netip.Addr {
		return netip.AddrFrom4([4]byte{net, byte(i >> 16), byte(i >> 8), byte(i)})
	}
	name := fmt.Sprintf("namespace-%02d/service-%06d", i%40, i)
	return name, &service{name: name, addr: ip(10), endpoints: []netip.AddrPort{
		netip.AddrPortFrom(ip(11), 8080),
		netip.AddrPortFrom(ip(12), 8080),
		netip.AddrPortFrom(ip(13), uint16(version)),
	}}
}

// A cluster holds n services in two versions each. They are not in key order.
type cluster struct {
	keys     []string
	services [2][]*service
}

func newCluster(n int) *cluster {
	c := &cluster{}
	for i := range n {
		key, a := newService(i, 0)
		_, b := newService(i, 1)
		c.keys = append(c.keys, key)
		c.services[0] = append(c.services[0], a)
		c.services[1] = append(c.services[1], b)
	}
	return c
}

func (c *cluster) store() *diffstore.Store[string, *service] {
	s := diffstore.New(strings.Compare, hashService)
	s.Update(func(tx *diffstore.Tx[string, *service]) {
		for i, key := range c.keys {
			tx.Set(key, c.services[0][i])
		}
	})
	return s
}

func (c *cluster) set(f *diffstore.Fill[string, *service]) {
	for i, key := range c.keys {
		f.Set(key, c.services[0][i])
	}
}

func sizes(b *testing.B, run func(b *testing.B, c *cluster)) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("items=%d", n), func(b *testing.B) {
			c := newCluster(n)
			b.ReportAllocs()
			run(b, c)
		})
	}
}

func count[T any](seq func(func(T) bool)) (n int) {
	seq(func(T) bool { n++; return true })
	return n
}

// BenchmarkOneChange is the path of one event: set a key, read the pending changes,
// acknowledge them.
func BenchmarkOneChange(b *testing.B) {
	sizes(b, func(b *testing.B, c *cluster) {
		s := c.store()
		r := s.Reader()
		r.Acknowledge(s.Snapshot())
		i := 0
		for b.Loop() {
			k := i * 7919 % len(c.keys)
			version := i / len(c.keys) & 1
			i++
			s.Update(func(tx *diffstore.Tx[string, *service]) {
				tx.Set(c.keys[k], c.services[1-version][k])
			})
			snap, changes := r.Pending()
			if n := count(changes); n != 1 {
				b.Fatal(n, "changes")
			}
			r.Acknowledge(snap)
		}
	})
}

func BenchmarkEqualUpdate(b *testing.B) {
	sizes(b, func(b *testing.B, c *cluster) {
		s := c.store()
		i := 0
		for b.Loop() {
			k := i * 7919 % len(c.keys)
			i++
			s.Update(func(tx *diffstore.Tx[string, *service]) {
				if tx.Set(c.keys[k], c.services[0][k]) {
					b.Fatal("changed")
				}
			})
		}
	})
}

func BenchmarkFirstLoad(b *testing.B) {
	sizes(b, func(b *testing.B, c *cluster) {
		for b.Loop() {
			c.store()
		}
		perItem(b, c)
	})
}

func BenchmarkSnapshot(b *testing.B) {
	sizes(b, func(b *testing.B, c *cluster) {
		s := c.store()
		for b.Loop() {
			s.Snapshot()
		}
	})
}

func BenchmarkDiff(b *testing.B) {
	for _, changes := range []int{1, 1000} {
		b.Run(fmt.Sprintf("changes=%d", changes), func(b *testing.B) {
			sizes(b, func(b *testing.B, c *cluster) {
				s := c.store()
				old := s.Snapshot()
				s.Update(func(tx *diffstore.Tx[string, *service]) {
					for i := range changes {
						tx.Set(c.keys[i*7], c.services[1][i*7])
					}
				})
				snap := s.Snapshot()
				for b.Loop() {
					if n := count(snap.Diff(old)); n != changes {
						b.Fatal(n, "changes")
					}
				}
			})
		})
	}
}

// BenchmarkFillUnchanged renders all keys without a change.
func BenchmarkFillUnchanged(b *testing.B) {
	sizes(b, func(b *testing.B, c *cluster) {
		f := diffstore.NewFill(strings.Compare, hashService)
		c.set(f)
		count(f.Changes())
		f.Commit()
		for b.Loop() {
			f.Clear()
			c.set(f)
			if n := count(f.Changes()); n != 0 {
				b.Fatal(n, "changes")
			}
			f.Commit()
		}
		perItem(b, c)
	})
}

// BenchmarkFillOneChange sets one key without Clear.
func BenchmarkFillOneChange(b *testing.B) {
	sizes(b, func(b *testing.B, c *cluster) {
		f := diffstore.NewFill(strings.Compare, hashService)
		c.set(f)
		count(f.Changes())
		f.Commit()
		version := 0
		for b.Loop() {
			version = 1 - version
			f.Set(c.keys[5], c.services[version][5])
			if n := count(f.Changes()); n != 1 {
				b.Fatal(n, "changes")
			}
			f.Commit()
		}
	})
}

func BenchmarkFillFirstLoad(b *testing.B) {
	sizes(b, func(b *testing.B, c *cluster) {
		for b.Loop() {
			f := diffstore.NewFill(strings.Compare, hashService)
			f.Clear()
			c.set(f)
			if n := count(f.Changes()); n != len(c.keys) {
				b.Fatal(n, "changes")
			}
			f.Commit()
		}
		perItem(b, c)
	})
}

func perItem(b *testing.B, c *cluster) {
	ns := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
	b.ReportMetric(ns/1e6, "ms/round")
	b.ReportMetric(ns/float64(len(c.keys)), "ns/item")
}
