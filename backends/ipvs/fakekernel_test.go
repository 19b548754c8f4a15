// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// A fakeKernel is a strict kernel in memory: it refuses to add what exists and to change or delete
// what does not.
type fakeKernel struct {
	mu          sync.Mutex
	cfg         Config
	servers     map[serverKey]*fakeServer
	device      map[netip.Addr]bool
	node        []netip.Addr
	sets        map[element]mark
	rules       string
	changed     bool // addresses
	hasRules    bool
	writes      []string // since the last call of takeWrites
	dumps       int      // of virtual servers, destinations or addresses
	connections map[netip.AddrPort]int
	fail        func(write string) error // nil accepts all
}

type fakeServer struct {
	serverOptions
	destinations map[netip.AddrPort]uint32
}

func newFakeKernel() *fakeKernel {
	return &fakeKernel{
		servers: map[serverKey]*fakeServer{}, device: map[netip.Addr]bool{}, sets: map[element]mark{}, connections: map[netip.AddrPort]int{},
		node: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8:1::b")},
	}
}

// String describes an element, as "SET ADDRESS PORT/PROTOCOL NETWORK".
func (e element) String() string {
	text := fmt.Sprint(e.set, " ", e.addr)
	if e.port != 0 {
		text += fmt.Sprintf(" %d/%v", e.port, e.protocol)
	}
	if e.network.IsValid() {
		text += " " + e.network.String()
	}
	return text
}

// write notes a write, and returns an error if it must fail.
func (k *fakeKernel) write(possible bool, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if !possible {
		return errors.New("impossible: " + text)
	}
	if k.fail != nil {
		if err := k.fail(text); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	k.writes = append(k.writes, text)
	return nil
}

// takeWrites returns the writes since the last call.
func (k *fakeKernel) takeWrites() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	writes := k.writes
	k.writes = nil
	return writes
}

func (k *fakeKernel) Servers() (map[serverKey]serverOptions, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dumps++
	all := map[serverKey]serverOptions{}
	for key, s := range k.servers {
		o := s.serverOptions
		if o.affinity > 0 {
			o.affinity = unknownAffinity
		}
		all[key] = o
	}
	return all, nil
}

func (k *fakeKernel) AddServer(key serverKey, o serverOptions) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.write(k.servers[key] == nil, "add server %v %v", key, o); err != nil {
		return err
	}
	k.servers[key] = &fakeServer{o, map[netip.AddrPort]uint32{}}
	return nil
}

func (k *fakeKernel) UpdateServer(key serverKey, o serverOptions) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.write(k.servers[key] != nil, "update server %v %v", key, o); err != nil {
		return err
	}
	k.servers[key].serverOptions = o
	return nil
}

func (k *fakeKernel) DeleteServer(key serverKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.write(k.servers[key] != nil, "delete server %v", key); err != nil {
		return err
	}
	delete(k.servers, key)
	return nil
}

func (k *fakeKernel) Destinations(key serverKey) ([]destinationState, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dumps++
	if k.servers[key] == nil {
		return nil, fmt.Errorf("no virtual server %v", key)
	}
	var all []destinationState
	for addr, weight := range k.servers[key].destinations {
		all = append(all, destinationState{destination{addr, weight}, k.connections[addr]})
	}
	return all, nil
}

func (k *fakeKernel) AddDestination(key serverKey, d destination) error {
	return k.putDestination("add", false, key, d)
}

func (k *fakeKernel) UpdateDestination(key serverKey, d destination) error {
	return k.putDestination("update", true, key, d)
}

func (k *fakeKernel) putDestination(verb string, exists bool, key serverKey, d destination) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.servers[key]
	if s == nil {
		return fmt.Errorf("no virtual server %v", key)
	}
	_, found := s.destinations[d.addr]
	if err := k.write(found == exists, "%s destination %v of %v weight %d", verb, d.addr, key, d.weight); err != nil {
		return err
	}
	s.destinations[d.addr] = d.weight
	return nil
}

func (k *fakeKernel) DeleteDestination(key serverKey, addr netip.AddrPort) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.servers[key]
	if s == nil {
		return fmt.Errorf("no virtual server %v", key)
	}
	_, found := s.destinations[addr]
	if err := k.write(found, "delete destination %v of %v", addr, key); err != nil {
		return err
	}
	delete(s.destinations, addr)
	return nil
}

func (*fakeKernel) CreateDevice() error { return nil }

func (k *fakeKernel) Addresses() (device, node []netip.Addr, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dumps++
	k.changed = false
	return slices.Collect(maps.Keys(k.device)), k.node, nil
}

func (k *fakeKernel) AddAddress(addr netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.write(!k.device[addr], "add address %v", addr); err != nil {
		return err
	}
	k.device[addr] = true
	return nil
}

func (k *fakeKernel) DeleteAddress(addr netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.write(k.device[addr], "delete address %v", addr); err != nil {
		return err
	}
	delete(k.device, addr)
	return nil
}

func (k *fakeKernel) ReplaceSets(elements map[element]mark) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.write(true, "replace sets"); err != nil {
		return err
	}
	k.sets = maps.Clone(elements)
	return nil
}

func (k *fakeKernel) PutElements(set setName, elements []element, marks map[element]mark) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range elements {
		m, found := marks[e]
		if err := k.write(e.set == set && found, "put element %v %v", e, m); err != nil {
			return err
		}
		k.sets[e] = m
	}
	return nil
}

func (k *fakeKernel) DeleteElements(set setName, elements []element) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range elements {
		_, found := k.sets[e]
		if err := k.write(e.set == set && found, "delete element %v", e); err != nil {
			return err
		}
		delete(k.sets, e)
	}
	return nil
}

func (k *fakeKernel) ReplaceRules(_ context.Context, node *localsink.Node) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.write(true, "replace rules"); err != nil {
		return err
	}
	k.hasRules, k.rules = true, ""
	for _, isIPv6 := range []bool{false, true} {
		k.rules += restoreText(ruleWriter{&k.cfg, node, isIPv6}.tables(), "")
	}
	return nil
}

func (k *fakeKernel) AddressesChanged() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	changed := k.changed
	k.changed = false
	return changed
}

func (k *fakeKernel) SetSizes() (map[setName]setSize, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	sizes := map[setName]setSize{}
	for e := range k.sets {
		size := sizes[e.set]
		size.elements++
		sizes[e.set] = size
	}
	if k.hasRules {
		for _, set := range setNames() {
			size := sizes[set]
			size.references = 2
			sizes[set] = size
		}
	}
	return sizes, nil
}

// change changes the kernel as another program does.
func (k *fakeKernel) change(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// describe returns the content of the kernel. In place of marks of virtual servers, which depend on
// history if two have the same hash, it has the virtual server.
func (k *fakeKernel) describe() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var lines []string
	for key, s := range k.servers {
		if key.mark == 0 {
			lines = append(lines, fmt.Sprintf("server %v %v", key, s.text()))
		}
	}
	for addr := range k.device {
		lines = append(lines, fmt.Sprint("address ", addr))
	}
	marks := map[serverKey]bool{}
	for e, m := range k.sets {
		text := fmt.Sprintf("%#x/%#x", m.value, m.mask)
		key := serverKey{mark: m.value, isIPv6: e.addr.Is6()}
		if s := k.servers[key]; s != nil && m.mask == ^uint32(0) {
			text = fmt.Sprintf("%#x %s", m.value&k.cfg.MasqueradeMark, s.text())
			marks[key] = true
		}
		lines = append(lines, fmt.Sprintf("element %v: %s", e, text))
	}
	for key := range k.servers {
		if key.mark != 0 && !marks[key] {
			lines = append(lines, fmt.Sprintf("unused server %v", key))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n" + k.rules
}

func (s *fakeServer) text() string {
	var all []string
	for addr, weight := range s.destinations {
		all = append(all, fmt.Sprintf("%v=%d", addr, weight))
	}
	slices.Sort(all)
	return fmt.Sprint(s.serverOptions, all)
}

// newTestBackend returns a backend with a fake kernel, which looks for drift every hour.
func newTestBackend(t *testing.T, cfg Config) (*Backend, *fakeKernel) {
	t.Helper()
	cfg, err := cfg.withDefaults()
	require.NoError(t, err)
	k := newFakeKernel()
	k.cfg = cfg
	b := newBackend(cfg, k, func() error { return nil }, time.Hour)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b, k
}
