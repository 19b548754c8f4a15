// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// TestExplain covers every reason why an endpoint is not used.
func TestExplain(t *testing.T) {
	store := watchers.NewStore()
	name := watchers.ServiceName{Namespace: "ns", Name: "svc"}
	slice := func(id string, family watchers.IPFamily, port string, endpoints ...string) *watchers.EndpointSlice {
		s := &watchers.EndpointSlice{Namespace: "ns", Name: id, Service: name, Family: family,
			Ports: []watchers.EndpointPort{{Name: port, Protocol: localsink.ProtocolTCP, Port: 8080}}}
		for _, e := range endpoints {
			s.Endpoints = append(s.Endpoints, endpoint(t, e))
		}
		return s
	}
	store.Update(func(tx *watchers.Tx) {
		tx.SetService(&watchers.Service{Name: name, ClusterIP: netip.MustParseAddr("10.96.0.1"),
			Ports: []watchers.ServicePort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 80}}})
		tx.SetNode(&watchers.Node{Name: "node-1", Zone: "A"})
		tx.SetEndpointSlice(slice("good", watchers.FamilyIPv4, "http", "10.0.0.1 R zA L", "10.0.0.2 R zB", "10.0.0.3 ST", "10.0.0.4 D", "10.0.0.5 U"))
		tx.SetEndpointSlice(slice("named", watchers.FamilyIPv4, "web", "10.0.0.6 R"))
		tx.SetEndpointSlice(slice("six", watchers.FamilyIPv6, "http", "fd00::1 R"))
	})
	x, err := nodelocal.Explain(store.Snapshot(), nodelocal.Config{NodeName: "node-1"}, name)
	require.NoError(t, err)
	require.Equal(t, `ns/svc
  port "http" TCP
    draining: [10.0.0.2:8080 10.0.0.3:8080]
    ClusterIP 10.96.0.1:80
      Any -> 10.0.0.1:8080(local)
  endpoint 10.0.0.1:8080 for port "http" (slice good, node "node-1"): used, also by traffic that must stay on this node
  endpoint 10.0.0.2:8080 for port "http" (slice good, node "elsewhere"): not used: its hints are for zones [B] and nodes []; this is node "node-1" in zone "A"
  endpoint 10.0.0.3:8080 for port "http" (slice good, node "elsewhere"): not used: it is terminating, and others are ready
  endpoint 10.0.0.4:8080 for port "http" (slice good, node "elsewhere"): not used: it is terminating and does not serve
  endpoint 10.0.0.5:8080 for port "http" (slice good, node "elsewhere"): not used: it is not ready
  endpoint [fd00::1]:8080 for port "http" (slice six, node "elsewhere"): not used: the Service has no IPv6 cluster IP
  slice named has no port "http"/TCP; it has "web"/TCP
`, x.Text())
	unzoned, err := nodelocal.Explain(store.Snapshot(), nodelocal.Config{NodeName: "node-2"}, name)
	require.NoError(t, err)
	require.Contains(t, unzoned.Text(), `10.0.0.2:8080 for port "http" (slice good, node "elsewhere"): used`+"\n", "hints do not apply to a node without a zone")
	none, err := nodelocal.Explain(store.Snapshot(), nodelocal.Config{NodeName: "node-1"}, watchers.ServiceName{})
	require.NoError(t, err)
	require.Nil(t, none)
}

// TestExplainUnmatchedPortsAndLocalTraffic covers EndpointSlices without the Service's port,
// and endpoints that only local traffic uses.
func TestExplainUnmatchedPortsAndLocalTraffic(t *testing.T) {
	udp := slice(t, "udp", "10.0.0.9 R")
	udp.Ports[0].Protocol = localsink.ProtocolUDP
	explain := func(cfg nodelocal.Config, objects ...watchers.Object) string {
		store := watchers.NewStore()
		store.Update(func(tx *watchers.Tx) {
			for _, object := range append(objects, service(), &watchers.Node{Name: "node-1", Zone: "A"}) {
				tx.Set(object)
			}
		})
		x, err := nodelocal.Explain(store.Snapshot(), cfg, name())
		require.NoError(t, err)
		return x.Text()
	}
	cfg := nodelocal.Config{NodeName: "node-1"}
	require.Contains(t, explain(cfg), "  there is no EndpointSlice for it\n")
	require.Contains(t, explain(nodelocal.Config{NodeName: "node-1", MasqueradeAll: true}, slice(t, "a", "10.0.0.1 R")), "Any -> 10.0.0.1:80 masqueraded")

	text := explain(cfg, udp, slice(t, "zones", "10.0.0.1 R zB L", "10.0.0.2 R zA"))
	require.Contains(t, text, "10.0.0.1:80 for port \"\" (slice zones, node \"node-1\"): used only by traffic that must stay on this node: its hints")
	require.Contains(t, text, "  slice udp has no port \"\"/TCP; it has \"\"/UDP\n")
	require.NotContains(t, text, "there is no EndpointSlice")
	require.NotContains(t, text, "slice zones has no port")

	text = explain(cfg, slice(t, "nodes", "10.0.0.1 R zA nnode-2", "10.0.0.2 R zA nnode-1", "10.0.0.3 ST L"))
	require.Contains(t, text, "10.0.0.1:80 for port \"\" (slice nodes, node \"elsewhere\"): not used: its hints are for zones [A] and nodes [node-2]; this is node \"node-1\"")
	require.Contains(t, text, "10.0.0.2:80 for port \"\" (slice nodes, node \"elsewhere\"): used\n")
	require.Contains(t, text, "10.0.0.3:80 for port \"\" (slice nodes, node \"node-1\"): used only by traffic that must stay on this node: it is terminating, and others are ready\n")
}

// TestExplainForAnotherProxy: Services of another proxy have no explanation, and an invalid
// Config is an error.
func TestExplainForAnotherProxy(t *testing.T) {
	store, other := watchers.NewStore(), "other"
	store.Update(func(tx *watchers.Tx) { tx.SetService(service(func(s *watchers.Service) { s.ProxyName = &other })) })
	x, err := nodelocal.Explain(store.Snapshot(), nodelocal.Config{NodeName: "node-1"}, name())
	require.NoError(t, err)
	require.Nil(t, x)
	x, err = nodelocal.Explain(store.Snapshot(), nodelocal.Config{NodeName: "node-1", ProxyName: "other"}, name())
	require.NoError(t, err)
	require.NotNil(t, x)
	_, err = nodelocal.Explain(store.Snapshot(), nodelocal.Config{NodeName: "node-1", NodePortAddresses: []string{"nowhere"}}, name())
	require.ErrorContains(t, err, "nodelocal: invalid Config")
}
