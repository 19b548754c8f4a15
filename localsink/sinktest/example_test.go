// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A textSink is a backend whose dataplane is a string.
type textSink struct{ dataplane string }

func (s *textSink) Sync(_ context.Context, u *localsink.Update) error {
	var b strings.Builder
	for svc := range u.All.All() {
		b.WriteString(svc.Text())
	}
	s.dataplane = b.String()
	return nil
}

func TestTextSink(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{New: func(*testing.T) (localsink.Sink, func() string) {
		sink := &textSink{}
		return sink, func() string { return sink.dataplane }
	}})
}

func ExampleTrace() {
	node := &localsink.Node{
		Name:      "node-1",
		LocalPods: localsink.PodSources{Networks: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}},
	}
	state := sinktest.NewState(&localsink.Service{
		Name: localsink.ServiceName{Namespace: "default", Name: "web"},
		Ports: []localsink.Port{{
			Protocol: localsink.ProtocolTCP,
			Frontends: []localsink.Frontend{{
				Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.10:80"),
				Routes: []localsink.Route{
					{From: localsink.FromLocalPods, Pool: 0},
					{From: localsink.FromAny, Pool: 0, Masquerade: true},
				},
			}},
			Pools: []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: netip.MustParseAddrPort("10.244.2.7:8080"), Weight: 1}}}},
		}},
	})
	for _, p := range []struct{ from, to string }{
		{"10.244.1.4", "10.96.0.10:80"},
		{"192.0.2.1", "10.96.0.10:80"},
		{"192.0.2.1", "10.96.0.10:81"},
		{"192.0.2.1", "198.51.100.1:80"},
	} {
		packet := sinktest.Packet{
			From: netip.MustParseAddr(p.from), To: netip.MustParseAddrPort(p.to), Protocol: localsink.ProtocolTCP,
		}
		fmt.Println(p.from, "to", p.to+":", sinktest.Trace(node, state, sinktest.Host{}, packet))
	}
	// Output:
	// 10.244.1.4 to 10.96.0.10:80: 10.244.2.7:8080
	// 192.0.2.1 to 10.96.0.10:80: 10.244.2.7:8080 masqueraded
	// 192.0.2.1 to 10.96.0.10:81: rejected
	// 192.0.2.1 to 198.51.100.1:80: none
}
