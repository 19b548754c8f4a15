// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
)

// plainBase returns a shared base with 100 endpoints and none of the vendors' properties.
func plainBase() *overlay.Base {
	base := &overlay.Base{
		Name: localsink.ServiceName{Namespace: "ns", Name: "svc"},
		Ports: []overlay.Port{{
			Name: "http", Protocol: localsink.ProtocolTCP,
			Frontends: []overlay.Frontend{{
				Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"), Routes: []overlay.Route{{Pools: []overlay.Pool{0}}},
			}},
		}},
	}
	for i := range 100 {
		base.Ports[0].Endpoints = append(base.Ports[0].Endpoints, overlay.Endpoint{
			Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), 80), Pools: overlay.NewPoolSet(0), Drain: true,
		})
	}
	return base
}

func BenchmarkEncodeService(b *testing.B) {
	base := plainBase()
	b.ReportAllocs()
	for b.Loop() {
		encodeService(base)
	}
}

func BenchmarkDecodeService(b *testing.B) {
	var in kpng.WatchNodeResponse
	require.NoError(b, proto.Unmarshal(encodeService(plainBase()).Full, &in))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fromService(localsink.ServiceName{}, in.GetServices()[0].GetService()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDelta(b *testing.B) {
	old, base := plainBase(), plainBase()
	base.Ports[0].Endpoints = base.Ports[0].Endpoints[1:]
	from, to := encodeService(old), encodeService(base)
	b.ReportAllocs()
	for b.Loop() {
		var in kpng.WatchNodeResponse
		if err := proto.Unmarshal(to.Delta(from), &in); err != nil {
			b.Fatal(err)
		}
		delta, err := fromDelta(in.GetServices()[0].GetDelta())
		if err == nil {
			_, err = old.Apply(delta)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
