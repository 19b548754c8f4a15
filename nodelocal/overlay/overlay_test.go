// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
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

// A world makes random plans.
type world struct{ *rand.Rand }

func newWorld(seed uint64) world { return world{rand.New(rand.NewPCG(seed, 3))} }

func (w world) addr() netip.AddrPort {
	ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(w.IntN(12))})
	if w.IntN(3) == 0 {
		ip = netip.AddrFrom16([16]byte{0xfd, 15: byte(w.IntN(8))})
	}
	return netip.AddrPortFrom(ip, uint16(80+w.IntN(2)))
}

func (w world) endpoints() (out []Endpoint) {
	for range w.IntN(15) {
		out = append(out, Endpoint{Addr: w.addr(), Pools: PoolSet(w.IntN(8)), Drain: w.IntN(2) == 0})
	}
	slices.SortFunc(out, func(a, b Endpoint) int { return a.Addr.Compare(b.Addr) })
	return slices.CompactFunc(out, func(a, b Endpoint) bool { return a.Addr == b.Addr })
}

func (w world) own(ports int) *Overlay {
	own := &Overlay{LocalEndpoints: w.IntN(3)}
	for i := range ports {
		for _, e := range w.endpoints() {
			own.Endpoints = append(own.Endpoints, OverlayEndpoint{Port: i, Endpoint: e, Local: w.IntN(2) == 0})
		}
	}
	return own
}

func (w world) routes() (out []Route) {
	route := func(from localsink.From, only Condition) {
		r := Route{From: from, Condition: only, Masquerade: w.IntN(2) == 0, EmptyVerdict: localsink.Verdict(w.IntN(2))}
		for range 1 + w.IntN(3) {
			r.Pools = append(r.Pools, Pool(w.IntN(4)))
		}
		out = append(out, r)
	}
	for range w.IntN(3) {
		route(localsink.From(w.IntN(3)), Condition(w.IntN(3)))
	}
	if w.IntN(3) == 0 {
		route(localsink.FromAny, ConditionPodsKnown)
		route(localsink.FromAny, ConditionPodsUnknown)
	} else {
		route(localsink.FromAny, ConditionAlways)
	}
	return out
}

func (w world) nets() (out []netip.Prefix) {
	switch w.IntN(3) {
	case 0:
		return nil
	case 1:
		out = []netip.Prefix{}
	}
	for range w.IntN(3) {
		a := w.addr().Addr()
		out = append(out, netip.PrefixFrom(a, a.BitLen()-w.IntN(4)).Masked())
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

func (w world) service() *Base {
	s := &Base{Name: localsink.ServiceName{Namespace: "ns", Name: "svc"}, HealthCheckPort: uint16(w.IntN(2))}
	for i := range w.IntN(4) {
		p := Port{Name: fmt.Sprint(i), Protocol: localsink.ProtocolTCP, Affinity: time.Duration(w.IntN(2)), Endpoints: w.endpoints()}
		shared := w.routes()
		for j := range w.IntN(4) {
			fe := Frontend{Kind: localsink.KindClusterIP, Addr: netip.AddrPortFrom(w.addr().Addr(), uint16(j)), Routes: shared, SourceRanges: w.nets()}
			if w.IntN(2) == 0 {
				fe.Routes = w.routes()
			}
			if fe.SourceRanges != nil {
				fe.NodeSourceRanges = w.nets()
			}
			p.Frontends = append(p.Frontends, fe)
		}
		s.Ports = append(s.Ports, p)
	}
	return s
}

func (w world) node() *localsink.Node {
	n := &localsink.Node{Name: "n"}
	for range w.IntN(3) {
		n.IPs = append(n.IPs, w.addr().Addr())
	}
	for range w.IntN(3) {
		n.LocalPods.Networks = append(n.LocalPods.Networks, netip.PrefixFrom(w.addr().Addr(), 32).Masked())
	}
	if w.IntN(4) == 0 {
		n.LocalPods.Interface = "cni0"
	}
	return n
}

// TestAssembleIsWhatThePlanSays: against a second reading of what the fields mean, one
// frontend and one route at a time.
func TestAssembleIsWhatThePlanSays(t *testing.T) {
	for seed := range uint64(3000) {
		w := newWorld(seed)
		s, node := w.service(), w.node()
		own := w.own(len(s.Ports) + 1) // one that is not there
		before, ownBefore := fmt.Sprintf("%+v", s), fmt.Sprintf("%+v", own)
		got := Assemble(s, own, node)
		require.Equal(t, before, fmt.Sprintf("%+v", s), "inputs stay as they are")
		require.Equal(t, ownBefore, fmt.Sprintf("%+v", own))
		require.Equal(t, s.HealthCheckPort != 0, got.HealthCheck != nil)
		if got.HealthCheck != nil {
			require.Equal(t, own.LocalEndpoints, got.HealthCheck.LocalEndpoints)
		}
		ports := got.Ports
		for i := range s.Ports {
			if len(s.Ports[i].Frontends) == 0 {
				continue
			}
			checkPort(t, &s.Ports[i], i, own, node, &ports[0])
			ports = ports[1:]
		}
		require.Empty(t, ports)
	}
}

func checkPort(t *testing.T, p *Port, index int, own *Overlay, node *localsink.Node, got *localsink.Port) {
	type both struct {
		pools       PoolSet
		keep, local bool
	}
	all := map[netip.AddrPort]both{}
	for _, e := range p.Endpoints {
		all[e.Addr] = both{pools: e.Pools, keep: e.Drain}
	}
	for _, e := range own.Endpoints {
		if e.Port == index {
			b := all[e.Addr]
			all[e.Addr] = both{b.pools | e.Pools, b.keep || e.Drain, e.Local}
		}
	}
	in := func(pool Pool, v4 bool) (out []localsink.Endpoint) {
		for a, b := range all {
			if b.pools.Has(pool) && a.Addr().Is4() == v4 {
				out = append(out, localsink.Endpoint{Addr: a, Local: b.local})
			}
		}
		slices.SortFunc(out, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
		return out
	}
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
				if len(in(candidate, v4)) > 0 {
					pool = candidate
				}
			}
			used[v4] |= NewPoolSet(pool)
			require.Equal(t, r.From, routes[0].From)
			require.Equal(t, r.Masquerade, routes[0].Masquerade)
			require.Equal(t, r.EmptyVerdict, routes[0].EmptyVerdict)
			require.Equal(t, in(pool, v4), got.Pools[routes[0].Pool].Endpoints)
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
	var retained []netip.AddrPort
	for a, b := range all {
		if b.keep && b.pools&used[a.Addr().Is4()] == 0 {
			retained = append(retained, a)
		}
	}
	slices.SortFunc(retained, netip.AddrPort.Compare)
	require.Equal(t, retained, got.Draining)
}

func unique(list []netip.Prefix) []netip.Prefix {
	list = slices.Clone(list)
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}

// TestDifferenceLeadsThere, and only endpoints can be told by one.
func TestDifferenceLeadsThere(t *testing.T) {
	for seed := range uint64(3000) {
		w := newWorld(seed)
		a := w.service()
		b := *a
		b.Ports = slices.Clone(a.Ports)
		for i := range b.Ports {
			if w.IntN(3) > 0 {
				b.Ports[i].Endpoints = w.endpoints()
			}
		}
		before := fmt.Sprintf("%+v", a)
		d, ok := Diff(a, &b)
		require.True(t, ok)
		got, err := a.Apply(d)
		require.NoError(t, err)
		require.True(t, got.Equal(&b), "%+v\n%+v", got, b)
		require.Equal(t, before, fmt.Sprintf("%+v", a), "the old one stays as it is")
		require.Equal(t, a.Equal(&b), d.Len() == 0)
		for _, p := range d.Ports {
			require.NotZero(t, len(p.Set)+len(p.Removed), "a port that does not differ is not told")
		}
		other := w.service()
		if _, ok := Diff(a, other); ok {
			require.True(t, sameFrame(a, other))
		}
	}
}

// TestApplyRefusesNonsense: any difference leads to something in order, or nowhere.
func TestApplyRefusesNonsense(t *testing.T) {
	refused, applied := 0, 0
	for seed := range uint64(5000) {
		w := newWorld(seed)
		s, d := w.service(), &Delta{}
		for range w.IntN(3) {
			p := PortDelta{Port: w.IntN(5) - 1}
			for range w.IntN(4) {
				p.Set = append(p.Set, Endpoint{Addr: w.addr()})
			}
			if w.IntN(2) == 0 {
				slices.SortFunc(p.Set, func(a, b Endpoint) int { return a.Addr.Compare(b.Addr) })
			}
			for range w.IntN(2) {
				p.Removed = append(p.Removed, w.addr())
			}
			d.Ports = append(d.Ports, p)
		}
		before := fmt.Sprintf("%+v", s)
		got, err := s.Apply(d)
		require.Equal(t, before, fmt.Sprintf("%+v", s))
		if err != nil {
			require.ErrorContains(t, err, "Service ns/svc")
			refused++
			continue
		}
		applied++
		for i, p := range got.Ports {
			want := map[netip.AddrPort]Endpoint{}
			for _, e := range s.Ports[i].Endpoints {
				want[e.Addr] = e
			}
			for _, change := range d.Ports {
				if change.Port != i {
					continue
				}
				for _, a := range change.Removed {
					require.Contains(t, want, a, "what is not there cannot go")
					delete(want, a)
				}
				for _, e := range change.Set {
					want[e.Addr] = e
				}
			}
			require.Len(t, p.Endpoints, len(want))
			for _, e := range p.Endpoints {
				require.Equal(t, want[e.Addr], e)
			}
			require.True(t, slices.IsSortedFunc(p.Endpoints, func(a, b Endpoint) int { return a.Addr.Compare(b.Addr) }))
			require.Len(t, slices.CompactFunc(slices.Clone(p.Endpoints), func(a, b Endpoint) bool { return a.Addr == b.Addr }), len(p.Endpoints))
		}
	}
	require.NotZero(t, refused)
	require.NotZero(t, applied)
}

// full has something in every list.
func full() *Base {
	return &Base{
		Ports: []Port{{
			Frontends: []Frontend{{SourceRanges: make([]netip.Prefix, 1), NodeSourceRanges: make([]netip.Prefix, 1), Routes: []Route{{Pools: make([]Pool, 1)}}}},
			Endpoints: make([]Endpoint, 1),
		}},
		Problems: make([]localsink.Problem, 1),
	}
}

// TestEqualSeesEveryField, and Diff tells by itself endpoints only: a field that is added
// to a struct and forgotten there would never reach a node.
func TestEqualSeesEveryField(t *testing.T) {
	n := 0
	for i := 0; ; i++ {
		changed := full()
		name := mutate(reflect.ValueOf(changed).Elem(), "Service", &[]int{i}[0])
		if name == "" {
			break
		}
		n++
		require.False(t, full().Equal(changed), "%s is not seen", name)
		_, ok := Diff(full(), changed)
		require.Equal(t, strings.Contains(name, ".Endpoints"), ok, name)
	}
	require.GreaterOrEqual(t, n, 20)
	for i := 0; ; i++ {
		changed := &Overlay{Endpoints: make([]OverlayEndpoint, 1)}
		name := mutate(reflect.ValueOf(changed).Elem(), "Own", &[]int{i}[0])
		if name == "" {
			require.GreaterOrEqual(t, i, 6)
			break
		}
		require.False(t, changed.Equal(&Overlay{Endpoints: make([]OverlayEndpoint, 1)}), "%s is not seen", name)
	}
	require.True(t, (*Overlay)(nil).Equal(&Overlay{}))
	require.False(t, (*Overlay)(nil).Equal(&Overlay{LocalEndpoints: 1}))
	everybody, nobody := full(), full()
	everybody.Ports[0].Frontends[0].SourceRanges, nobody.Ports[0].Frontends[0].SourceRanges = nil, []netip.Prefix{}
	require.False(t, everybody.Equal(nobody))
}

// mutate changes the leaf of v with the given number, and returns its name; empty when
// there are not so many.
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

// FuzzApply: no difference makes Apply fail badly.
func FuzzApply(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0xff, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		w, d := newWorld(uint64(len(b))), &Delta{}
		s := w.service()
		for ; len(b) >= 3; b = b[3:] {
			if b[0]%4 == 0 || len(d.Ports) == 0 {
				d.Ports = append(d.Ports, PortDelta{Port: int(int8(b[1]))})
			}
			p := &d.Ports[len(d.Ports)-1]
			a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, b[2] % 12}), uint16(80+b[1]%2))
			if b[0]%3 == 0 {
				p.Removed = append(p.Removed, a)
			} else {
				p.Set = append(p.Set, Endpoint{Addr: a, Pools: PoolSet(b[1])})
			}
		}
		if got, err := s.Apply(d); err == nil {
			Assemble(got, w.own(3), w.node())
		}
	})
}
