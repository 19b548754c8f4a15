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

func TestFeatureNames(t *testing.T) {
	require.Equal(t, "IPv4, IPv6, TCP, UDP, SCTP, session affinity, source ranges, ClusterIP, NodePort, ExternalIP, LoadBalancer",
		(localsink.FeatureLoadBalancer<<1 - 1).String())
	require.Equal(t, "LoadBalancer", localsink.FeatureLoadBalancer.String(), "the last name belongs to the last feature")
}
