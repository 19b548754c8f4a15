// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestCheckAcceptsGeneratedStates(t *testing.T) {
	for seed := range uint64(20) {
		g := newGenerator(seed, Harness{})
		state := g.state()
		for svc := range state.All() { // the generator mixes no families in a port
			require.NotEmpty(t, svc.Ports)
		}
		for _, node := range g.nodes() {
			require.NoError(t, Check(node, state), "seed %d", seed)
		}
	}
	require.NoError(t, Check(nil, nil))
}

// changedState returns a valid state, changed by change.
func changedState(change func(*localsink.Service)) localsink.State {
	at := netip.MustParseAddrPort
	svc := &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: "svc"}, HealthCheck: &localsink.HealthCheck{Port: 32000},
		Ports: []localsink.Port{{
			Protocol: localsink.ProtocolTCP,
			Frontends: []localsink.Frontend{
				{Kind: localsink.KindClusterIP, Addr: at("10.96.0.1:80"), Routes: []localsink.Route{{}}},
				{Kind: localsink.KindNodePort, Addr: at("0.0.0.0:30080"), Routes: []localsink.Route{{From: localsink.FromLocalPods}, {}}},
			},
			Pools:    []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: at("10.1.0.1:80"), Weight: 1}, {Addr: at("10.1.0.2:80"), Weight: 1}}}},
			Draining: []netip.AddrPort{at("10.1.0.3:80")},
		}}}
	change(svc)
	return NewState(svc)
}

// TestCheckDetectsMalformedValues changes one value of a valid state at a time.
func TestCheckDetectsMalformedValues(t *testing.T) {
	ip, at := netip.MustParseAddr, netip.MustParseAddrPort
	require.NoError(t, Check(nil, changedState(func(*localsink.Service) {})))
	type s = *localsink.Service
	for want, change := range map[string]func(s){
		"the name is invalid":           func(svc s) { svc.Name.Name = "" },
		"neither ports nor problems":    func(svc s) { svc.Ports = nil },
		"protocol 1":                    func(svc s) { svc.Ports[0].Protocol = 1 },
		"affinity -1ns":                 func(svc s) { svc.Ports[0].Affinity = -1 },
		"no frontends":                  func(svc s) { svc.Ports[0].Frontends = nil },
		"10.96.0.1:0: port 0":           func(svc s) { svc.Ports[0].Frontends[0].Addr = at("10.96.0.1:0") },
		"not a plain IPv4":              func(svc s) { svc.Ports[0].Frontends[0].Addr = at("[::ffff:10.96.0.1]:80") },
		"127.0.0.1:80: unspecified":     func(svc s) { svc.Ports[0].Frontends[0].Addr = at("127.0.0.1:80") },
		"not the unspecified address":   func(svc s) { svc.Ports[0].Frontends[1].Addr = at("192.0.2.1:30080") },
		"kind 9":                        func(svc s) { svc.Ports[0].Frontends[0].Kind = 9 },
		"Service ns/svc has it too":     func(svc s) { svc.Ports = append(svc.Ports, svc.Ports[0]) },
		"the last route is not for any": func(svc s) { svc.Ports[0].Frontends[1].Routes = svc.Ports[0].Frontends[1].Routes[:1] },
		"pool 1 of 1":                   func(svc s) { svc.Ports[0].Frontends[0].Routes[0].Pool = 1 },
		"verdict 7":                     func(svc s) { svc.Ports[0].Frontends[0].Routes[0].EmptyVerdict = 7 },
		"of the other family":           func(svc s) { svc.Ports[0].Frontends[0].Addr = at("[fd00::1]:80") },
		"has host bits": func(svc s) {
			svc.Ports[0].Frontends[0].SourceRanges = []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")}
		},
		"endpoint 10.1.0.1:0: port 0":          func(svc s) { svc.Ports[0].Pools[0].Endpoints[0].Addr = at("10.1.0.1:0") },
		"endpoint 127.0.0.1:80: unspecified":   func(svc s) { svc.Ports[0].Draining[0] = at("127.0.0.1:80") },
		"fe80::1%eth0: not a plain":            func(svc s) { svc.Ports[0].Draining[0] = netip.AddrPortFrom(ip("fe80::1%eth0"), 80) },
		"not in order, or twice":               func(svc s) { svc.Ports[0].Pools[0].Endpoints[1] = svc.Ports[0].Pools[0].Endpoints[0] },
		"two families":                         func(svc s) { svc.Ports[0].Pools[0].Endpoints[1].Addr = at("[fd00::1]:80") },
		"draining endpoint 10.1.0.1:80: is in": func(svc s) { svc.Ports[0].Draining[0] = at("10.1.0.1:80") },
		"health check: port 0":                 func(svc s) { svc.HealthCheck.Port = 0 },
		"-1 local endpoints":                   func(svc s) { svc.HealthCheck.LocalEndpoints = -1 },
		"without object, field or message":     func(svc s) { svc.Problems = []localsink.Problem{{Object: "x"}} },
	} {
		t.Run(want, func(t *testing.T) { require.ErrorContains(t, Check(nil, changedState(change)), want) })
	}
	network := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	for want, node := range map[string]*localsink.Node{
		"node : the name is empty":   {},
		"unspecified or multicast":   {Name: "n", IPs: []netip.Addr{ip("0.0.0.0")}},
		"10.0.0.1 of loopback node":  {Name: "n", LoopbackNodePorts: []netip.Addr{ip("10.0.0.1")}},
		"contains all addresses":     {Name: "n", ServiceNetworks: network},
		"invalid Prefix: not a netw": {Name: "n", NodePortAddresses: make([]netip.Prefix, 1)},
		"network without masquerade": {Name: "n", NoMasquerade: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")}},
		"node n: the extension key":  {Name: "n", Extensions: extension("", "x")},
	} {
		require.ErrorContains(t, Check(node, nil), want)
	}
}

// TestCheckDetectsMalformedConcepts is the same for what few Services have.
func TestCheckDetectsMalformedConcepts(t *testing.T) {
	at := netip.MustParseAddrPort
	type s = *localsink.Service
	type extensionsOf = map[netip.AddrPort]localsink.Extensions
	for want, change := range map[string]func(s){
		"the origin is invalid":           func(svc s) { svc.Name.Origin = "a:b" },
		"the origin of a Service is not":  func(svc s) { svc.Name.Origin = "Service" },
		`ns/svc: the extension key "" is`: func(svc s) { svc.Extensions = extension("", "x") },
		"selection 4":                     func(svc s) { svc.Ports[0].Selection = 4 },
		"refused share 1001 of 1000":      func(svc s) { svc.Ports[0].RefusedPerMille = 1001 },
		"endpoint 10.1.0.2:80: weight 0":  func(svc s) { svc.Ports[0].Pools[0].Endpoints[1].Weight = 0 },
		"endpoint extensions: empty":      func(svc s) { svc.Ports[0].EndpointExtensions = extensionsOf{} },
		"10.1.0.1:80: an empty list of exte": func(svc s) {
			svc.Ports[0].EndpointExtensions = extensionsOf{at("10.1.0.1:80"): {}}
		},
		`port 0: the extension key "a\n" is`: func(svc s) {
			svc.Ports[0].EndpointExtensions = extensionsOf{at("10.1.0.1:80"): extension("a\n", "x")}
		},
		"endpoint 10.1.0.9:0: port 0": func(svc s) {
			svc.Ports[0].EndpointExtensions = extensionsOf{at("10.1.0.9:0"): extension("a", "x")}
		},
	} {
		t.Run(want, func(t *testing.T) { require.ErrorContains(t, Check(nil, changedState(change)), want) })
	}
	imported := &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: "svc", Origin: "ServiceImport"}}
	require.ErrorContains(t, Check(nil, NewState(imported)), "ServiceImport ns/svc: neither ports nor problems")
}
