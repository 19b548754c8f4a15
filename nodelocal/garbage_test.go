// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// Garbage makes objects as a careless watcher might: any field may have any value.
type garbage struct{ *rand.Rand }

func oneOf[T any](g garbage, list ...T) T { return list[g.IntN(len(list))] }

func listOf[T any](g garbage, element func() T) (out []T) {
	for range g.IntN(4) {
		out = append(out, element())
	}
	return out
}

func (g garbage) name() string { return oneOf(g, "", "a", "b", "c", "node-1", "x/y", "\n\x00\xff") }

func (g garbage) addr() netip.Addr {
	return oneOf(g, netip.Addr{}, netip.MustParseAddr(oneOf(g, "0.0.0.0", "127.0.0.1", "::", "::1", "224.0.0.1", "ff02::1", "169.254.0.1", "fe80::1%eth0", "fd00::1%x",
		"::ffff:10.0.0.1", "::ffff:127.0.0.1", "255.255.255.255")), netip.MustParseAddr(fmt.Sprint("10.0.0.", g.IntN(4))), netip.MustParseAddr(fmt.Sprint("fd00::", g.IntN(4))))
}

func (g garbage) prefix() netip.Prefix {
	return oneOf(g, netip.Prefix{}, netip.PrefixFrom(g.addr(), g.IntN(140)), netip.PrefixFrom(g.addr(), 0))
}

func (g garbage) problems() []watchers.Problem {
	if g.IntN(4) > 0 {
		return nil
	}
	return []watchers.Problem{{Object: "Thing", Field: "field", Message: "is wrong"}}
}

func (g garbage) small() uint8 { return oneOf(g, uint8(0), 1, 2, 4, 6, 17, 132, uint8(g.IntN(256))) }

func (g garbage) port() uint16 { return oneOf(g, uint16(0), 80, 81, 30000, 65535) }

func (g garbage) service() *watchers.Service {
	s := &watchers.Service{
		Name: watchers.ServiceName{Namespace: g.name(), Name: g.name()}, Type: watchers.ServiceType(g.small()), ClusterIP: g.addr(),
		ClusterIPs: listOf(g, g.addr), IPFamilies: listOf(g, func() watchers.IPFamily { return watchers.IPFamily(g.small()) }), ExternalIPs: listOf(g, g.addr),
		Ingress:      listOf(g, func() watchers.Ingress { return watchers.Ingress{IP: g.addr(), Proxy: g.IntN(2) == 0} }),
		SourceRanges: listOf(g, g.prefix), HasSourceRanges: g.IntN(2) == 0, HasInvalidSourceRanges: g.IntN(2) == 0,
		InternalPolicy: watchers.TrafficPolicy(g.small()), ExternalPolicy: watchers.TrafficPolicy(g.small()), HealthCheckNodePort: g.port(),
		Affinity: oneOf(g, 0, -1, time.Hour, 1<<62, time.Duration(g.Int64())), Problems: g.problems(),
		Ports: listOf(g, func() watchers.ServicePort {
			return watchers.ServicePort{Name: g.name(), Protocol: watchers.Protocol(g.small()), Port: g.port(), NodePort: g.port()}
		}),
	}
	if g.IntN(8) == 0 {
		s.ProxyName = new(g.name())
	}
	return s
}

func (g garbage) slice() *watchers.EndpointSlice {
	return &watchers.EndpointSlice{
		Namespace: g.name(), Name: g.name(), Service: watchers.ServiceName{Namespace: g.name(), Name: g.name()}, Family: watchers.IPFamily(g.small()),
		Ports: listOf(g, func() watchers.EndpointPort {
			return watchers.EndpointPort{Name: g.name(), Protocol: watchers.Protocol(g.small()), Port: g.port()}
		}),
		Endpoints: listOf(g, func() watchers.Endpoint {
			return watchers.Endpoint{Addr: g.addr(), Node: g.name(), Ready: g.IntN(2) == 0, Serving: g.IntN(2) == 0, Terminating: g.IntN(2) == 0,
				Hints: oneOf(g, nil, &watchers.Hints{}, &watchers.Hints{Zones: listOf(g, g.name), Nodes: listOf(g, g.name)})}
		}),
		Problems: g.problems(),
	}
}

func (g garbage) object() watchers.Object {
	switch g.IntN(6) {
	case 0, 1:
		return g.service()
	case 2, 3:
		return g.slice()
	case 4:
		return &watchers.ServiceCIDR{Name: g.name(), Networks: listOf(g, g.prefix), Problems: g.problems()}
	}
	return &watchers.Node{Name: g.name(), IPs: listOf(g, g.addr), PodCIDRs: listOf(g, g.prefix), Zone: g.name(), Deleting: g.IntN(2) == 0, Problems: g.problems()}
}

// FuzzNothingMalformedReachesASink: whatever a watcher writes, the desired state obeys the
// contract of sinks.
func FuzzNothingMalformedReachesASink(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		g := garbage{rand.New(rand.NewPCG(seed, 1))}
		cfg := nodelocal.Config{NodeName: "node-1", MasqueradeAll: g.IntN(2) == 0, IgnoreExternalIPs: g.IntN(4) == 0}
		cfg.LocalPods.NodeCIDR = g.IntN(2) == 0
		store := watchers.NewStore()
		resolver, err := nodelocal.NewResolver(store, cfg)
		require.NoError(t, err)
		defer resolver.Close()
		for range 20 {
			var last watchers.Object
			snapshot := store.Update(func(tx *watchers.Tx) {
				for range 5 {
					last = g.object()
					tx.Set(last)
				}
			})
			resolver.Refresh()
			u := resolver.FullUpdate()
			require.NoError(t, sinktest.Check(u.Node, u.All), "seed %d, last object %+v", seed, last)
			for svc := range snapshot.Services() {
				_, err := nodelocal.Explain(snapshot, cfg, svc.Name)
				require.NoError(t, err)
			}
		}
	})
}
