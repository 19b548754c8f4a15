// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// A selectionTest applies states of Services to a model of the kernel.
type selectionTest struct {
	t  *testing.T
	k  *modelKernel
	st *tableState
}

func newSelectionTest(t *testing.T, cfg Config) *selectionTest {
	k := newModelKernel(t)
	cfg.MasqueradeMark = 1
	return &selectionTest{t, k, newTableState(ipv4(), newNodeMatches(ipv4(), nil), cfg, k)}
}

// apply brings the Services to a state and returns the number of written elements.
func (s *selectionTest) apply(services ...*localsink.Service) int {
	s.t.Helper()
	before := s.k.ops
	var changes []serviceChange
	for _, svc := range services {
		changes = append(changes, serviceChange{name: svc.Name, desired: svc})
	}
	s.st.apply(changes, nil)
	require.True(s.t, s.st.sizeSets())
	s.k.commit(s.st)
	return s.k.ops - before
}

// newConsistentService returns a Service with one frontend and remote endpoints.
func newConsistentService(name, frontend string, endpoints []localsink.Endpoint) *localsink.Service {
	endpoints = slices.Clone(endpoints)
	for i := range endpoints {
		endpoints[i].Local = false
	}
	return newService(name, localsink.Port{Selection: localsink.SelectionClient, Pools: []localsink.Pool{{Endpoints: endpoints}},
		Frontends: []localsink.Frontend{newFrontend(localsink.KindExternalIP, frontend)}})
}

// Services with equal endpoints share a table. A change of all of them keeps it, a change of one
// makes another.
func TestEqualPoolsShareTable(t *testing.T) {
	s := newSelectionTest(t, Config{})
	web := func(n int) *localsink.Service { return newConsistentService("a", "10.96.0.1:80", manyEndpoints(0, n)) }
	dns := func(n int) *localsink.Service { return newConsistentService("b", "10.96.0.2:80", manyEndpoints(0, n)) }
	s.apply(web(10))
	require.Equal(t, 1, s.apply(web(10), dns(10)), "a verdict")
	require.Len(t, s.st.selections, 1)
	name := s.k.sets[mapServiceIPs][modelKey{key: frontendKey{dns(10).Ports[0].Frontends[0].Addr, localsink.ProtocolTCP}}].chain

	ops := s.apply(web(9), dns(9))
	require.Less(t, ops, 2*8191/8, "about a tenth of the slots, and an endpoint")
	require.Len(t, s.st.selections, 1)
	require.Equal(t, name, s.k.sets[mapServiceIPs][modelKey{key: frontendKey{dns(10).Ports[0].Frontends[0].Addr, localsink.ProtocolTCP}}].chain, "no verdict changes")
	s.k.verify(s.st, slices.Values([]*localsink.Service{web(9), dns(9)}))

	s.apply(web(8))
	require.Len(t, s.st.selections, 2)
	s.k.verify(s.st, slices.Values([]*localsink.Service{web(8), dns(9)}))
	s.apply(web(9))
	require.Len(t, s.st.selections, 1)

	// With 129 endpoints the hash has more slots.
	s.apply(web(128), dns(128))
	s.apply(web(129), dns(129))
	require.Len(t, s.st.selections, 1)
	s.k.verify(s.st, slices.Values([]*localsink.Service{web(129), dns(129)}))
}

// A changed weight changes the table of its pool only.
func TestChangedWeightOfConsistentPool(t *testing.T) {
	s := newSelectionTest(t, Config{})
	endpoints := manyEndpoints(0, 4)
	web, other := newConsistentService("a", "10.96.0.1:80", endpoints), newConsistentService("b", "10.96.0.2:80", manyEndpoints(100, 4))
	s.apply(web, other)
	endpoints[0].Weight = 2
	heavier := newConsistentService("a", "10.96.0.1:80", endpoints)
	// The share grows from 1/4 to 2/5.
	require.Less(t, s.apply(heavier), 2*8191*17/100)
	s.k.verify(s.st, slices.Values([]*localsink.Service{heavier, other}))
}

// With counters, ports do not share tables.
func TestCountedPortsHaveTablesOfTheirOwn(t *testing.T) {
	s := newSelectionTest(t, Config{CountConnections: true})
	s.apply(newConsistentService("a", "10.96.0.1:80", manyEndpoints(0, 3)), newConsistentService("b", "10.96.0.2:80", manyEndpoints(0, 3)))
	require.Len(t, s.st.selections, 2)
}

// On a kernel without hashes, selection is random.
func TestSelectionWithoutHashIsRandom(t *testing.T) {
	s := newSelectionTest(t, Config{withoutHash: true})
	web := newConsistentService("a", "10.96.0.1:80", manyEndpoints(0, 3))
	s.apply(web)
	require.Empty(t, s.st.selections)
	random := *web
	random.Ports = slices.Clone(web.Ports)
	random.Ports[0].Selection = localsink.SelectionRandom
	s.k.verify(s.st, slices.Values([]*localsink.Service{&random}))
}

// The description has the endpoints, not thousands of slots.
func TestDescriptionOfConsistentSelectionIsShort(t *testing.T) {
	text, err := Describe(Config{}, firstUpdate(&localsink.Node{}, newConsistentService("a", "10.96.0.1:80", manyEndpoints(0, 3))))
	require.NoError(t, err)
	require.Less(t, strings.Count(text, "\n"), 15, text)
	require.Contains(t, text, "goto consistent-1-client-tcp")
}
