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

// endpoint parses "ADDRESS FLAGS...": R ready, U not ready, S serving though not ready, ST
// serving and terminating, D terminating and not serving, RT ready though terminating, L
// on this node, @X on node X, zX a hint for zone X, nX a hint for node X.
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

// name returns the name of the Service in tests that have only one.
func name() watchers.ServiceName { return watchers.ServiceName{Namespace: "ns", Name: "svc"} }

// service returns a Service with one unnamed TCP port.
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

// slice returns an EndpointSlice of that Service, with an unnamed port.
func slice(t *testing.T, id string, endpoints ...string) *watchers.EndpointSlice {
	s := &watchers.EndpointSlice{
		Namespace: "ns", Name: id, Service: name(), Family: watchers.FamilyIPv4,
		Ports: []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 80}},
	}
	for _, text := range endpoints {
		s.Endpoints = append(s.Endpoints, endpoint(t, text))
	}
	return s
}

// A testNode is a Resolver with its store. It acknowledges every update at once.
type testNode struct {
	t        *testing.T
	store    *watchers.Store
	resolver *nodelocal.Resolver
}

func newNode(t *testing.T, cfg nodelocal.Config, objects ...watchers.Object) *testNode {
	if cfg.NodeName == "" {
		cfg.NodeName = "node-1"
	}
	n := &testNode{t: t, store: watchers.NewStore()}
	var err error
	n.resolver, err = nodelocal.NewResolver(n.store, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.resolver.Close()) })
	n.set(objects...)
	n.update()
	return n
}

func (n *testNode) set(objects ...watchers.Object) {
	n.store.Update(func(tx *watchers.Tx) {
		for _, object := range objects {
			tx.Set(object)
		}
	})
}

func (n *testNode) deleteSlice(id string) {
	n.store.Update(func(tx *watchers.Tx) { tx.DeleteEndpointSlice("ns", id) })
}

// update acknowledges and returns the next update; nil means that nothing changed.
func (n *testNode) update() *localsink.Update {
	n.resolver.Refresh()
	u := n.resolver.Pending()
	if u != nil {
		n.resolver.Acknowledge(u)
	}
	return u
}

// get returns the desired state of a Service, nil if it has none.
func (n *testNode) get(name watchers.ServiceName) *localsink.Service {
	n.resolver.Refresh()
	return n.resolver.FullUpdate().All.Get(name)
}

// node returns the state of the node.
func (n *testNode) node() *localsink.Node {
	n.resolver.Refresh()
	return n.resolver.FullUpdate().Node
}

// last returns the last byte of each endpoint's address, each after a period.
func last(endpoints []localsink.Endpoint) string {
	var b strings.Builder
	for _, e := range endpoints {
		fmt.Fprintf(&b, ".%d", e.Addr.Addr().As16()[15])
	}
	return b.String()
}

func at(seconds int64) time.Time { return time.Unix(seconds, 0) }
