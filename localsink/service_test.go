// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestServiceName(t *testing.T) {
	sorted := []localsink.ServiceName{{}, {Name: "b"}, {Namespace: "a", Name: "b"}, {Namespace: "a", Name: "c"}, {Namespace: "b", Name: "a"}}
	for i, a := range sorted {
		for j, b := range sorted {
			require.Equal(t, i < j, a.Compare(b) < 0, "%s, %s", a, b)
			require.Equal(t, i == j, a.Compare(b) == 0, "%s, %s", a, b)
		}
	}
	require.Equal(t, "default/web", localsink.ServiceName{Namespace: "default", Name: "web"}.String())
}

func TestNeeds(t *testing.T) {
	frontend := func(kind localsink.FrontendKind, addr string) localsink.Frontend {
		return localsink.Frontend{Kind: kind, Addr: netip.MustParseAddrPort(addr)}
	}
	port := func(protocol localsink.Protocol, frontends ...localsink.Frontend) localsink.Port {
		return localsink.Port{Protocol: protocol, Frontends: frontends}
	}
	restricted := frontend(localsink.KindLoadBalancer, "192.0.2.1:80")
	restricted.SourceRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	closed := frontend(localsink.KindLoadBalancer, "192.0.2.1:80")
	closed.SourceRanges = []netip.Prefix{}
	sticky := port(localsink.ProtocolTCP)
	sticky.Affinity = time.Second

	for _, c := range []struct {
		name  string
		ports []localsink.Port
		want  localsink.Features
		text  string
	}{
		{"nothing", nil, 0, ""},
		{"only a port", []localsink.Port{port(localsink.ProtocolTCP)}, localsink.FeatureTCP, "TCP"},
		{"UDP", []localsink.Port{port(localsink.ProtocolUDP)}, localsink.FeatureUDP, "UDP"},
		{"SCTP", []localsink.Port{port(localsink.ProtocolSCTP)}, localsink.FeatureSCTP, "SCTP"},
		{"affinity", []localsink.Port{sticky}, localsink.FeatureTCP | localsink.FeatureAffinity, "TCP, session affinity"},
		{
			"a cluster IP", []localsink.Port{port(localsink.ProtocolTCP, frontend(localsink.KindClusterIP, "10.0.0.1:80"))},
			localsink.FeatureTCP | localsink.FeatureIPv4 | localsink.FeatureClusterIP, "IPv4, TCP, ClusterIP",
		},
		{
			"a node port", []localsink.Port{port(localsink.ProtocolTCP, frontend(localsink.KindNodePort, "[::]:30080"))},
			localsink.FeatureTCP | localsink.FeatureIPv6 | localsink.FeatureNodePort, "IPv6, TCP, NodePort",
		},
		{
			"an external IP", []localsink.Port{port(localsink.ProtocolUDP, frontend(localsink.KindExternalIP, "192.0.2.1:53"))},
			localsink.FeatureUDP | localsink.FeatureIPv4 | localsink.FeatureExternalIP, "IPv4, UDP, ExternalIP",
		},
		{
			"source ranges", []localsink.Port{port(localsink.ProtocolTCP, restricted)},
			localsink.FeatureTCP | localsink.FeatureIPv4 | localsink.FeatureLoadBalancer | localsink.FeatureSourceRanges,
			"IPv4, TCP, source ranges, LoadBalancer",
		},
		{
			"source ranges that let in nobody", []localsink.Port{port(localsink.ProtocolTCP, closed)},
			localsink.FeatureTCP | localsink.FeatureIPv4 | localsink.FeatureLoadBalancer | localsink.FeatureSourceRanges,
			"IPv4, TCP, source ranges, LoadBalancer",
		},
		{
			"all ports and frontends count", []localsink.Port{
				port(localsink.ProtocolTCP, frontend(localsink.KindClusterIP, "10.0.0.1:80"), frontend(localsink.KindClusterIP, "[fd00::1]:80")),
				port(localsink.ProtocolSCTP, frontend(localsink.KindExternalIP, "192.0.2.1:80")),
			},
			localsink.FeatureTCP | localsink.FeatureSCTP | localsink.FeatureIPv4 | localsink.FeatureIPv6 |
				localsink.FeatureClusterIP | localsink.FeatureExternalIP,
			"IPv4, IPv6, TCP, SCTP, ClusterIP, ExternalIP",
		},
	} {
		s := &localsink.Service{Ports: c.ports}
		require.Equal(t, c.want, s.RequiredFeatures(), c.name)
		require.Equal(t, c.text, s.RequiredFeatures().String(), c.name)
	}
}

func TestFeatures(t *testing.T) {
	require.Equal(t, "IPv4, IPv6, TCP, UDP, SCTP, session affinity, source ranges, ClusterIP, NodePort, ExternalIP, LoadBalancer",
		(localsink.FeatureLoadBalancer<<1 - 1).String())
	require.Equal(t, "LoadBalancer", localsink.FeatureLoadBalancer.String(), "every feature has its own name")
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		value interface{ String() string }
		want  string
	}{
		{localsink.KindClusterIP, "ClusterIP"},
		{localsink.KindNodePort, "NodePort"},
		{localsink.KindExternalIP, "ExternalIP"},
		{localsink.KindLoadBalancer, "LoadBalancer"},
		{localsink.FrontendKind(0), "unknown"},
		{localsink.FromAny, "Anyone"},
		{localsink.FromLocalPods, "LocalPods"},
		{localsink.FromThisNode, "ThisNode"},
		{localsink.From(99), "unknown"},
		{localsink.VerdictReject, "Reject"},
		{localsink.VerdictDrop, "Drop"},
		{localsink.ProtocolTCP, "TCP"},
		{localsink.ProtocolUDP, "UDP"},
		{localsink.ProtocolSCTP, "SCTP"},
		{localsink.Protocol(1), "unknown"},
		{localsink.Problem{Object: "Service a/b", Field: "spec.type", Message: "is odd"}, "Service a/b: spec.type: is odd"},
	} {
		require.Equal(t, c.want, c.value.String())
	}
}

// TestNodeEqual mutates every field of a node: a change that is not seen would never
// reach a sink.
func TestNodeEqual(t *testing.T) {
	node := func() *localsink.Node {
		p := netip.MustParsePrefix("192.0.2.0/24")
		return &localsink.Node{
			Name: "node", IPs: []netip.Addr{p.Addr()}, NodePortAddresses: []netip.Prefix{p},
			LoopbackNodePorts: []netip.Addr{p.Addr()}, ServiceNetworks: []netip.Prefix{p}, Deleting: true,
			LocalPods: localsink.PodSources{Networks: []netip.Prefix{p}, Interface: "a", InterfacePrefix: "b"},
		}
	}
	require.True(t, node().Equal(node()))
	for _, part := range []func(*localsink.Node) reflect.Value{
		func(n *localsink.Node) reflect.Value { return reflect.ValueOf(n).Elem() },
		func(n *localsink.Node) reflect.Value { return reflect.ValueOf(&n.LocalPods).Elem() },
	} {
		for i := range part(node()).NumField() {
			changed := node()
			field := part(changed).Field(i)
			require.False(t, field.IsZero(), "the test gives no value to %s", part(changed).Type().Field(i).Name)
			field.SetZero()
			require.False(t, node().Equal(changed), part(changed).Type().Field(i).Name)
		}
	}
}
