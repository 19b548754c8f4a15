// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

// fullObjects returns an object of each kind in which no field is zero.
func fullObjects() []watchers.Object {
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")
	networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/64")}
	proxy := "mine"
	problems := []watchers.Problem{{Object: "Service ns/web", Field: "spec", Message: "is invalid"}}
	extensions := localsink.NewExtensions(localsink.Extension{Key: "example.com/mode", Value: "\x00\xff"}, localsink.Extension{Key: "b"})
	full := watchers.EndpointDetails{
		Weight: new(uint32(7)), Extensions: extensions, Hostname: "h", Zone: "z",
		Target: watchers.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "web-0"},
	}
	return []watchers.Object{
		&watchers.Service{
			Name: watchers.ServiceName{Namespace: "ns", Name: "web", Origin: "TCPRoute"}, Created: time.Unix(1, 2), Type: watchers.TypeExternalName,
			ClusterIP: v4, ClusterIPs: []netip.Addr{v4, v6, {}}, IPFamilies: []watchers.IPFamily{4, 6, 0}, ExternalIPs: []netip.Addr{v6, v4},
			Ingress: []watchers.Ingress{{IP: v4, Proxy: true}, {IP: v6}}, SourceRanges: networks, HasSourceRanges: true, HasInvalidSourceRanges: true,
			InternalPolicy: watchers.PolicyLocal, ExternalPolicy: watchers.PolicyLocal, HealthCheckNodePort: 65535, Affinity: time.Hour,
			Ports: []watchers.ServicePort{
				{Name: "a", Protocol: 6, Port: 80, NodePort: 30000, Selection: localsink.SelectionClient, RefusedPerMille: 1000},
				{Protocol: 17, Port: 80, Selection: localsink.SelectionFlow},
				{Name: "c", Protocol: 132, Port: 65535, Selection: localsink.SelectionLeastConnections},
			},
			ProxyName: &proxy, Problems: problems, Extensions: extensions,
			Details: &watchers.ServiceDetails{
				Headless: true, ExternalName: "example.com", LoadBalancerClass: "a/b", AppProtocols: []string{"http", "", "h2c"},
			},
		},
		&watchers.EndpointSlice{
			Namespace: "ns", Name: "web-1", Service: watchers.ServiceName{Namespace: "ns", Name: "web", Origin: "TCPRoute"}, Family: watchers.FamilyIPv6,
			Ports: []watchers.EndpointPort{{Name: "a", Protocol: 6, Port: 8080}, {Protocol: 17, Port: 1}},
			Endpoints: []watchers.Endpoint{
				{
					Addr: v6, Node: "n", Ready: true, Serving: true, Terminating: true,
					Hints: &watchers.Hints{Zones: []string{"a", "b"}, Nodes: []string{"n"}},
				},
				{Addr: v6.Next(), Hints: &watchers.Hints{}},
				{Addr: v6.Next().Next(), Serving: true},
			},
			Details:    []watchers.EndpointDetails{full, {Weight: new(uint32(0)), Extensions: extensions}, {}},
			Extensions: extensions, Problems: problems, TriggerTime: time.Unix(3, 4),
		},
		&watchers.Node{
			Name: "n", IPs: []netip.Addr{v4, v6}, PodCIDRs: networks, Zone: "z", Deleting: true, Problems: problems,
			Extensions: extensions,
		},
		&watchers.ServiceCIDR{Name: "c", Networks: networks, Problems: problems},
	}
}

// FuzzRoundTrip checks that decoding an encoded object returns an equal object.
func FuzzRoundTrip(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, "x")
	}
	f.Add(uint64(1), "\xff")
	f.Fuzz(func(t *testing.T, seed uint64, label string) {
		r := watchertest.NewRandom(seed, 3, 3)
		r.Extended = seed%2 == 0
		r.Extended = true
		svc := r.Service()
		svc.ProxyName = &label
		for _, object := range []watchers.Object{svc, r.Service(), r.EndpointSlice(), r.Node()} {
			got := roundTrip(t, object)
			if s, ok := got.(*watchers.Service); ok && s.ProxyName != nil && object == watchers.Object(svc) {
				label := *s.ProxyName // with invalid UTF-8 replaced
				svc.ProxyName = &label
			}
			require.Equal(t, text(object), text(got))
		}
	})
}

// FuzzDecode checks that decoding any message returns objects that survive another round trip,
// or an error that names the object.
func FuzzDecode(f *testing.F) {
	for _, object := range fullObjects() {
		f.Add(encode(keyOfObject(object), object).Full)
	}
	for _, c := range badChanges() {
		data, err := proto.Marshal(update(1, c))
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("garbage"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m kpng.WatchClusterResponse
		if proto.Unmarshal(data, &m) != nil {
			return // gRPC ends the stream
		}
		for _, c := range m.GetObjects() {
			key, object, err := decode(c)
			if err != nil {
				require.ErrorContains(t, err, key.String()+": ")
				continue
			}
			if object == nil {
				continue
			}
			require.Equal(t, key, keyOfObject(object))
			require.Equal(t, text(object), text(roundTrip(t, object)))
		}
		state := newObjectState(watchers.NewStore())
		state.StartStream(len(data)%2 == 0)
		_ = state.Apply(&m)
	})
}
