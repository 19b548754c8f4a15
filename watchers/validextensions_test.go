// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

func ext(keysAndValues ...string) watchers.Extensions {
	var list []localsink.Extension
	for pair := range slices.Chunk(keysAndValues, 2) {
		list = append(list, localsink.Extension{Key: pair[0], Value: pair[1]})
	}
	return localsink.NewExtensions(list...)
}

func pairs(x watchers.Extensions) (out []string) {
	for e := range x.All() {
		out = append(out, e.Key, e.Value)
	}
	return out
}

func TestInvalidExtensionsAreLeftOut(t *testing.T) {
	const invalidKey = " is too long, or has control characters or invalid UTF-8; ignored"
	x := ext("ok", "\xff\x00", "a\nb", "1", "", "2", "\xff", "3", strings.Repeat("k", 317), "", strings.Repeat("k", 318), "4")
	want := []string{strings.Repeat("k", 317), "", "ok", "\xff\x00"}
	problems := []string{
		`extensions: key "" is empty; ignored`, `extensions: key "a\nb"` + invalidKey,
		`extensions: key "` + strings.Repeat("k", 318) + `"` + invalidKey, `extensions: key "\xff"` + invalidKey,
	}
	svc := validService()
	svc.Extensions = x
	got := store(t, svc)
	require.Equal(t, want, pairs(got.Extensions))
	require.Equal(t, problems, fields(t, "Service ns/svc", got.Problems))
	require.Equal(t, x.Len(), svc.Extensions.Len(), "the object of the source is not modified")

	e := slice("ns", "s", "svc")
	e.Endpoints = []watchers.Endpoint{{Addr: ip("10.1.0.1")}, {Addr: ip("10.1.0.2")}}
	e.Extensions, e.Details = x, []watchers.EndpointDetails{{Hostname: "a"}, {Extensions: x}}
	gotSlice := store(t, e)
	require.Equal(t, want, pairs(gotSlice.Extensions))
	require.Equal(t, want, pairs(gotSlice.Details[1].Extensions))
	require.Equal(t, "a", gotSlice.Details[0].Hostname)
	require.Equal(t, x, e.Details[1].Extensions, "the object of the source is not modified")
	all := slices.Clone(problems)
	for _, p := range problems {
		all = append(all, "endpoints[1]."+p)
	}
	require.Equal(t, all, fields(t, "EndpointSlice ns/s", gotSlice.Problems))

	n := store(t, &watchers.Node{Name: "n", Extensions: x})
	require.Equal(t, want, pairs(n.Extensions))
	require.Equal(t, problems, fields(t, "Node n", n.Problems))
}

func TestExtensionsOfAnObjectAreBounded(t *testing.T) {
	const limit = localsink.MaxExtensionsSize
	svc := validService()
	svc.Extensions = ext("a", strings.Repeat("x", limit-1))
	require.Same(t, svc, store(t, svc))
	svc.Extensions = ext("a", strings.Repeat("x", limit))
	got := store(t, svc)
	require.Zero(t, got.Extensions.Len())
	require.Equal(t, []string{`extensions: key "a" has 262145 bytes with its value, and the extensions of an object have at most 262144; ignored`},
		fields(t, "Service ns/svc", got.Problems))
	svc.Extensions = ext("a", strings.Repeat("x", limit-10), "b", "0123456789", "c", "01234567")
	require.Equal(t, []string{"a", "c"}, slices.Collect(func(yield func(string) bool) {
		for e := range store(t, svc).Extensions.All() {
			yield(e.Key)
		}
	}), "what fits is kept")

	e := slice("ns", "s", "svc")
	e.Endpoints = []watchers.Endpoint{{Addr: ip("10.1.0.1")}, {Addr: ip("10.1.0.2")}, {Addr: ip("10.1.0.3")}}
	half := ext("k", strings.Repeat("x", limit/2-1))
	e.Extensions, e.Details = half, []watchers.EndpointDetails{{Extensions: half}, {Extensions: half}, {}}
	gotSlice := store(t, e)
	require.Equal(t, []int{1, 1, 0, 0}, []int{gotSlice.Extensions.Len(), gotSlice.Details[0].Extensions.Len(), gotSlice.Details[1].Extensions.Len(), gotSlice.Details[2].Extensions.Len()})
	require.Equal(t, []string{`endpoints[1].extensions: key "k" has 131072 bytes with its value, and the extensions of an object have at most 262144; ignored`},
		fields(t, "EndpointSlice ns/s", gotSlice.Problems), "a slice and its endpoints are one object")
}

func TestInvalidPortProperties(t *testing.T) {
	for _, row := range []invalidService{
		{"selection and share", func(s *watchers.Service) {
			s.Ports[0].Selection, s.Ports[1].RefusedPerMille = localsink.SelectionLeastConnections, 1000
		}, nil, nil},
		{"unknown selection", func(s *watchers.Service) { s.Ports[1].Selection = 4 }, func(s *watchers.Service) { s.Ports[1].Selection = localsink.SelectionRandom },
			[]string{"spec.ports[1].selection: 4 is not a selection; treated as Random"}},
		{"share above the whole", func(s *watchers.Service) { s.Ports[0].RefusedPerMille = 1001 }, func(s *watchers.Service) { s.Ports[0].RefusedPerMille = 1000 },
			[]string{"spec.ports[0].refusedPerMille: 1001 is out of range 0-1000; treated as 1000"}},
		{"protocols of the ports", func(s *watchers.Service) {
			s.Details = &watchers.ServiceDetails{ExternalName: "x", AppProtocols: []string{"a"}}
		}, func(s *watchers.Service) { s.Details = &watchers.ServiceDetails{ExternalName: "x"} },
			[]string{"details.appProtocols: 1 elements for 2 ports; ignored"}},
		{"protocols of the valid ports", func(s *watchers.Service) {
			s.Details, s.Ports[0].Port = &watchers.ServiceDetails{Headless: true, AppProtocols: []string{"a", "b"}}, 0
		}, func(s *watchers.Service) {
			s.Details, s.Ports = &watchers.ServiceDetails{Headless: true, AppProtocols: []string{"b"}}, s.Ports[1:]
		}, []string{"spec.ports[0].port: 0 is out of range 1-65535; the port is ignored"}},
		{"details without protocols", func(s *watchers.Service) { s.Details, s.Ports[0].Port = &watchers.ServiceDetails{Headless: true}, 0 },
			func(s *watchers.Service) { s.Details, s.Ports = &watchers.ServiceDetails{Headless: true}, s.Ports[1:] },
			[]string{"spec.ports[0].port: 0 is out of range 1-65535; the port is ignored"}},
	} {
		t.Run(row.id, row.test)
	}
}

func TestInvalidOrigins(t *testing.T) {
	const invalid = "is too long, or has control characters, slashes or invalid UTF-8"
	for origin, failure := range map[string]string{"a:b": "has a colon", "a/b": invalid, "a\n": invalid, "\xff": invalid, strings.Repeat("x", 254): invalid} {
		s := validService()
		s.Name.Origin = origin
		got := store(t, s)
		object := fmt.Sprintf("Service %.300q", origin+":ns/svc")
		require.Equal(t, []string{"origin: " + failure + "; the Service is ignored"}, fields(t, object, got.Problems))
		require.Equal(t, &watchers.Service{Name: s.Name, Problems: got.Problems}, got)

		e := slice("ns", "s", "svc")
		e.Service.Origin, e.Endpoints = origin, []watchers.Endpoint{{Addr: ip("10.1.0.1")}}
		gotSlice := store(t, e)
		require.Equal(t, []string{"origin: " + failure + "; the slice is ignored"}, fields(t, "EndpointSlice ns/s", gotSlice.Problems))
		require.Empty(t, gotSlice.Endpoints)
	}
	s := validService()
	s.Name.Origin = "ServiceImport"
	require.Same(t, s, store(t, s))
	s.Ports[0].RefusedPerMille = 2000
	fields(t, "ServiceImport ns/svc", store(t, s).Problems)
}

func TestDetailsFollowTheirEndpoints(t *testing.T) {
	valid := func(change func(*watchers.EndpointSlice)) *watchers.EndpointSlice {
		s := slice("ns", "s", "svc")
		for i := range 4 {
			s.Endpoints = append(s.Endpoints, watchers.Endpoint{Addr: ip(fmt.Sprintf("10.1.0.%d", i))})
			s.Details = append(s.Details, watchers.EndpointDetails{Hostname: fmt.Sprint(i)})
		}
		change(s)
		return s
	}
	hostnames := func(s *watchers.EndpointSlice) (out []string) {
		for _, d := range s.Details {
			out = append(out, d.Hostname)
		}
		return out
	}
	s := valid(func(*watchers.EndpointSlice) {})
	require.Same(t, s, store(t, s))

	got := store(t, valid(func(s *watchers.EndpointSlice) {
		s.Endpoints[0].Addr, s.Endpoints[2].Addr, s.Endpoints[3].Addr = ip("127.0.0.1"), ip("fd00::1"), ip("::ffff:10.1.0.9")
	}))
	require.Equal(t, []string{"1", "3"}, hostnames(got))
	require.Equal(t, ip("10.1.0.9"), got.Endpoints[1].Addr)

	for n := range 8 {
		got = store(t, valid(func(s *watchers.EndpointSlice) { s.Details = make([]watchers.EndpointDetails, n) }))
		if n == 0 || n == 4 {
			require.Empty(t, got.Problems)
			continue
		}
		require.Empty(t, got.Details)
		require.Len(t, got.Endpoints, 4)
		require.Equal(t, []string{fmt.Sprintf("details: %d elements for 4 endpoints; ignored", n)}, fields(t, "EndpointSlice ns/s", got.Problems))
	}
	got = store(t, valid(func(s *watchers.EndpointSlice) { s.Family = 5 }))
	require.Empty(t, got.Endpoints)
	require.Empty(t, got.Details)
	got = store(t, valid(func(s *watchers.EndpointSlice) { s.Family = 6 }))
	require.Empty(t, got.Endpoints)
	require.Empty(t, got.Details)
}

// FuzzStoreValidates sets objects with arbitrary values: what the store has is valid, and a
// value is missing only if there is a Problem.
func FuzzStoreValidates(f *testing.F) {
	f.Add(uint64(1), "acme.example/mode", "dsr", "", uint8(1), uint16(200))
	f.Add(uint64(2), "a\nb", strings.Repeat("x", 300), "ServiceImport", uint8(9), uint16(1001))
	f.Add(uint64(3), "", "\xff", "a:b", uint8(0), uint16(0))
	f.Fuzz(func(t *testing.T, seed uint64, key, value, origin string, selection uint8, refused uint16) {
		r := rand.New(rand.NewPCG(seed, seed))
		x := func() watchers.Extensions {
			var list []localsink.Extension
			for i := range r.IntN(4) {
				list = append(list, localsink.Extension{Key: strings.Repeat(key, i), Value: strings.Repeat(value, 1+r.IntN(1000))})
			}
			return localsink.NewExtensions(list...)
		}
		name := watchers.ServiceName{Namespace: "ns", Name: "svc", Origin: origin}
		svc := &watchers.Service{
			Name: name, Extensions: x(),
			Details: &watchers.ServiceDetails{AppProtocols: make([]string, r.IntN(3))},
		}
		for i := range r.IntN(3) {
			svc.Ports = append(svc.Ports, watchers.ServicePort{Name: fmt.Sprint(i), Protocol: localsink.ProtocolTCP, Port: uint16(r.IntN(2)),
				Selection: localsink.Selection(selection), RefusedPerMille: refused})
		}
		got := store(t, svc)
		size := requireValidExtensions(t, got.Extensions)
		require.LessOrEqual(t, size, localsink.MaxExtensionsSize)
		for _, p := range got.Ports {
			require.LessOrEqual(t, p.Selection, localsink.SelectionLeastConnections)
			require.LessOrEqual(t, p.RefusedPerMille, uint16(1000))
		}
		if got.Details != nil && len(got.Details.AppProtocols) > 0 {
			require.Len(t, got.Details.AppProtocols, len(got.Ports))
		}
		require.Equal(t, len(got.Problems) == 0, got == svc, "there is a Problem if, and only if, the object was changed")

		e := &watchers.EndpointSlice{Namespace: "ns", Name: "s", Service: name, Family: 4, Extensions: x(), Ports: []watchers.EndpointPort{{Protocol: 6, Port: 80}}}
		hostnames := map[netip.Addr]string{}
		for i := range r.IntN(6) {
			a := ip([]string{"10.1.0.", "127.0.0.", "fd00::"}[r.IntN(3)] + fmt.Sprint(i))
			hostnames[a] = fmt.Sprint(i)
			e.Endpoints = append(e.Endpoints, watchers.Endpoint{Addr: a})
			e.Details = append(e.Details, watchers.EndpointDetails{Hostname: fmt.Sprint(i), Extensions: x()})
		}
		if len(e.Details) > 0 && r.IntN(4) == 0 {
			e.Details = e.Details[1:]
		}
		gotSlice := store(t, e)
		size = requireValidExtensions(t, gotSlice.Extensions)
		if len(gotSlice.Details) > 0 {
			require.Len(t, gotSlice.Details, len(gotSlice.Endpoints))
		}
		for i, d := range gotSlice.Details {
			size += requireValidExtensions(t, d.Extensions)
			require.Equal(t, hostnames[gotSlice.Endpoints[i].Addr], d.Hostname)
		}
		require.LessOrEqual(t, size, localsink.MaxExtensionsSize)
		require.Equal(t, len(gotSlice.Problems) == 0, gotSlice == e)
	})
}

func requireValidExtensions(t *testing.T, x watchers.Extensions) (size int) {
	for e := range x.All() {
		require.NotEmpty(t, e.Key)
		require.LessOrEqual(t, len(e.Key), 317)
		require.True(t, utf8.ValidString(e.Key))
		require.False(t, strings.ContainsFunc(e.Key, unicode.IsControl))
		size += len(e.Key) + len(e.Value)
	}
	return size
}
