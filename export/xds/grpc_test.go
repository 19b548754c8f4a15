// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"sigs.k8s.io/kpng/export/xds"
	"sigs.k8s.io/kpng/localsink"
)

// accepted checks that no client has rejected anything.
func (f *fixture) accepted() {
	require.Equal(f.t, [4]int{}, f.sink.Stats().Rejections)
	require.Empty(f.t, f.sink.NotProgrammed())
}

// endpointsOf returns the endpoints of backends with weight 1.
func endpointsOf(backends ...*backend) []localsink.Endpoint {
	var all []localsink.Endpoint
	for _, b := range backends {
		all = append(all, endpoint(b.addr, 1))
	}
	return all
}

// untilServedBy calls until a backend serves.
func (f *fixture) untilServedBy(c healthpb.HealthClient, b *backend) {
	require.Eventually(f.t, func() bool {
		got, err := call(f.t.Context(), c)
		return err == nil && got == b.addr.String()
	}, timeout, timeout/10_000)
}

// TestGRPCClientReachesEndpoints calls a Service by its name, with a client of grpc-go that has no other
// configuration than the server's address.
func TestGRPCClientReachesEndpoints(t *testing.T) {
	f := newFixture(t, xds.Config{Logger: logger(t)})
	b := newBackends(t, 2)
	f.set(service("web", endpointsOf(b[0])...))
	c := f.dial(webName)
	require.Equal(t, b[0].addr.String(), f.mustCall(c))
	f.set(service("web", endpointsOf(b[1])...))
	f.untilServedBy(c, b[1])
	f.accepted()
}

// TestGRPCClientOfOtherDomain uses another cluster domain, and the domain of ServiceImports.
func TestGRPCClientOfOtherDomain(t *testing.T) {
	f := newFixture(t, xds.Config{ClusterDomain: "example.org"})
	b := newBackends(t, 2)
	imported := service("web", endpointsOf(b[1])...)
	imported.Name.Origin = "ServiceImport"
	f.set(service("web", endpointsOf(b[0])...), imported)
	require.Equal(t, b[0].addr.String(), f.mustCall(f.dial("web.default.svc.example.org:80")))
	require.Equal(t, b[1].addr.String(), f.mustCall(f.dial("web.default.svc.clusterset.local:80")))
	f.accepted()
}

// TestGRPCClientUsesWeights checks the shares of endpoints with the weights 1 and 3, and of two more.
func TestGRPCClientUsesWeights(t *testing.T) {
	f := newFixture(t, xds.Config{})
	b := newBackends(t, 4)
	f.set(service("web", endpoint(b[0].addr, 1), endpoint(b[1].addr, 3), endpoint(b[2].addr, 3), endpoint(b[3].addr, 3)))
	c := f.dial(webName)
	const calls = 2000
	for range calls {
		f.mustCall(c)
	}
	require.InDelta(t, calls/10, b[0].calls.Load(), calls/50)
	for _, x := range b[1:] {
		require.InDelta(t, calls*3/10, x.calls.Load(), calls/25)
	}
	f.accepted()
}

// TestGRPCClientStaysWithItsEndpoint checks consistent selection: a client has one endpoint, and most
// clients keep it when another one is removed. Session affinity has the same effect.
func TestGRPCClientStaysWithItsEndpoint(t *testing.T) {
	for name, change := range map[string]func(p *localsink.Port){
		"selection by client": func(p *localsink.Port) { p.Selection = localsink.SelectionClient },
		"session affinity":    func(p *localsink.Port) { p.Affinity = time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, xds.Config{})
			b := newBackends(t, 4)
			web := func(backends ...*backend) *localsink.Service {
				svc := service("web", endpointsOf(backends...)...)
				change(&svc.Ports[0])
				return svc
			}
			f.set(web(b...))
			const clients = 32
			all, first := make([]healthpb.HealthClient, clients), make([]string, clients)
			used := map[string]int{}
			for i := range all {
				all[i] = f.dial(webName)
				first[i] = f.mustCall(all[i])
				used[first[i]]++
				for range 20 {
					require.Equal(t, first[i], f.mustCall(all[i]))
				}
			}
			require.Greater(t, len(used), 1) // the chance that one has all clients is 4^-31
			removed := first[0]
			var remaining []*backend
			for _, x := range b {
				if x.addr.String() != removed {
					remaining = append(remaining, x)
				}
			}
			f.set(web(remaining...))
			kept := 0
			for i, c := range all {
				require.Eventually(t, func() bool { return f.mustCall(c) != removed }, timeout, timeout/10_000)
				if first[i] == f.mustCall(c) {
					kept++
				}
			}
			// About 17 % move to an endpoint whose part of the ring has grown; without a ring, two thirds.
			require.Greater(t, kept, (clients-used[removed])*6/10)
			f.accepted()
		})
	}
}

// TestGRPCClientAvoidsBusyEndpoint checks selection by least connections: of two endpoints, the one that
// has ten open calls gets fewer of the others.
func TestGRPCClientAvoidsBusyEndpoint(t *testing.T) {
	f := newFixture(t, xds.Config{})
	b := newBackends(t, 2)
	b[0].entered = make(chan struct{}, 10)
	svc := service("web", endpointsOf(b[0])...)
	svc.Ports[0].Selection = localsink.SelectionLeastConnections
	f.set(svc)
	c := f.dial(webName)
	for range 10 {
		_, err := c.Watch(t.Context(), &healthpb.HealthCheckRequest{})
		require.NoError(t, err)
		<-b[0].entered
	}
	svc = service("web", endpointsOf(b...)...)
	svc.Ports[0].Selection = localsink.SelectionLeastConnections
	f.set(svc)
	f.untilServedBy(c, b[1])
	before := b[1].calls.Load()
	for range 400 {
		f.mustCall(c)
	}
	require.Greater(t, b[1].calls.Load()-before, int64(250)) // two random choices: 3/4 on average
	f.accepted()
}

// TestGRPCClientKeepsCallsToDrainingEndpoint checks that a draining endpoint keeps its calls and gets no
// more.
func TestGRPCClientKeepsCallsToDrainingEndpoint(t *testing.T) {
	f := newFixture(t, xds.Config{})
	b := newBackends(t, 2)
	f.set(service("web", endpointsOf(b[0])...))
	c := f.dial(webName)
	stream, err := c.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	<-b[0].entered
	svc := service("web", endpointsOf(b[1])...)
	svc.Ports[0].Draining = []netip.AddrPort{b[0].addr}
	f.set(svc)
	f.untilServedBy(c, b[1])
	before := b[0].calls.Load()
	for range 100 {
		require.Equal(t, b[1].addr.String(), f.mustCall(c))
	}
	require.Equal(t, before, b[0].calls.Load())
	b[0].finish <- struct{}{}
	_, err = stream.Recv()
	require.NoError(t, err, "the response of a call that began before")
	f.accepted()
}

// TestGRPCCallsFailWithoutEndpoints checks that calls end with an error at once, and that the client
// recovers.
func TestGRPCCallsFailWithoutEndpoints(t *testing.T) {
	f := newFixture(t, xds.Config{})
	b := newBackends(t, 1)
	f.set(service("web"))
	c := f.dial(webName)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	_, err := c.Check(ctx, &healthpb.HealthCheckRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err), err)
	f.set(service("web", endpointsOf(b[0])...))
	f.untilServedBy(c, b[0])
	f.accepted()
}

// TestGRPCCallsAreRefusedByShare checks a share of refused connections.
func TestGRPCCallsAreRefusedByShare(t *testing.T) {
	f := newFixture(t, xds.Config{})
	b := newBackends(t, 1)
	web := func(share uint16) *localsink.Service {
		svc := service("web", endpointsOf(b[0])...)
		svc.Ports[0].RefusedPerMille = share
		return svc
	}
	f.set(web(300))
	c := f.dial(webName)
	refused := func(calls int) (n int) {
		for range calls {
			if _, err := c.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
				require.Equal(t, codes.Unavailable, status.Code(err), err)
				n++
			}
		}
		return n
	}
	require.InDelta(t, 300, refused(1000), 80)
	f.set(web(1000))
	require.Eventually(t, func() bool { return refused(20) == 20 }, timeout, timeout/1000)
	f.set(web(0))
	require.Eventually(t, func() bool { return refused(20) == 0 }, timeout, timeout/1000)
	f.accepted()
}

// TestGRPCClientPrefersNearEndpoints checks priorities: the endpoints of this node, or of its zone, serve
// alone as long as one of them accepts connections.
func TestGRPCClientPrefersNearEndpoints(t *testing.T) {
	zone := func(z string) localsink.Extensions {
		return localsink.NewExtensions(localsink.Extension{Key: xds.ZoneExtension, Value: z})
	}
	for name, c := range map[string]struct {
		cfg    xds.Config
		change func(f *fixture, p *localsink.Port, near, far netip.AddrPort)
	}{
		"node": {xds.Config{PreferLocal: true}, func(_ *fixture, p *localsink.Port, near, _ netip.AddrPort) {
			for i := range p.Pools[0].Endpoints {
				p.Pools[0].Endpoints[i].Local = p.Pools[0].Endpoints[i].Addr == near
			}
		}},
		"zone": {xds.Config{}, func(f *fixture, p *localsink.Port, near, far netip.AddrPort) {
			f.driver.Node.Extensions = zone("zone-a")
			p.EndpointExtensions = map[netip.AddrPort]localsink.Extensions{near: zone("zone-a"), far: zone("zone-b")}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, c.cfg)
			near, stop := newBackend(t)
			far, _ := newBackend(t)
			svc := service("web", endpointsOf(near, far)...)
			c.change(f, &svc.Ports[0], near.addr, far.addr)
			f.set(svc)
			client := f.dial(webName)
			for range 100 {
				require.Equal(t, near.addr.String(), f.mustCall(client))
			}
			stop()
			f.untilServedBy(client, far)
			f.accepted()
		})
	}
}
