// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// endpoint reads "ADDR FLAGS...": R ready, U not ready, S serving though not ready, ST
// serving and terminating, D terminating and not serving, RT ready though terminating, L
// on this node, zX a hint for zone X, nX a hint for node X.
func endpoint(t *testing.T, text string) watchers.Endpoint {
	words := strings.Fields(text)
	e := watchers.Endpoint{Addr: netip.MustParseAddr(words[0]), Node: "elsewhere"}
	var hints watchers.Hints
	for _, w := range words[1:] {
		switch {
		case w == "R":
			e.Ready, e.Serving = true, true
		case w == "U":
		case w == "S":
			e.Serving = true
		case w == "ST":
			e.Serving, e.Terminating = true, true
		case w == "D":
			e.Terminating = true
		case w == "RT":
			e.Ready, e.Terminating = true, true
		case w == "L":
			e.Node = "node-1"
		case w[0] == '@':
			e.Node = w[1:]
		case w[0] == 'z':
			hints.Zones = append(hints.Zones, w[1:])
		case w[0] == 'n':
			hints.Nodes = append(hints.Nodes, w[1:])
		default:
			t.Fatalf("flag %q", w)
		}
	}
	if hints.Zones != nil || hints.Nodes != nil {
		e.Hints = &hints
	}
	return e
}

// name is the Service of the tests that have one.
func name() watchers.ServiceName { return watchers.ServiceName{Namespace: "ns", Name: "svc"} }

// service makes a Service with one TCP port without a name.
func service(change ...func(*watchers.Service)) *watchers.Service {
	s := &watchers.Service{
		Name: name(), ClusterIP: netip.MustParseAddr("10.96.0.1"),
		Ports: []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 80}},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

// slice makes a slice of that Service; its port has no name either.
func slice(t *testing.T, id string, endpoints ...string) *watchers.EndpointSlice {
	s := &watchers.EndpointSlice{
		Namespace: "ns", Name: id, Service: name(), Family: watchers.IPv4,
		Ports: []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 80}},
	}
	for _, text := range endpoints {
		s.Endpoints = append(s.Endpoints, endpoint(t, text))
	}
	return s
}

// A node is what one node does about facts, driven as a sink is: what Pending returns
// is accepted at once.
type node struct {
	t     *testing.T
	store *watchers.Store
	table *nodelocal.Resolver
}

func newNode(t *testing.T, cfg nodelocal.Config, facts ...watchers.Object) *node {
	if cfg.NodeName == "" {
		cfg.NodeName = "node-1"
	}
	n := &node{t: t, store: watchers.NewStore()}
	var err error
	n.table, err = nodelocal.NewResolver(n.store, cfg)
	require.NoError(t, err)
	t.Cleanup(n.table.Close)
	n.set(facts...)
	n.update()
	return n
}

func (n *node) set(facts ...watchers.Object) {
	n.store.Update(func(tx *watchers.Tx) {
		for _, f := range facts {
			tx.Set(f)
		}
	})
}

func (n *node) deleteSlice(id string) {
	n.store.Update(func(tx *watchers.Tx) { tx.DeleteEndpointSlice("ns", id) })
}

// update returns the next update, nil if nothing is different, and accepts it.
func (n *node) update() *localsink.Update {
	n.table.Refresh()
	u := n.table.Pending()
	if u != nil {
		n.table.Acknowledge(u)
	}
	return u
}

// get returns what the node does for a Service, nil for nothing.
func (n *node) get(name watchers.ServiceName) *localsink.Service {
	n.table.Refresh()
	return n.table.FullUpdate().All.Get(name)
}

// node returns what the node is.
func (n *node) node() *localsink.Node {
	n.table.Refresh()
	return n.table.FullUpdate().Node
}

// last returns endpoints by the last byte of their addresses.
func last(endpoints []localsink.Endpoint) string {
	var b strings.Builder
	for _, e := range endpoints {
		b.WriteString(fmt.Sprintf(".%d", e.Addr.Addr().As16()[15]))
	}
	return b.String()
}

func at(seconds int64) time.Time { return time.Unix(seconds, 0) }
