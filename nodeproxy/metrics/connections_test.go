// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// A fakeCounter has the same counts for each Service but "broken".
type fakeCounter struct{}

func (fakeCounter) CountsConnections() bool { return true }

func (fakeCounter) FrontendConnections(_ context.Context, name localsink.ServiceName) ([]localsink.FrontendConnections, error) {
	if name.Name == "broken" {
		return nil, errors.New("injected")
	}
	one := localsink.FrontendConnections{Port: "http", Protocol: localsink.ProtocolTCP, Kind: localsink.KindNodePort, Addr: netip.MustParseAddrPort("0.0.0.0:30080"), Count: 3}
	return []localsink.FrontendConnections{one, one}, nil // two ports with the same labels
}

func (fakeCounter) EndpointConnections(_ context.Context, name localsink.ServiceName) ([]localsink.EndpointConnections, error) {
	if name.Name == "halfbroken" {
		return nil, errors.New("injected")
	}
	endpoint := netip.MustParseAddrPort("[fd00::1]:8080")
	return []localsink.EndpointConnections{
		{Port: "http", Protocol: localsink.ProtocolTCP, Frontend: netip.MustParseAddrPort("0.0.0.0:30080"), Endpoint: endpoint, Count: 4},
		{Port: "dns", Protocol: localsink.ProtocolUDP, Endpoint: endpoint, Count: 5},
	}, nil
}

func TestConnectionsAreCollected(t *testing.T) {
	services := func(names ...localsink.ServiceName) func() iter.Seq[*localsink.Service] {
		var all []*localsink.Service
		for _, name := range names {
			all = append(all, &localsink.Service{Name: name})
		}
		return func() iter.Seq[*localsink.Service] { return slices.Values(all) }
	}
	web, route := localsink.ServiceName{Namespace: "ns", Name: "web"}, localsink.ServiceName{Namespace: "ns", Name: "web", Origin: "TCPRoute"}
	const frontends = `
# HELP kpng_connection_count_failures_total Failed reads of the number of new connections of a Service.
# TYPE kpng_connection_count_failures_total counter
kpng_connection_count_failures_total FAILURES
# HELP kpng_frontend_new_connections_total New connections to a frontend of a Service, rejected ones included.
# TYPE kpng_frontend_new_connections_total counter
kpng_frontend_new_connections_total{frontend="0.0.0.0:30080",kind="NodePort",namespace="ns",origin="",port="http",protocol="tcp",service="web"} 6
kpng_frontend_new_connections_total{frontend="0.0.0.0:30080",kind="NodePort",namespace="ns",origin="TCPRoute",port="http",protocol="tcp",service="web"} 6
`
	c := NewConnections(ConnectionsConfig{Counter: fakeCounter{}, Services: services(web, route, localsink.ServiceName{Name: "broken"})})
	require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(strings.ReplaceAll(frontends, "FAILURES", "1"))))
	require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(strings.ReplaceAll(frontends, "FAILURES", "2"))), "failures accumulate")

	c = NewConnections(ConnectionsConfig{Counter: fakeCounter{}, Services: services(web), Endpoints: true})
	require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP kpng_endpoint_new_connections_total New connections to an endpoint of a Service; without a frontend if all frontends of the port are counted together.
# TYPE kpng_endpoint_new_connections_total counter
kpng_endpoint_new_connections_total{endpoint="[fd00::1]:8080",frontend="",namespace="ns",origin="",port="dns",protocol="udp",service="web"} 5
kpng_endpoint_new_connections_total{endpoint="[fd00::1]:8080",frontend="0.0.0.0:30080",namespace="ns",origin="",port="http",protocol="tcp",service="web"} 4
`), "kpng_endpoint_new_connections_total"))
	c = NewConnections(ConnectionsConfig{Counter: fakeCounter{}, Services: services(localsink.ServiceName{Name: "halfbroken"}), Endpoints: true})
	require.Equal(t, 2, testutil.CollectAndCount(c), "the frontend and the number of failures")
}
