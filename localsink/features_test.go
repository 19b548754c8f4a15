// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestRequiredFeatures(t *testing.T) {
	frontend := func(kind localsink.FrontendKind, addr string) localsink.Frontend {
		return localsink.Frontend{Kind: kind, Addr: netip.MustParseAddrPort(addr)}
	}
	port := func(protocol localsink.Protocol, frontends ...localsink.Frontend) localsink.Port {
		return localsink.Port{Protocol: protocol, Frontends: frontends}
	}
	withRanges := frontend(localsink.KindLoadBalancer, "192.0.2.1:80")
	withRanges.SourceRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	withEmptyRanges := frontend(localsink.KindLoadBalancer, "192.0.2.1:80")
	withEmptyRanges.SourceRanges = []netip.Prefix{}
	withAffinity := port(localsink.ProtocolTCP)
	withAffinity.Affinity = time.Second

	for _, c := range []struct {
		name  string
		ports []localsink.Port
		want  localsink.Features
		text  string
	}{
		{"no ports", nil, 0, ""},
		{"a port without frontends", []localsink.Port{port(localsink.ProtocolTCP)}, localsink.FeatureTCP, "TCP"},
		{"UDP", []localsink.Port{port(localsink.ProtocolUDP)}, localsink.FeatureUDP, "UDP"},
		{"SCTP", []localsink.Port{port(localsink.ProtocolSCTP)}, localsink.FeatureSCTP, "SCTP"},
		{"affinity", []localsink.Port{withAffinity}, localsink.FeatureTCP | localsink.FeatureAffinity, "TCP, session affinity"},
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
			"source ranges", []localsink.Port{port(localsink.ProtocolTCP, withRanges)},
			localsink.FeatureTCP | localsink.FeatureIPv4 | localsink.FeatureLoadBalancer | localsink.FeatureSourceRanges,
			"IPv4, TCP, source ranges, LoadBalancer",
		},
		{
			"empty source ranges", []localsink.Port{port(localsink.ProtocolTCP, withEmptyRanges)},
			localsink.FeatureTCP | localsink.FeatureIPv4 | localsink.FeatureLoadBalancer | localsink.FeatureSourceRanges,
			"IPv4, TCP, source ranges, LoadBalancer",
		},
		{
			"several ports and frontends", []localsink.Port{
				port(localsink.ProtocolTCP, frontend(localsink.KindClusterIP, "10.0.0.1:80"), frontend(localsink.KindClusterIP, "[fd00::1]:80")),
				port(localsink.ProtocolSCTP, frontend(localsink.KindExternalIP, "192.0.2.1:80")),
			},
			localsink.FeatureTCP | localsink.FeatureSCTP | localsink.FeatureIPv4 | localsink.FeatureIPv6 |
				localsink.FeatureClusterIP | localsink.FeatureExternalIP,
			"IPv4, IPv6, TCP, SCTP, ClusterIP, ExternalIP",
		},
	} {
		s := &localsink.Service{Ports: c.ports}
		require.Equal(t, c.want, s.RequiredFeatures(nil), c.name)
		require.Equal(t, c.text, s.RequiredFeatures(nil).String(), c.name)
	}
}

// TestRequiredFeaturesOfContent: a feature is required only where it changes what a packet
// meets, so that backends without it are not reported in vain.
func TestRequiredFeaturesOfContent(t *testing.T) {
	const none = localsink.FeatureTCP | localsink.FeatureIPv4 | localsink.FeatureClusterIP
	exceptions := &localsink.Node{NoMasquerade: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	endpoint := func(host byte, weight uint32) localsink.Endpoint {
		return localsink.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, host}), 80), Weight: weight}
	}
	for _, c := range []struct {
		name   string
		node   *localsink.Node
		change func(p *localsink.Port, fe *localsink.Frontend)
		want   localsink.Features
	}{
		{"nothing", nil, func(*localsink.Port, *localsink.Frontend) {}, 0},
		{"equal weights", nil, func(p *localsink.Port, _ *localsink.Frontend) {
			p.Pools[0].Endpoints = []localsink.Endpoint{endpoint(1, 3), endpoint(2, 3)}
		}, 0},
		{"different weights", nil, func(p *localsink.Port, _ *localsink.Frontend) {
			p.Pools[0].Endpoints = []localsink.Endpoint{endpoint(1, 3), endpoint(2, 4)}
		}, localsink.FeatureWeights},
		{"selection by client", nil, func(p *localsink.Port, _ *localsink.Frontend) {
			p.Selection = localsink.SelectionClient
		}, localsink.FeatureSelectionClient},
		{"selection by flow", nil, func(p *localsink.Port, _ *localsink.Frontend) {
			p.Selection = localsink.SelectionFlow
		}, localsink.FeatureSelectionFlow},
		{"least connections", nil, func(p *localsink.Port, _ *localsink.Frontend) {
			p.Selection = localsink.SelectionLeastConnections
		}, localsink.FeatureSelectionLeastConnections},
		{"a refused share", nil, func(p *localsink.Port, _ *localsink.Frontend) { p.RefusedPerMille = 1 }, localsink.FeatureRefusedShare},
		{"the verdict of an empty pool", nil, func(p *localsink.Port, fe *localsink.Frontend) {
			p.Pools[0], fe.Routes[0].EmptyVerdict = localsink.Pool{}, localsink.VerdictPass
		}, localsink.FeaturePass},
		{"the verdict of a pool with endpoints", nil, func(_ *localsink.Port, fe *localsink.Frontend) {
			fe.Routes[0].EmptyVerdict = localsink.VerdictPass
		}, 0},
		{"masquerade without exceptions", &localsink.Node{}, func(_ *localsink.Port, fe *localsink.Frontend) {
			fe.Routes[0].Masquerade = true
		}, 0},
		{"masquerade with exceptions", exceptions, func(_ *localsink.Port, fe *localsink.Frontend) {
			fe.Routes[0].Masquerade = true
		}, localsink.FeatureNoMasquerade},
		{"exceptions without masquerade", exceptions, func(*localsink.Port, *localsink.Frontend) {}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &localsink.Service{Name: localsink.ServiceName{Namespace: "a", Name: "b", Origin: "TCPRoute"}, Ports: []localsink.Port{{
				Protocol: localsink.ProtocolTCP, Pools: []localsink.Pool{{Endpoints: []localsink.Endpoint{endpoint(1, 1)}}},
				Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.0.0.1:80"), Routes: []localsink.Route{{}}}},
			}}}
			c.change(&s.Ports[0], &s.Ports[0].Frontends[0])
			require.Equal(t, none|c.want, s.RequiredFeatures(c.node))
			reported := s.WithUnsupported(^none, c.node)
			if c.want == 0 {
				require.Same(t, s, reported)
				return
			}
			require.Equal(t, []localsink.Problem{{Object: "TCPRoute a/b", Field: "spec",
				Message: "the backend of this node does not support " + c.want.String()}}, reported.Problems)
			require.Empty(t, s.Problems, "the Service itself is not changed")
		})
	}
}

func TestFeatureNames(t *testing.T) {
	require.Equal(t, "IPv4, IPv6, TCP, UDP, SCTP, session affinity, source ranges, ClusterIP, NodePort, ExternalIP, LoadBalancer, "+
		"endpoint weights, consistent selection by client, consistent selection by flow, selection by least connections, "+
		"verdict Pass, a share of refused connections, masquerade exceptions",
		(localsink.FeatureNoMasquerade<<1 - 1).String())
	require.Equal(t, "masquerade exceptions", localsink.FeatureNoMasquerade.String(), "the last name belongs to the last feature")
	supported := localsink.FeatureTCP | localsink.FeatureUDP
	require.NotContains(t, (^supported).String(), "UDP")
	require.Contains(t, (^supported).String(), "masquerade exceptions", "a feature that is not listed as supported is unsupported")
}
