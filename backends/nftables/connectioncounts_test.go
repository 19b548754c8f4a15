// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/drift"
	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// A countingKernel is a transport that holds elements with counters.
type countingKernel struct {
	sets map[string]map[string]nfnl.Element
	fail error // of all reads
}

func (k *countingKernel) Check(*nfnl.Batch) error { return nil }

func (k *countingKernel) Commit(b *nfnl.Batch) error {
	for data := b.Content(); len(data) > 0; data = data[binary.NativeEndian.Uint32(data):] {
		kind := binary.NativeEndian.Uint16(data[4:])
		if kind>>8 != 10 {
			continue
		}
		a := attrsOf(data[20:binary.NativeEndian.Uint32(data)])
		set := k.sets[a.text(nfnl.ElemListSet)]
		switch kind & 0xff {
		case nfnl.MsgDelTable:
			clear(k.sets)
		case nfnl.MsgNewSet:
			k.sets[a.text(nfnl.SetName)] = map[string]nfnl.Element{}
		case nfnl.MsgDelSet:
			delete(k.sets, a.text(nfnl.SetName))
		case nfnl.MsgNewSetElem:
			for e := range nfnl.ParseElements(a.get(nfnl.ElemListElements)) {
				e.Counted = true
				set[string(e.Key)] = e
			}
		case nfnl.MsgDelSetElem:
			for e := range nfnl.ParseElements(a.get(nfnl.ElemListElements)) {
				delete(set, string(e.Key))
			}
		}
	}
	return nil
}

func (k *countingKernel) Elements(_ uint8, _, set string) (all []nfnl.Element, err error) {
	if k.fail != nil {
		return nil, k.fail
	}
	if k.sets[set] == nil {
		return nil, syscall.ENOENT
	}
	for _, e := range k.sets[set] {
		all = append(all, e)
	}
	return all, nil
}

func (k *countingKernel) Get(_ uint8, _, set string, keys []byte) (found []nfnl.Element, err error) {
	if k.fail != nil {
		return nil, k.fail
	}
	for want := range nfnl.ParseElements(keys) {
		e, ok := k.sets[set][string(want.Key)]
		if !ok {
			return nil, syscall.ENOENT
		}
		found = append(found, e)
	}
	return found, nil
}

// newCountingBackend returns a backend for IPv4 that counts connections.
func newCountingBackend(t *testing.T, k transport) *Backend {
	cfg, err := Config{CountConnections: true}.withDefaults()
	require.NoError(t, err)
	b := &Backend{
		tables: []*table{newTable(ipv4(), cfg, k)}, counting: true, busy: make(chan struct{}, 1),
		monitor: drift.NewMonitor(nil, slog.New(slog.DiscardHandler)),
		release: func() error { return nil },
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// countedSet matches the sets with counters: frontends, their endpoints, and the endpoints of a
// port with affinity.
var countedSet = regexp.MustCompile(`^(?:service-(ips|nodeports)|endpoints-(service|nodeport)-pool\d-max\d+|endpoints-(.*)-pool\d-[ab])$`)

// countPackets lets packets find some elements, and adds them to the counts that must be read: by
// frontend, frontend and endpoint, or port and endpoint.
func (k *countingKernel) countPackets(g generator, st *tableState, want map[string]uint64) {
	ports := map[string]string{} // of tables of consistent selection
	for _, t := range st.selections {
		ports[t.values.name] = t.portID
	}
	for name, set := range k.sets {
		m := countedSet.FindStringSubmatch(name)
		if id := ports[name]; id != "" {
			m = []string{name, "", "", id}
		}
		if m == nil {
			continue
		}
		for key, e := range set {
			n := g.Uint64N(4)
			e.Packets += n
			set[key] = e
			frontend := m[3]
			if frontend == "" {
				addr := netip.IPv4Unspecified()
				if m[1] == "ips" || m[2] == "service" {
					addr, key = netip.AddrFrom4([4]byte([]byte(key[:4]))), key[4:]
				}
				frontend = fmt.Sprintf("%v/%d", netip.AddrPortFrom(addr, binary.BigEndian.Uint16([]byte(key[4:]))), key[0])
			}
			if m[1] == "" {
				frontend += fmt.Sprintf(" %v", netip.AddrPortFrom(netip.AddrFrom4([4]byte(e.Data)), binary.BigEndian.Uint16(e.Data[4:])))
			}
			want[frontend] += n
		}
	}
}

// countsOf returns what a backend reads, in the form of countPackets, without zeros.
func countsOf(t *testing.T, b *Backend, all map[localsink.ServiceName]*localsink.Service) map[string]uint64 {
	got := map[string]uint64{}
	for name, s := range all {
		frontends, err := b.FrontendConnections(context.Background(), name)
		require.NoError(t, err)
		for _, c := range frontends {
			got[fmt.Sprintf("%v/%d", c.Addr, c.Protocol)] = c.Count
		}
		endpoints, err := b.EndpointConnections(context.Background(), name)
		require.NoError(t, err)
		for _, c := range endpoints {
			frontend := fmt.Sprintf("%v/%d", c.Frontend, c.Protocol)
			if !c.Frontend.IsValid() {
				port := slices.IndexFunc(s.Ports, func(p localsink.Port) bool { return p.Name == c.Port })
				if frontend = affinityIDOf(s, port); frontend == "" {
					frontend = portIDOf(s, port)
				}
			}
			got[fmt.Sprintf("%s %v", frontend, c.Endpoint)] = c.Count
		}
	}
	for k, n := range got {
		if n == 0 {
			delete(got, k)
		}
	}
	return got
}

// deleteEnded removes the counts of frontends that no longer exist, and those of ports of Services
// without frontends.
func deleteEnded(want map[string]uint64, all map[localsink.ServiceName]*localsink.Service) {
	exists := map[string]bool{}
	for _, s := range all {
		for _, p := range s.Ports {
			for _, fe := range p.Frontends {
				if ipv4().has(fe.Addr.Addr()) {
					exists[fmt.Sprintf("%v/%d", fe.Addr, p.Protocol)] = true
					exists[s.Name.Name] = true
				}
			}
		}
	}
	for key := range want {
		owner, _, _ := strings.Cut(key, " ")
		if at := strings.LastIndex(owner, "-"); at > 0 { // an affinity ID: the name of the Service and a hash
			owner = owner[:at]
		}
		if !exists[owner] {
			delete(want, key)
		}
	}
}

// Whatever changes: each count is the number of packets since its frontend was added.
func TestNoConnectionIsLost(t *testing.T) {
	g := newGenerator(t)
	k := &countingKernel{sets: map[string]map[string]nfnl.Element{}}
	b := newCountingBackend(t, k)
	all := map[localsink.ServiceName]*localsink.Service{}
	want := map[string]uint64{}
	var last serviceList
	node := &localsink.Node{}
	for step := range 200 {
		for _, name := range g.step(all) {
			if s := all[name]; s != nil {
				for i := range s.Ports {
					s.Ports[i].Name = fmt.Sprint("p", i)
				}
			}
		}
		next := serviceList(slices.Collect(values(all)))
		u := nextUpdate(node, last, next)
		if g.IntN(10) == 0 { // rebuilds the table
			node = &localsink.Node{LocalPods: localsink.PodSources{Interface: fmt.Sprint("if", step)}}
			u.Node = node
		}
		require.NoError(t, b.Sync(context.Background(), u))
		last = next
		deleteEnded(want, all)
		if g.IntN(3) == 0 {
			requireCounts(t, want, countsOf(t, b, all), step)
		}
		k.countPackets(g, b.tables[0].state, want)
	}
	require.NotEmpty(t, want)
	requireCounts(t, want, countsOf(t, b, all), 200)
}

// requireCounts compares the counts of the endpoints that exist.
func requireCounts(t *testing.T, want, got map[string]uint64, step int) {
	for key, n := range got {
		require.Equal(t, want[key], n, "step %d: %s", step, key)
	}
	for key, n := range want {
		if n > 0 && got[key] == 0 {
			require.Contains(t, key, " ", "step %d: count of a frontend", step)
		}
	}
}

// If another program removes elements, or a read fails, counts do not decrease.
func TestCountsDoNotDecrease(t *testing.T) {
	k := &countingKernel{sets: map[string]map[string]nfnl.Element{}}
	b := newCountingBackend(t, k)
	services := func(ips ...string) serviceList {
		return serviceList{newService("a", localsink.Port{Pools: []localsink.Pool{newLocalPool(ips...)},
			Frontends: []localsink.Frontend{newFrontend(localsink.KindClusterIP, "10.96.0.1:80")}})}
	}
	read := func() (frontend uint64, endpoints []uint64) {
		f, err := b.FrontendConnections(context.Background(), services()[0].Name)
		require.NoError(t, err)
		e, err := b.EndpointConnections(context.Background(), services()[0].Name)
		require.NoError(t, err)
		for _, c := range e {
			endpoints = append(endpoints, c.Count)
		}
		return f[0].Count, endpoints
	}
	add := func(n uint64) {
		for _, set := range k.sets {
			for key, e := range set {
				e.Packets += n
				set[key] = e
			}
		}
	}
	one, two := services("10.1.0.1:80"), services("10.1.0.1:80", "10.1.0.2:80")
	require.NoError(t, b.Sync(context.Background(), firstUpdate(&localsink.Node{}, two...)))
	add(5)
	frontend, endpoints := read()
	require.EqualValues(t, 5, frontend)
	require.Equal(t, []uint64{5, 5}, endpoints)

	// Packets after the last read are not counted.
	add(2)
	k.fail = errors.New("not now")
	require.NoError(t, b.Sync(context.Background(), nextUpdate(&localsink.Node{}, two, one)))
	_, err := b.FrontendConnections(context.Background(), one[0].Name)
	require.ErrorContains(t, err, "not now")
	k.fail = nil
	frontend, endpoints = read()
	require.EqualValues(t, 5, frontend, "the verdict was replaced")
	require.Equal(t, []uint64{7}, endpoints, "the slot was not")

	b.tables[0].state = nil
	clear(k.sets)
	require.NoError(t, b.Sync(context.Background(), nextUpdate(&localsink.Node{}, one, two)))
	frontend, endpoints = read()
	require.EqualValues(t, 5, frontend)
	require.Equal(t, []uint64{7, 5}, endpoints)
	add(1)
	frontend, endpoints = read()
	require.EqualValues(t, 6, frontend)
	require.Equal(t, []uint64{8, 6}, endpoints)

	for key, e := range k.sets[mapServiceIPs] {
		e.Counted = false
		k.sets[mapServiceIPs][key] = e
	}
	_, err = b.FrontendConnections(context.Background(), one[0].Name)
	require.ErrorContains(t, err, "this kernel does not count lookups in maps")
}

// The counts of removed endpoints do not accumulate without a limit.
func TestFewCountsOfRemovedEndpointsAreKept(t *testing.T) {
	k := &countingKernel{sets: map[string]map[string]nfnl.Element{}}
	b := newCountingBackend(t, k)
	var last serviceList
	const changes = 1000
	for i := range changes {
		next := serviceList{newService("a", localsink.Port{Pools: []localsink.Pool{newLocalPool(endpointAddr(i).String())},
			Frontends: []localsink.Frontend{newFrontend(localsink.KindClusterIP, "10.96.0.1:80")}})}
		require.NoError(t, b.Sync(context.Background(), nextUpdate(&localsink.Node{}, last, next)))
		last = next
		for _, set := range k.sets {
			for key, e := range set {
				e.Packets++
				set[key] = e
			}
		}
	}
	owners := b.tables[0].counts.owners
	require.Len(t, owners, 1)
	for _, o := range owners {
		require.LessOrEqual(t, len(o.endpoints), 4+keptEndpoints)
		require.Greater(t, len(o.endpoints), keptEndpoints/2)
		require.Contains(t, o.endpoints, endpointAddr(changes-2), "the last that was removed")
	}
	require.NoError(t, b.Sync(context.Background(), nextUpdate(&localsink.Node{}, last, nil)))
	require.Empty(t, owners)
}
