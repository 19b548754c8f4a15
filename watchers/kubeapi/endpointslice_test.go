// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// at returns an endpoint of the API.
func at(addresses ...string) discoveryv1.Endpoint { return discoveryv1.Endpoint{Addresses: addresses} }

// ready returns the object of a ready endpoint.
func ready(addr string) watchers.Endpoint {
	return watchers.Endpoint{Addr: netip.MustParseAddr(addr), Ready: true, Serving: true}
}

type sliceCase struct {
	id       string
	change   func(*discoveryv1.EndpointSlice)
	want     func(*watchers.EndpointSlice)
	problems []string
}

func testEndpointSlices(t *testing.T, cases []sliceCase) {
	for _, c := range cases {
		t.Run(c.id, func(t *testing.T) {
			in := slice(c.change)
			before := in.DeepCopy()
			want := &watchers.EndpointSlice{Namespace: "ns", Name: "web-1", Service: watchers.ServiceName{Namespace: "ns", Name: "web"}, Family: 4,
				Ports:     []watchers.EndpointPort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 80}},
				Endpoints: []watchers.Endpoint{ready("10.1.0.1")}}
			if c.want != nil {
				c.want(want)
			}
			got, err := kubeapi.EndpointSlice(in)
			require.NoError(t, err)
			got = stored(t, got)
			require.Equal(t, c.problems, fieldMessages(t, "EndpointSlice ns/web-1", got.Problems))
			got.Problems = nil
			require.Equal(t, want, got)
			require.Equal(t, before, in, "IN-08: the API object is not modified")
		})
	}
}

func TestEndpointSliceAddresses(t *testing.T) {
	testEndpointSlices(t, []sliceCase{
		{id: "IN-41 IPv6", change: func(s *discoveryv1.EndpointSlice) {
			s.AddressType, s.Endpoints = "IPv6", []discoveryv1.Endpoint{at("2001:db8::1"), at("10.1.0.1"), at("::ffff:10.1.0.1")}
		}, want: func(s *watchers.EndpointSlice) {
			s.Family, s.Endpoints = 6, []watchers.Endpoint{ready("2001:db8::1")}
		}, problems: []string{`endpoints[1].addresses[0]: "10.1.0.1" is not an IPv6 address; the endpoint is ignored`,
			`endpoints[2].addresses[0]: "::ffff:10.1.0.1" is not an IPv6 address; the endpoint is ignored`}},
		{id: "IN-41 FQDN", change: func(s *discoveryv1.EndpointSlice) { s.AddressType = "FQDN" },
			want:     func(s *watchers.EndpointSlice) { s.Family, s.Ports, s.Endpoints = 0, nil, nil },
			problems: []string{`addressType: "FQDN" is not IPv4 or IPv6; the slice is ignored`}},
		{id: "IN-43 addresses", change: func(s *discoveryv1.EndpointSlice) {
			s.Endpoints = []discoveryv1.Endpoint{at(), at("10.1.0.1", "10.1.0.2", "junk"), at("junk", "10.1.0.3"), at("")}
		}, problems: []string{"endpoints[0].addresses: is empty; the endpoint is ignored",
			`endpoints[2].addresses[0]: "junk" is not an IPv4 address; the endpoint is ignored`,
			`endpoints[3].addresses[0]: "" is not an IPv4 address; the endpoint is ignored`}},
		{id: "IN-43 addresses that identify no endpoint", change: func(s *discoveryv1.EndpointSlice) {
			s.Endpoints = []discoveryv1.Endpoint{at("127.0.0.1"), at("0.0.0.0"), at("224.0.0.1"), at("10.1.0.1")}
		}, problems: []string{`endpoints[0].addresses[0]: "127.0.0.1" is an unspecified, loopback or link-local address; the endpoint is ignored`,
			`endpoints[1].addresses[0]: "0.0.0.0" is an unspecified, loopback or link-local address; the endpoint is ignored`,
			`endpoints[2].addresses[0]: "224.0.0.1" is an unspecified, loopback or link-local address; the endpoint is ignored`}},
		{id: "IN-43 IPv6 addresses that identify no endpoint", change: func(s *discoveryv1.EndpointSlice) {
			s.AddressType, s.Endpoints = "IPv6", []discoveryv1.Endpoint{at("::1"), at("::"), at("ff02::1"), at("2001:db8::1")}
		}, want: func(s *watchers.EndpointSlice) {
			s.Family, s.Endpoints = 6, []watchers.Endpoint{ready("2001:db8::1")}
		}, problems: []string{`endpoints[0].addresses[0]: "::1" is an unspecified, loopback or link-local address; the endpoint is ignored`,
			`endpoints[1].addresses[0]: "::" is an unspecified, loopback or link-local address; the endpoint is ignored`,
			`endpoints[2].addresses[0]: "ff02::1" is an unspecified, loopback or link-local address; the endpoint is ignored`}},
		{id: "IN-33 addresses", change: func(s *discoveryv1.EndpointSlice) {
			s.Endpoints = []discoveryv1.Endpoint{at("010.001.0.1"), at("::ffff:10.1.0.2")}
		}, want: func(s *watchers.EndpointSlice) {
			s.Endpoints = []watchers.Endpoint{ready("10.1.0.1"), ready("10.1.0.2")}
		}},
	})
}

func TestEndpointSlicePorts(t *testing.T) {
	testEndpointSlices(t, []sliceCase{
		{id: "IN-42 ports", change: func(s *discoveryv1.EndpointSlice) {
			s.Ports = []discoveryv1.EndpointPort{{Name: new(""), Port: new(int32(1))}, {Port: new(int32(2))}, {Name: new("nil")}, {Name: new("zero"), Port: new(int32(0))},
				{Name: new("big"), Port: new(int32(65536))}, {Name: new("odd"), Protocol: new(corev1.Protocol("ICMP")), Port: new(int32(3))},
				{Name: new("u"), Protocol: new(corev1.ProtocolUDP), Port: new(int32(4))}}
		}, want: func(s *watchers.EndpointSlice) {
			s.Ports = []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 1}, {Name: "u", Protocol: localsink.ProtocolUDP, Port: 4}}
		}, problems: []string{
			"ports[1].name: is missing; the port is ignored",
			"ports[2].port: 0 is out of range 1-65535; the port is ignored",
			"ports[3].port: 0 is out of range 1-65535; the port is ignored",
			"ports[4].port: 65536 is out of range 1-65535; the port is ignored",
			`ports[5].protocol: "ICMP" is not TCP, UDP or SCTP; the port is ignored`}},
		{id: "IN-42 no ports", change: func(s *discoveryv1.EndpointSlice) { s.Ports = nil },
			want:     func(s *watchers.EndpointSlice) { s.Ports = nil },
			problems: []string{"ports: is empty; the endpoints of the slice receive no traffic"}},
		{id: "IN-42 no ports and no endpoints", change: func(s *discoveryv1.EndpointSlice) { s.Ports, s.Endpoints = nil, nil },
			want: func(s *watchers.EndpointSlice) { s.Ports, s.Endpoints = nil, nil }},
	})
}

func TestEndpointSliceEndpoints(t *testing.T) {
	testEndpointSlices(t, []sliceCase{
		{id: "IN-44 node", change: func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].NodeName = new("n1") },
			want: func(s *watchers.EndpointSlice) { s.Endpoints[0].Node = "n1" }},
		{id: "IN-45 IN-46 conditions", change: func(s *discoveryv1.EndpointSlice) {
			s.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: new(true), Serving: new(false), Terminating: new(true)}
		}, want: func(s *watchers.EndpointSlice) { s.Endpoints[0].Serving, s.Endpoints[0].Terminating = false, true }},
		{id: "IN-47 hints", change: func(s *discoveryv1.EndpointSlice) {
			s.Endpoints[0].Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}, {Name: "b"}}, ForNodes: []discoveryv1.ForNode{{Name: "n"}}}
		}, want: func(s *watchers.EndpointSlice) {
			s.Endpoints[0].Hints = &watchers.Hints{Zones: []string{"a", "b"}, Nodes: []string{"n"}}
		}},
		{id: "IN-47 no hints", change: func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Hints = &discoveryv1.EndpointHints{} }},
		{id: "IN-49 duplicates are kept in order", change: func(s *discoveryv1.EndpointSlice) {
			s.Endpoints = append(s.Endpoints, s.Endpoints[0])
		}, want: func(s *watchers.EndpointSlice) { s.Endpoints = append(s.Endpoints, s.Endpoints[0]) }},
	})
}

func TestEndpointSliceMetadata(t *testing.T) {
	testEndpointSlices(t, []sliceCase{
		{id: "IN-40 plain"},
		{id: "IN-55 trigger time", change: func(s *discoveryv1.EndpointSlice) {
			s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: "2026-01-02T03:04:05.000000006Z"}
		}, want: func(s *watchers.EndpointSlice) { s.TriggerTime = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) }},
		{id: "IN-55 invalid trigger time", change: func(s *discoveryv1.EndpointSlice) {
			s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: "yesterday"}
		}},
	})
}
