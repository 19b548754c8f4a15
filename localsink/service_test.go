// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestServiceNamesAreOrdered(t *testing.T) {
	sorted := []localsink.ServiceName{{}, {Name: "b"}, {Namespace: "a", Name: "b"}, {Namespace: "a", Name: "b", Origin: "A"},
		{Namespace: "a", Name: "b", Origin: "B"}, {Namespace: "a", Name: "c"}, {Namespace: "b", Name: "a"}}
	for i, a := range sorted {
		for j, b := range sorted {
			require.Equal(t, i < j, a.Compare(b) < 0, "%s, %s", a, b)
			require.Equal(t, i == j, a.Compare(b) == 0, "%s, %s", a, b)
		}
	}
	web := localsink.ServiceName{Namespace: "default", Name: "web"}
	require.Equal(t, "default/web", web.String())
	require.Equal(t, "Service default/web", web.Object())
	web.Origin = "ServiceImport"
	require.Equal(t, "ServiceImport:default/web", web.String())
	require.Equal(t, "ServiceImport default/web", web.Object())
}

func TestServiceNamesAreParsed(t *testing.T) {
	for _, n := range []localsink.ServiceName{
		{Namespace: "default", Name: "web"}, {Namespace: "a", Name: "b:c"}, {Namespace: "a", Name: "b", Origin: "ServiceImport"},
		{Namespace: "a", Name: "b:c", Origin: "TCPRoute"},
	} {
		got, ok := localsink.ParseServiceName(n.String())
		require.True(t, ok, n)
		require.Equal(t, n, got)
	}
	for _, s := range []string{"", "web", "/web", "ns/", "a/b/c", "x:web", "x:/web", "x\n:a/b"} {
		_, ok := localsink.ParseServiceName(s)
		require.False(t, ok, s)
	}
	require.Equal(t, "TCPRoute a/b", localsink.ServiceName{Namespace: "a", Name: "b", Origin: "TCPRoute"}.Object())
	require.Equal(t, "Service a/b", localsink.ServiceName{Namespace: "a", Name: "b"}.Object())
}

func TestStrings(t *testing.T) {
	for _, c := range []struct {
		value interface{ String() string }
		want  string
	}{
		{localsink.KindClusterIP, "ClusterIP"},
		{localsink.KindNodePort, "NodePort"},
		{localsink.KindExternalIP, "ExternalIP"},
		{localsink.KindLoadBalancer, "LoadBalancer"},
		{localsink.FrontendKind(0), "unknown"},
		{localsink.FromAny, "Any"},
		{localsink.FromLocalPods, "LocalPods"},
		{localsink.FromThisNode, "ThisNode"},
		{localsink.From(99), "unknown"},
		{localsink.VerdictReject, "Reject"},
		{localsink.VerdictDrop, "Drop"},
		{localsink.VerdictPass, "Pass"},
		{localsink.Verdict(99), "unknown"},
		{localsink.SelectionRandom, "Random"},
		{localsink.SelectionClient, "Client"},
		{localsink.SelectionFlow, "Flow"},
		{localsink.SelectionLeastConnections, "LeastConnections"},
		{localsink.Selection(99), "unknown"},
		{localsink.ProtocolTCP, "TCP"},
		{localsink.ProtocolUDP, "UDP"},
		{localsink.ProtocolSCTP, "SCTP"},
		{localsink.Protocol(1), "unknown"},
		{localsink.Problem{Object: "Service a/b", Field: "spec.type", Message: "is odd"}, "Service a/b: spec.type: is odd"},
	} {
		require.Equal(t, c.want, c.value.String())
	}
}
