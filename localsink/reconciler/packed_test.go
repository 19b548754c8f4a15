// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// FuzzPackedServiceIsEqual unpacks random Services, whose fields have all values of their types.
func FuzzPackedServiceIsEqual(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		want := randomService(rand.New(rand.NewPCG(seed, 0)))
		p, _ := pack(want, nil)
		require.Equal(t, want, p.unpack(want.Name))
		again, _ := pack(p.unpack(want.Name), nil)
		require.Equal(t, p, again)
	})
}

func randomService(r *rand.Rand) *localsink.Service {
	s := &localsink.Service{}
	randomize(r, reflect.ValueOf(s).Elem())
	for i := range s.Ports {
		if len(s.Ports[i].EndpointExtensions) == 0 {
			s.Ports[i].EndpointExtensions = nil
		}
	}
	return s
}

// randomize sets v to a random value. A list is nil or has elements, except SourceRanges, which
// may also be empty.
func randomize(r *rand.Rand, v reflect.Value) {
	if value := randomValue(r, v.Type()); value != nil {
		v.Set(reflect.ValueOf(value))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if r.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			randomize(r, v.Elem())
		}
	case reflect.Slice:
		n := r.IntN(4)
		if n > 0 || v.Type() == reflect.TypeFor[[]netip.Prefix]() && r.IntN(2) == 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		for i := range n {
			randomize(r, v.Index(i))
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			randomize(r, field)
		}
	case reflect.String:
		v.SetString(fmt.Sprint(r.Uint64() >> r.IntN(64)))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(r.Uint64()) >> r.IntN(64))
	default:
		v.SetUint(r.Uint64() >> r.IntN(64) & (1<<v.Type().Bits() - 1))
	}
}

// randomValue returns a value of a type without exported fields, nil for other types.
func randomValue(r *rand.Rand, t reflect.Type) any {
	addrPort := func() netip.AddrPort { return netip.AddrPortFrom(randomAddr(r), uint16(r.Uint32())) }
	extensions := func() localsink.Extensions {
		if r.IntN(2) == 0 {
			return localsink.Extensions{}
		}
		return localsink.NewExtensions(localsink.Extension{Key: "a", Value: fmt.Sprint(r.IntN(3))}, localsink.Extension{Key: "b"})
	}
	switch t {
	case reflect.TypeFor[netip.AddrPort]():
		return addrPort()
	case reflect.TypeFor[netip.Prefix]():
		return netip.PrefixFrom(randomAddr(r), r.IntN(129))
	case reflect.TypeFor[localsink.Extensions]():
		return extensions()
	case reflect.TypeFor[map[netip.AddrPort]localsink.Extensions]():
		all := map[netip.AddrPort]localsink.Extensions{}
		for range r.IntN(3) {
			all[addrPort()] = extensions()
		}
		return all
	}
	return nil
}

func randomAddr(r *rand.Rand) netip.Addr {
	var b [16]byte
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return []netip.Addr{
		{}, netip.AddrFrom4([4]byte(b[:])), netip.AddrFrom16(b), netip.AddrFrom16(b).WithZone("eth0"),
		netip.AddrFrom16(netip.AddrFrom4([4]byte(b[:])).As16()),
	}[r.IntN(5)]
}

// BenchmarkPack measures a Service with ten endpoints in both directions.
func BenchmarkPack(b *testing.B) {
	s := benchService()
	p, buffer := pack(s, nil)
	require.Equal(b, s, p.unpack(s.Name))
	b.Run("pack", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p, buffer = pack(s, buffer)
		}
		b.ReportMetric(float64(len(p.text)), "B/Service")
	})
	b.Run("unpack", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = p.unpack(s.Name)
		}
	})
}

func benchService() *localsink.Service {
	s := &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: "web"}, Ports: []localsink.Port{{
		Name: "http", Protocol: localsink.ProtocolTCP,
		Frontends: []localsink.Frontend{{
			Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.1.2:80"),
			Routes: []localsink.Route{{From: localsink.FromLocalPods}, {Masquerade: true}},
		}},
		Pools: []localsink.Pool{{}},
	}}}
	for i := range 10 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 8080)
		pool := &s.Ports[0].Pools[0]
		pool.Endpoints = append(pool.Endpoints, localsink.Endpoint{Addr: addr, Weight: 1, Local: i == 3})
	}
	return s
}
