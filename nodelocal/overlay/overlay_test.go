// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// A generator makes random bases, overlays and nodes.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 3))} }

func (g generator) addr() netip.AddrPort {
	ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(g.IntN(12))})
	if g.IntN(3) == 0 {
		ip = netip.AddrFrom16([16]byte{0xfd, 15: byte(g.IntN(8))})
	}
	return netip.AddrPortFrom(ip, uint16(80+g.IntN(2)))
}

func (g generator) endpoints() (out []Endpoint) {
	for range g.IntN(15) {
		out = append(out, Endpoint{Addr: g.addr(), Pools: PoolSet(g.IntN(8)), Drain: g.IntN(2) == 0, Weight: uint32(g.IntN(2) * g.IntN(4))})
	}
	slices.SortFunc(out, func(a, b Endpoint) int { return a.Addr.Compare(b.Addr) })
	return slices.CompactFunc(out, func(a, b Endpoint) bool { return a.Addr == b.Addr })
}

// list returns random extensions: often none.
func (g generator) list() localsink.Extensions {
	var list []localsink.Extension
	for range g.IntN(5) - 2 {
		list = append(list, localsink.Extension{Key: fmt.Sprint("k", g.IntN(3)), Value: fmt.Sprint(g.IntN(3))})
	}
	return localsink.NewExtensions(list...)
}

// extensions returns random extensions of endpoints: often nil.
func (g generator) extensions() map[netip.AddrPort]localsink.Extensions {
	var out map[netip.AddrPort]localsink.Extensions
	for range g.IntN(10) - 4 {
		if x := g.list(); x.Len() > 0 {
			if out == nil {
				out = map[netip.AddrPort]localsink.Extensions{}
			}
			out[g.addr()] = x
		}
	}
	return out
}

func (g generator) overlay(ports int) *Overlay {
	o := &Overlay{LocalEndpoints: g.IntN(3)}
	for i := range ports {
		for _, e := range g.endpoints() {
			o.Endpoints = append(o.Endpoints, NodeEndpoint{Port: i, Endpoint: e, Local: g.IntN(2) == 0})
		}
	}
	return o
}

func (g generator) routes() (out []Route) {
	route := func(from localsink.From, condition Condition) {
		r := Route{From: from, Condition: condition, Masquerade: g.IntN(2) == 0, EmptyVerdict: localsink.Verdict(g.IntN(3))}
		for range 1 + g.IntN(3) {
			r.Pools = append(r.Pools, Pool(g.IntN(4)))
		}
		out = append(out, r)
	}
	for range g.IntN(3) {
		route(localsink.From(g.IntN(3)), Condition(g.IntN(3)))
	}
	if g.IntN(3) == 0 {
		route(localsink.FromAny, ConditionPodsKnown)
		route(localsink.FromAny, ConditionPodsUnknown)
	} else {
		route(localsink.FromAny, ConditionAlways)
	}
	return out
}

func (g generator) prefixes() (out []netip.Prefix) {
	switch g.IntN(3) {
	case 0:
		return nil
	case 1:
		out = []netip.Prefix{}
	}
	for range g.IntN(3) {
		a := g.addr().Addr()
		out = append(out, netip.PrefixFrom(a, a.BitLen()-g.IntN(4)).Masked())
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

func (g generator) base() *Base {
	s := &Base{
		Name:            localsink.ServiceName{Namespace: "ns", Name: "svc", Origin: []string{"", "TCPRoute"}[g.IntN(2)]},
		HealthCheckPort: uint16(g.IntN(2)), Extensions: g.list(),
	}
	for i := range g.IntN(4) {
		p := Port{Name: fmt.Sprint(i), Protocol: localsink.ProtocolTCP, Affinity: time.Duration(g.IntN(2)), Endpoints: g.endpoints(),
			Selection: localsink.Selection(g.IntN(4)), RefusedPerMille: uint16(g.IntN(1001)), EndpointExtensions: g.extensions()}
		shared := g.routes()
		for j := range g.IntN(4) {
			fe := Frontend{Kind: localsink.KindClusterIP, Addr: netip.AddrPortFrom(g.addr().Addr(), uint16(j)), Routes: shared, SourceRanges: g.prefixes()}
			if g.IntN(2) == 0 {
				fe.Routes = g.routes()
			}
			if fe.SourceRanges != nil {
				fe.NodeSourceRanges = g.prefixes()
			}
			p.Frontends = append(p.Frontends, fe)
		}
		s.Ports = append(s.Ports, p)
	}
	return s
}

func (g generator) node() *localsink.Node {
	n := &localsink.Node{Name: "n"}
	for range g.IntN(3) {
		n.IPs = append(n.IPs, g.addr().Addr())
	}
	for range g.IntN(3) {
		n.LocalPods.Networks = append(n.LocalPods.Networks, netip.PrefixFrom(g.addr().Addr(), 32).Masked())
	}
	if g.IntN(4) == 0 {
		n.LocalPods.Interface = "cni0"
	}
	return n
}

// TestAssembleMatchesReference compares Assemble with a second, slower implementation of
// the fields' documentation, one frontend and one route at a time.
func TestAssembleMatchesReference(t *testing.T) {
	for seed := range uint64(3000) {
		g := newGenerator(seed)
		s, node := g.base(), g.node()
		o := g.overlay(len(s.Ports) + 1) // one port more than the base has
		before, overlayBefore := fmt.Sprintf("%+v", s), fmt.Sprintf("%+v", o)
		got := Assemble(s, o, node)
		require.Equal(t, before, fmt.Sprintf("%+v", s), "Assemble must not modify the base")
		require.Equal(t, overlayBefore, fmt.Sprintf("%+v", o), "Assemble must not modify the overlay")
		require.Equal(t, s.Name, got.Name)
		require.True(t, s.Extensions.Equal(got.Extensions))
		require.Equal(t, s.HealthCheckPort != 0, got.HealthCheck != nil)
		if got.HealthCheck != nil {
			require.Equal(t, o.LocalEndpoints, got.HealthCheck.LocalEndpoints)
		}
		ports := got.Ports
		for i := range s.Ports {
			if len(s.Ports[i].Frontends) == 0 {
				continue
			}
			checkPort(t, &s.Ports[i], i, o, node, &ports[0])
			ports = ports[1:]
		}
		require.Empty(t, ports)
	}
}

func checkPort(t *testing.T, p *Port, index int, o *Overlay, node *localsink.Node, got *localsink.Port) {
	type merged struct {
		pools        PoolSet
		drain, local bool
		weight       uint32
	}
	all := map[netip.AddrPort]merged{}
	for _, e := range p.Endpoints {
		all[e.Addr] = merged{pools: e.Pools, drain: e.Drain, weight: max(1, e.Weight)}
	}
	for _, e := range o.Endpoints {
		if e.Port == index {
			m, inBase := all[e.Addr]
			if !inBase {
				m.weight = max(1, e.Weight)
			}
			all[e.Addr] = merged{m.pools | e.Pools, m.drain || e.Drain, e.Local, m.weight}
		}
	}
	endpointsIn := func(pool Pool, v4 bool) (out []localsink.Endpoint) {
		for a, m := range all {
			if m.pools.Has(pool) && a.Addr().Is4() == v4 {
				out = append(out, localsink.Endpoint{Addr: a, Local: m.local, Weight: m.weight})
			}
		}
		slices.SortFunc(out, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
		return out
	}
	require.Equal(t, []any{p.Name, p.Protocol, p.Affinity, p.Selection, p.RefusedPerMille, p.EndpointExtensions},
		[]any{got.Name, got.Protocol, got.Affinity, got.Selection, got.RefusedPerMille, got.EndpointExtensions})
	used := map[bool]PoolSet{}
	require.Len(t, got.Frontends, len(p.Frontends))
	for i, fe := range p.Frontends {
		v4 := fe.Addr.Addr().Is4()
		known := node.LocalPods.Interface != ""
		for _, n := range node.LocalPods.Networks {
			known = known || n.Addr().Is4() == v4
		}
		routes := got.Frontends[i].Routes
		for _, r := range fe.Routes {
			if r.Condition == ConditionPodsKnown && !known || r.Condition == ConditionPodsUnknown && known {
				continue
			}
			pool := r.Pools[len(r.Pools)-1]
			for _, candidate := range slices.Backward(r.Pools) {
				if len(endpointsIn(candidate, v4)) > 0 {
					pool = candidate
				}
			}
			used[v4] |= NewPoolSet(pool)
			require.Equal(t, r.From, routes[0].From)
			require.Equal(t, r.Masquerade, routes[0].Masquerade)
			require.Equal(t, r.EmptyVerdict, routes[0].EmptyVerdict)
			require.Equal(t, endpointsIn(pool, v4), got.Pools[routes[0].Pool].Endpoints)
			routes = routes[1:]
		}
		require.Empty(t, routes)
		sources := fe.SourceRanges
		if len(fe.NodeSourceRanges) > 0 && slices.ContainsFunc(node.IPs, func(ip netip.Addr) bool {
			return slices.ContainsFunc(fe.SourceRanges, func(n netip.Prefix) bool { return n.Contains(ip) })
		}) {
			sources = slices.Concat(sources, fe.NodeSourceRanges)
		}
		require.ElementsMatch(t, unique(sources), got.Frontends[i].SourceRanges)
		require.Equal(t, sources == nil, got.Frontends[i].SourceRanges == nil)
	}
	var draining []netip.AddrPort
	for a, m := range all {
		if m.drain && m.pools&used[a.Addr().Is4()] == 0 {
			draining = append(draining, a)
		}
	}
	slices.SortFunc(draining, netip.AddrPort.Compare)
	require.Equal(t, draining, got.Draining)
}

func unique(list []netip.Prefix) []netip.Prefix {
	list = slices.Clone(list)
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}

// TestApplyOfDiffYieldsNewBase also checks that Diff accepts only bases that differ in
// nothing but endpoints.
func TestApplyOfDiffYieldsNewBase(t *testing.T) {
	for seed := range uint64(3000) {
		g := newGenerator(seed)
		a := g.base()
		b := *a
		b.Ports = slices.Clone(a.Ports)
		for i := range b.Ports {
			if g.IntN(3) > 0 {
				b.Ports[i].Endpoints = g.endpoints()
			}
			if g.IntN(2) == 0 {
				b.Ports[i].EndpointExtensions = g.extensions()
			}
		}
		before := fmt.Sprintf("%+v", a)
		d, ok := Diff(a, &b)
		require.True(t, ok)
		got, err := a.Apply(d)
		require.NoError(t, err)
		require.True(t, got.Equal(&b), "%+v\n%+v", got, b)
		require.Equal(t, before, fmt.Sprintf("%+v", a), "Apply must not modify its receiver")
		require.Equal(t, a.Equal(&b), d.Len() == 0)
		for _, p := range d.Ports {
			require.NotZero(t, len(p.Set)+len(p.Removed)+len(p.Extensions), "a delta has no port without changes")
		}
		other := g.base()
		if _, ok := Diff(a, other); ok {
			require.True(t, equalExceptEndpoints(a, other))
		}
	}
}

// TestApplyRejectsMismatchedDeltas: a random delta yields ordered endpoints or an error.
func TestApplyRejectsMismatchedDeltas(t *testing.T) {
	rejected, applied := 0, 0
	for seed := range uint64(5000) {
		g := newGenerator(seed)
		s, d := g.base(), &Delta{}
		for range g.IntN(3) {
			p := PortDelta{Port: g.IntN(5) - 1}
			for range g.IntN(4) {
				p.Set = append(p.Set, Endpoint{Addr: g.addr()})
			}
			p.Extensions = g.extensions()
			if g.IntN(2) == 0 {
				slices.SortFunc(p.Set, func(a, b Endpoint) int { return a.Addr.Compare(b.Addr) })
			}
			for range g.IntN(2) {
				p.Removed = append(p.Removed, g.addr())
			}
			d.Ports = append(d.Ports, p)
		}
		before := fmt.Sprintf("%+v", s)
		got, err := s.Apply(d)
		require.Equal(t, before, fmt.Sprintf("%+v", s))
		if err != nil {
			require.ErrorContains(t, err, s.Name.Object())
			rejected++
			continue
		}
		applied++
		for i, p := range got.Ports {
			want, extensions := map[netip.AddrPort]Endpoint{}, maps.Clone(s.Ports[i].EndpointExtensions)
			for _, e := range s.Ports[i].Endpoints {
				want[e.Addr] = e
			}
			for _, change := range d.Ports {
				if change.Port != i {
					continue
				}
				for _, a := range change.Removed {
					require.Contains(t, want, a, "Apply must reject the removal of a missing endpoint")
					delete(want, a)
				}
				for _, e := range change.Set {
					want[e.Addr] = e
				}
				if extensions == nil {
					extensions = map[netip.AddrPort]localsink.Extensions{}
				}
				maps.Copy(extensions, change.Extensions)
			}
			require.True(t, maps.EqualFunc(extensions, p.EndpointExtensions, localsink.Extensions.Equal))
			require.Len(t, p.Endpoints, len(want))
			for _, e := range p.Endpoints {
				require.Equal(t, want[e.Addr], e)
			}
			require.True(t, slices.IsSortedFunc(p.Endpoints, func(a, b Endpoint) int { return a.Addr.Compare(b.Addr) }))
			require.Len(t, slices.CompactFunc(slices.Clone(p.Endpoints), func(a, b Endpoint) bool { return a.Addr == b.Addr }), len(p.Endpoints))
		}
	}
	require.NotZero(t, rejected)
	require.NotZero(t, applied)
}

// full returns a base with one element in every list.
func full() *Base {
	return &Base{
		Ports: []Port{{
			Frontends: []Frontend{{SourceRanges: make([]netip.Prefix, 1), NodeSourceRanges: make([]netip.Prefix, 1), Routes: []Route{{Pools: make([]Pool, 1)}}}},
			Endpoints: make([]Endpoint, 1),
		}},
		Problems: make([]localsink.Problem, 1),
	}
}

// TestEqualComparesEveryField fails when a field is added to a struct and not compared: its
// changes would never reach a node. Diff must reject a change of any field but endpoints.
func TestEqualComparesEveryField(t *testing.T) {
	n := 0
	for i := 0; ; i++ {
		changed := full()
		name := mutate(reflect.ValueOf(changed).Elem(), "Base", &[]int{i}[0])
		if name == "" {
			break
		}
		n++
		require.False(t, full().Equal(changed), "%s is not compared", name)
		_, ok := Diff(full(), changed)
		require.Equal(t, strings.Contains(name, ".Endpoint"), ok, name)
	}
	require.GreaterOrEqual(t, n, 20)
	for i := 0; ; i++ {
		changed := &Overlay{Endpoints: make([]NodeEndpoint, 1)}
		name := mutate(reflect.ValueOf(changed).Elem(), "Overlay", &[]int{i}[0])
		if name == "" {
			require.GreaterOrEqual(t, i, 6)
			break
		}
		require.False(t, changed.Equal(&Overlay{Endpoints: make([]NodeEndpoint, 1)}), "%s is not compared", name)
	}
	require.True(t, (*Overlay)(nil).Equal(&Overlay{}))
	require.False(t, (*Overlay)(nil).Equal(&Overlay{LocalEndpoints: 1}))
	permitAll, permitNone := full(), full()
	permitAll.Ports[0].Frontends[0].SourceRanges, permitNone.Ports[0].Frontends[0].SourceRanges = nil, []netip.Prefix{}
	require.False(t, permitAll.Equal(permitNone))
}

// mutate changes the leaf field of v with the given number and returns the field's name, or
// "" when v has fewer leaf fields.
func mutate(v reflect.Value, name string, number *int) string {
	set := func(to any) string {
		if *number--; *number >= 0 {
			return ""
		}
		v.Set(reflect.ValueOf(to).Convert(v.Type()))
		return name
	}
	switch v.Interface().(type) {
	case netip.AddrPort:
		return set(netip.MustParseAddrPort("10.0.0.1:80"))
	case netip.Prefix:
		return set(netip.MustParsePrefix("10.0.0.0/8"))
	case localsink.Extensions:
		return set(localsink.NewExtensions(localsink.Extension{Key: "a"}))
	case map[netip.AddrPort]localsink.Extensions:
		return set(map[netip.AddrPort]localsink.Extensions{{}: localsink.NewExtensions(localsink.Extension{Key: "a"})})
	}
	switch v.Kind() {
	case reflect.String:
		return set("x")
	case reflect.Bool:
		return set(true)
	case reflect.Slice:
		if v.Len() == 0 {
			panic(name + " is empty")
		}
		if changed := mutate(v.Index(0), name, number); changed != "" {
			return changed
		}
		return set(reflect.Zero(v.Type()).Interface())
	case reflect.Struct:
		for i := range v.NumField() {
			if changed := mutate(v.Field(i), name+"."+v.Type().Field(i).Name, number); changed != "" {
				return changed
			}
		}
		return ""
	default:
		return set(1)
	}
}

// FuzzApply checks that no delta makes Apply or Assemble panic.
func FuzzApply(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0xff, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		g, d := newGenerator(uint64(len(b))), &Delta{}
		s := g.base()
		for ; len(b) >= 3; b = b[3:] {
			if b[0]%4 == 0 || len(d.Ports) == 0 {
				d.Ports = append(d.Ports, PortDelta{Port: int(int8(b[1]))})
			}
			p := &d.Ports[len(d.Ports)-1]
			a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, b[2] % 12}), uint16(80+b[1]%2))
			if b[0]%3 == 0 {
				p.Removed = append(p.Removed, a)
			} else {
				p.Set = append(p.Set, Endpoint{Addr: a, Pools: PoolSet(b[1]), Weight: uint32(b[2])})
			}
			if b[1]%5 == 0 {
				p.Extensions = g.extensions()
			}
		}
		if got, err := s.Apply(d); err == nil {
			Assemble(got, g.overlay(3), g.node())
		}
	})
}
