// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers_test

import (
	"fmt"
	"net/netip"
	"testing"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// BenchmarkSet sets an object that differs each time: it is validated and hashed.
func BenchmarkSet(b *testing.B) {
	b.Run("Service", func(b *testing.B) {
		s := watchers.NewStore()
		for i := range b.N {
			svc := &watchers.Service{
				Name: watchers.ServiceName{Namespace: "ns", Name: "svc"}, Type: watchers.TypeLoadBalancer,
				ClusterIP:  netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}),
				ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}, IPFamilies: []watchers.IPFamily{4},
				Ports: []watchers.ServicePort{{Name: "a", Protocol: localsink.ProtocolTCP, Port: 80}, {Name: "b", Protocol: localsink.ProtocolTCP, Port: 81}},
			}
			s.Update(func(tx *watchers.Tx) { tx.SetService(svc) })
		}
	})
	for _, endpoints := range []int{10, 1000} {
		b.Run(fmt.Sprint("EndpointSlice/endpoints=", endpoints), func(b *testing.B) {
			s := watchers.NewStore()
			list := make([]watchers.Endpoint, endpoints)
			for i := range list {
				list[i] = watchers.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}), Node: "node-with-a-name", Ready: true, Serving: true}
			}
			b.ResetTimer()
			for i := range b.N {
				list[0].Ready = i%2 == 0
				x := &watchers.EndpointSlice{Namespace: "ns", Name: "x", Service: watchers.ServiceName{Namespace: "ns", Name: "svc"}, Family: 4,
					Ports: []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 80}}, Endpoints: list}
				s.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(x) })
			}
		})
	}
}
