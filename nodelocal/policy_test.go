// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// weighted returns a slice with the given weights, in the order of its endpoints; -1 is unset.
func weighted(s *watchers.EndpointSlice, weights ...int) *watchers.EndpointSlice {
	s.Details = make([]watchers.EndpointDetails, len(s.Endpoints))
	for i, w := range weights {
		if w >= 0 {
			weight := uint32(w)
			s.Details[i].Weight = &weight
		}
	}
	return s
}

// target returns the part of the Service's text behind the first route.
func (n *testNode) target() string {
	u := n.resolver.FullUpdate()
	require.NoError(n.t, sinktest.Check(u.Node, u.All))
	_, after, _ := strings.Cut(n.get(name()).Text(), " -> ")
	first, _, _ := strings.Cut(after, "\n")
	return strings.NewReplacer("10.1.0.", ".", ":80", "").Replace(first)
}

func TestWeights(t *testing.T) {
	for _, c := range []struct {
		name      string
		endpoints []string
		weights   []int
		want      string
		draining  int
	}{
		{"the default is 1", []string{"10.1.0.1 R", "10.1.0.2 R"}, []int{-1, 1}, ".1 .2", 0},
		{"weights are kept", []string{"10.1.0.1 R", "10.1.0.2 R"}, []int{3, 7}, ".1(weight 3) .2(weight 7)", 0},
		{"weight 0 drains", []string{"10.1.0.1 R", "10.1.0.2 R"}, []int{0, 1}, ".2", 1},
		{"weight 0 does not drain an endpoint that does not serve", []string{"10.1.0.1 RT", "10.1.0.2 R"}, []int{0, 1}, ".2", 0},
		{"weight 0 at all endpoints", []string{"10.1.0.1 R", "10.1.0.2 R"}, []int{0, 0}, "reject", 2},
		{"terminating endpoints serve if the others have weight 0", []string{"10.1.0.1 R", "10.1.0.2 ST"}, []int{0, 5}, ".2(weight 5)", 1},
		{"an endpoint with weight 0 needs no hint", []string{"10.1.0.1 R za", "10.1.0.2 R", "10.1.0.3 R zb"}, []int{1, 0, 1}, ".1", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, nodelocal.Config{}, service(), weighted(slice(t, "a", c.endpoints...), c.weights...),
				&watchers.Node{Name: "node-1", Zone: "a"})
			require.Equal(t, c.want, n.target())
			require.Len(t, n.get(name()).Ports[0].Draining, c.draining)
		})
	}
}

func TestWeightZeroLocalEndpointsFailTheHealthCheck(t *testing.T) {
	svc := service(func(s *watchers.Service) {
		s.Type, s.ExternalPolicy, s.HealthCheckNodePort = watchers.TypeLoadBalancer, watchers.PolicyLocal, 32000
		s.Ingress = []watchers.Ingress{{IP: netip.MustParseAddr("192.0.2.1")}}
	})
	n := newNode(t, nodelocal.Config{}, svc, weighted(slice(t, "a", "10.1.0.1 R L", "10.1.0.2 R L"), 0, 1))
	require.Equal(t, 1, n.get(name()).HealthCheck.LocalEndpoints)
}

func TestExtensionsReachTheSink(t *testing.T) {
	x := func(key, value string) localsink.Extensions {
		return localsink.NewExtensions(localsink.Extension{Key: key, Value: value})
	}
	s := slice(t, "a", "10.1.0.1 R", "10.1.0.2 R", "10.1.0.3 U")
	s.Extensions = x("slice", "1")
	s.Details = make([]watchers.EndpointDetails, 3)
	s.Details[1].Extensions = localsink.NewExtensions(localsink.Extension{Key: "slice", Value: "own"}, localsink.Extension{Key: "e"})
	n := newNode(t, nodelocal.Config{}, service(func(s *watchers.Service) { s.Extensions = x("svc", "1") }), s,
		&watchers.Node{Name: "node-1", Extensions: x("node", "1")})
	svc := n.get(name())
	require.True(t, svc.Extensions.Equal(x("svc", "1")))
	require.True(t, n.node().Extensions.Equal(x("node", "1")))
	extensions := svc.Ports[0].EndpointExtensions
	require.True(t, extensions[svc.Ports[0].Pools[0].Endpoints[0].Addr].Equal(x("slice", "1")))
	require.True(t, extensions[svc.Ports[0].Pools[0].Endpoints[1].Addr].Equal(s.Details[1].Extensions))

	other := *s
	other.Extensions = x("slice", "2")
	n.set(&other)
	require.Len(t, n.update().Changed, 1, "an extension is content")
	n.set(&other)
	require.Nil(t, n.update(), "equal content is no change")
	n.store.Update(func(tx *watchers.Tx) { tx.DeleteNode("node-1") })
	require.True(t, n.node().Extensions.Equal(x("node", "1")), "the extensions of an absent Node stay")
}

func TestOriginsCoexist(t *testing.T) {
	imported := service(func(s *watchers.Service) { s.Name.Origin, s.ClusterIP = "ServiceImport", addrs("10.96.0.2")[0] })
	other := slice(t, "a", "10.1.0.9 R")
	other.Service = imported.Name
	n := newNode(t, nodelocal.Config{}, service(), imported, slice(t, "a", "10.1.0.1 R"), other)
	require.Equal(t, ".1", n.target())
	require.Contains(t, n.get(imported.Name).Text(), "10.1.0.9:80")
	n.store.Update(func(tx *watchers.Tx) { tx.DeleteService(name()); tx.DeleteEndpointSlice("ns", "a") })
	require.Nil(t, n.get(name()))
	require.Contains(t, n.get(imported.Name).Text(), "10.1.0.9:80")

	claim := service(func(s *watchers.Service) { s.ExternalIPs = addrs("10.96.0.2") })
	n.set(claim)
	require.Contains(t, n.get(name()).Problems[0].Message, "belongs to ServiceImport ns/svc; ignored")
}

func TestPolicy(t *testing.T) {
	type port = *nodelocal.PolicyPort
	local := func(s *watchers.Service) {
		s.ExternalIPs, s.ExternalPolicy = addrs("192.0.2.9"), watchers.PolicyLocal
	}
	for _, c := range []struct {
		name    string
		change  func(port) error
		want    []string // parts of the text
		problem string
	}{
		{"no change", func(port) error { return nil }, []string{"Any -> 10.1.0.1:80 10.1.0.2:80 10.1.0.3:80\n"}, ""},
		{"weights", func(p port) error {
			for i := range p.Endpoints {
				p.Endpoints[i].Weight = uint32(i)
			}
			return nil
		}, []string{"draining: [10.1.0.1:80]", "Any -> 10.1.0.2:80 10.1.0.3:80(weight 2)\n"}, ""},
		{"selection and share", func(p port) error {
			p.Selection, p.RefusedPerMille = localsink.SelectionClient, 800
			return nil
		}, []string{"selection Client, 800‰ refused"}, ""},
		{"order", func(p port) error {
			p.Endpoints[0].Order = 1
			p.Endpoints[2].Order = 2
			return nil
		}, []string{"draining: [10.1.0.1:80 10.1.0.3:80]", "Any -> 10.1.0.2:80\n"}, ""},
		{"order among those with weight", func(p port) error {
			p.Endpoints[0].Weight, p.Endpoints[2].Order = 0, 7
			p.Endpoints[1].Order = 3
			return nil
		}, []string{"Any -> 10.1.0.2:80\n"}, ""},
		{"pass", func(p port) error { p.PassExternal = true; return nil },
			[]string{"ExternalIP 192.0.2.9:80\n      ThisNode -> 10.1.0.1:80 10.1.0.2:80 10.1.0.3:80 masqueraded\n      Any -> pass"}, ""},
		{"an error", func(p port) error { p.RefusedPerMille = 1; return errors.New("bad annotation") },
			[]string{"port \"\" TCP\n"}, "spec.ports[name=\"\"]: policy: bad annotation; ignored"},
		{"unknown selection", func(p port) error { p.Selection, p.Endpoints[0].Weight = 9, 5; return nil },
			[]string{"Any -> 10.1.0.1:80 10.1.0.2:80"}, "selection 9 is unknown"},
		{"share out of range", func(p port) error { p.RefusedPerMille = 1001; return nil }, nil, "refused share 1001 is out of range 0-1000"},
		{"an endpoint is removed", func(p port) error { p.Endpoints = p.Endpoints[1:]; return nil }, nil, "3 endpoints became 2"},
		{"endpoints are moved", func(p port) error {
			p.Endpoints[0], p.Endpoints[1] = p.Endpoints[1], p.Endpoints[0]
			return nil
		}, nil, "endpoint 0 changed from 10.1.0.1:80 to 10.1.0.2:80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := 0
			cfg := nodelocal.Config{Policy: func(svc *watchers.Service, p port) error {
				calls++
				require.Equal(t, name(), svc.Name)
				require.EqualValues(t, 1, p.Endpoints[0].Weight)
				require.True(t, p.Endpoints[0].Object.Ready)
				return c.change(p)
			}}
			n := newNode(t, cfg, service(local), slice(t, "a", "10.1.0.1 R", "10.1.0.2 R", "10.1.0.3 R"))
			require.Equal(t, 1, calls, "once per change")
			svc := n.get(name())
			for _, want := range c.want {
				require.Contains(t, svc.Text(), want)
			}
			u := n.resolver.FullUpdate()
			require.NoError(t, sinktest.Check(u.Node, u.All))
			if c.problem == "" {
				require.Empty(t, svc.Problems)
				return
			}
			require.Contains(t, svc.Problems[0].String(), c.problem)
			require.Contains(t, svc.Text(), "Any -> 10.1.0.1:80 10.1.0.2:80 10.1.0.3:80\n", "the port is served without the policy")
		})
	}
}

// TestOrderAppliesToEachPool: order decides among the endpoints that a pool would have
// otherwise, also after hints and for traffic that must stay on the node.
func TestOrderAppliesToEachPool(t *testing.T) {
	cfg := nodelocal.Config{Policy: func(_ *watchers.Service, p *nodelocal.PolicyPort) error {
		for i := range p.Endpoints {
			p.Endpoints[i].Order = uint32(i)
		}
		return nil
	}}
	svc := service(func(s *watchers.Service) { s.InternalPolicy = watchers.PolicyLocal })
	n := newNode(t, cfg, svc, slice(t, "a", "10.1.0.1 R", "10.1.0.2 R L", "10.1.0.3 R L"))
	require.Equal(t, ".2(local)", n.target())

	n = newNode(t, cfg, service(), slice(t, "a", "10.1.0.1 R nx", "10.1.0.2 R nnode-1", "10.1.0.3 R nnode-1"))
	require.Equal(t, ".2", n.target())

	n = newNode(t, cfg, service(), slice(t, "a", "10.1.0.1 R zb", "10.1.0.2 R za", "10.1.0.3 R za"), &watchers.Node{Name: "node-1", Zone: "a"})
	require.Equal(t, ".2", n.target())
}

// TestPolicyOverridesTheWeightOfTheSlice: a policy gets the weight of the source, also 0.
func TestPolicyOverridesTheWeightOfTheSlice(t *testing.T) {
	var got []uint32
	cfg := nodelocal.Config{Policy: func(_ *watchers.Service, p *nodelocal.PolicyPort) error {
		for i := range p.Endpoints {
			got = append(got, p.Endpoints[i].Weight)
			p.Endpoints[i].Weight = uint32(2 * (i + 1))
		}
		return nil
	}}
	n := newNode(t, cfg, service(), weighted(slice(t, "a", "10.1.0.1 R", "10.1.0.2 R", "10.1.0.3 R"), 0, 4, -1))
	require.Equal(t, []uint32{0, 4, 1}, got)
	require.Equal(t, ".1(weight 2) .2(weight 4) .3(weight 6)", n.target())
}

func TestPassExternal(t *testing.T) {
	cfg := nodelocal.Config{Policy: func(_ *watchers.Service, p *nodelocal.PolicyPort) error { p.PassExternal = true; return nil }}
	svc := service(func(s *watchers.Service) {
		s.Type, s.ExternalPolicy = watchers.TypeLoadBalancer, watchers.PolicyLocal
		s.Ingress = []watchers.Ingress{{IP: netip.MustParseAddr("192.0.2.1")}}
		s.Ports[0].NodePort = 30080
	})
	verdicts := func(n *testNode, kind localsink.FrontendKind) string {
		var out []string
		for _, fe := range n.get(name()).Ports[0].Frontends {
			if fe.Kind == kind {
				out = append(out, fe.Routes[len(fe.Routes)-1].EmptyVerdict.String())
			}
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		name       string
		endpoints  []string
		lb, np, ip string
	}{
		{"no local endpoints", []string{"10.1.0.1 R"}, "Pass", "Drop", "Reject"},
		{"no endpoints", nil, "Pass", "Reject", "Reject"},
	} {
		n := newNode(t, cfg, svc, slice(t, "a", c.endpoints...))
		require.Equal(t, c.lb, verdicts(n, localsink.KindLoadBalancer), c.name)
		require.Equal(t, c.np, verdicts(n, localsink.KindNodePort), c.name)
		require.Equal(t, c.ip, verdicts(n, localsink.KindClusterIP), c.name)
	}
}

func TestScope(t *testing.T) {
	dual := service(func(s *watchers.Service) {
		s.Type, s.ExternalPolicy, s.HealthCheckNodePort = watchers.TypeLoadBalancer, watchers.PolicyLocal, 32000
		s.ClusterIPs = append([]netip.Addr{s.ClusterIP}, addrs("fd00::1")...)
		s.IPFamilies = []watchers.IPFamily{4, 6}
		s.ExternalIPs = addrs("192.0.2.9 192.0.2.1 2001:db8::9")
		s.Ingress = []watchers.Ingress{{IP: netip.MustParseAddr("192.0.2.1")}}
		s.HasSourceRanges, s.SourceRanges = true, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
		s.Ports[0].NodePort = 30080
	})
	for _, c := range []struct {
		name   string
		scope  nodelocal.Scope
		want   string
		health bool
	}{
		{"all", nodelocal.Scope{}, "10.96.0.1:80 192.0.2.1:80 192.0.2.9:80 0.0.0.0:30080 [fd00::1]:80 [2001:db8::9]:80 [::]:30080", true},
		{"IPv6 only", nodelocal.Scope{Families: []watchers.IPFamily{6}}, "[fd00::1]:80 [2001:db8::9]:80 [::]:30080", true},
		{"cluster IPs only", nodelocal.Scope{FrontendKinds: []localsink.FrontendKind{localsink.KindClusterIP}}, "10.96.0.1:80 [fd00::1]:80", false},
		{"no load balancers; their addresses do not become external IPs", nodelocal.Scope{FrontendKinds: []localsink.FrontendKind{
			localsink.KindExternalIP, localsink.KindNodePort}}, "192.0.2.9:80 0.0.0.0:30080 [2001:db8::9]:80 [::]:30080", true},
		{"another Service is left out", nodelocal.Scope{Skip: func(s *watchers.Service) bool { return s.Name.Name != "svc" }},
			"10.96.0.1:80 192.0.2.1:80 192.0.2.9:80 0.0.0.0:30080 [fd00::1]:80 [2001:db8::9]:80 [::]:30080", true},
		{"the Service is left out", nodelocal.Scope{Skip: func(s *watchers.Service) bool { return s.Name.Name == "svc" }}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, nodelocal.Config{Scope: c.scope}, dual, slice(t, "a", "10.1.0.1 R"))
			svc := n.get(name())
			x, err := nodelocal.Explain(n.store.Snapshot(), nodelocal.Config{NodeName: "node-1", Scope: c.scope}, name())
			require.NoError(t, err)
			if c.want == "" {
				require.Nil(t, svc)
				require.Nil(t, x)
				return
			}
			require.Empty(t, svc.Problems)
			var got []string
			for _, fe := range svc.Ports[0].Frontends {
				got = append(got, fe.Addr.String())
			}
			require.Equal(t, c.want, strings.Join(got, " "))
			require.Equal(t, c.health, svc.HealthCheck != nil)
			require.Equal(t, c.want[0] != '[', x.Endpoints[0].ClusterTraffic, "IPv4 is served")
			u := n.resolver.FullUpdate()
			require.NoError(t, sinktest.Check(u.Node, u.All))
		})
	}
}

// TestScopeLeavesAddressesToOthers: an address that is left out of one Service is free for
// another one.
func TestScopeLeavesAddressesToOthers(t *testing.T) {
	older := service(func(s *watchers.Service) { s.ExternalIPs = addrs("192.0.2.9") })
	younger := service(func(s *watchers.Service) {
		s.Name.Name, s.Created, s.ClusterIP, s.ExternalIPs = "younger", at(1), addrs("10.96.0.2")[0], addrs("192.0.2.9")
	})
	cfg := nodelocal.Config{}
	require.NotEmpty(t, newNode(t, cfg, older, younger).get(younger.Name).Problems)
	cfg.Scope.Skip = func(s *watchers.Service) bool { return s.Name == name() }
	require.Empty(t, newNode(t, cfg, older, younger).get(younger.Name).Problems)
}

func TestNoMasquerade(t *testing.T) {
	p := netip.MustParsePrefix
	cfg := nodelocal.Config{NoMasquerade: []netip.Prefix{p("192.168.1.7/24"), p("10.0.0.0/8"), p("192.168.1.0/24")}, Unsupported: localsink.FeatureNoMasquerade}
	n := newNode(t, cfg, service(func(s *watchers.Service) { s.ExternalIPs = addrs("192.0.2.9") }), slice(t, "a", "10.1.0.1 R"),
		service(func(s *watchers.Service) { s.Name.Name, s.ClusterIP = "empty", addrs("10.96.0.2")[0] }))
	require.Equal(t, []netip.Prefix{p("10.0.0.0/8"), p("192.168.1.0/24")}, n.node().NoMasquerade)
	require.Contains(t, n.get(name()).Problems[0].Message, "does not support masquerade exceptions")
	require.Empty(t, n.get(watchers.ServiceName{Namespace: "ns", Name: "empty"}).Problems, "no route masquerades")
}

func TestInvalidScope(t *testing.T) {
	for want, cfg := range map[string]nodelocal.Config{
		"Scope.FrontendKinds[1]: 9 is not a kind of frontend": {Scope: nodelocal.Scope{FrontendKinds: []localsink.FrontendKind{1, 9}}},
		"Scope.Families[0]: 5 is not 4 or 6":                  {Scope: nodelocal.Scope{Families: []watchers.IPFamily{5}}},
		"NoMasquerade[0]: invalid Prefix":                     {NoMasquerade: []netip.Prefix{{}}},
	} {
		cfg.NodeName = "node-1"
		_, err := nodelocal.NewResolver(watchers.NewStore(), cfg)
		require.ErrorContains(t, err, want)
		multi := nodelocal.MultiNodeConfig{Scope: cfg.Scope, NoMasquerade: cfg.NoMasquerade}
		require.ErrorContains(t, multi.Validate(), want)
	}
}

func TestExplainNamesWeightAndOrder(t *testing.T) {
	cfg := nodelocal.Config{NodeName: "node-1", Policy: func(_ *watchers.Service, p *nodelocal.PolicyPort) error {
		p.Endpoints[1].Order = 1
		return nil
	}}
	n := newNode(t, cfg, service(), weighted(slice(t, "a", "10.1.0.1 R", "10.1.0.2 R", "10.1.0.3 R"), 4, -1, 0))
	x, err := nodelocal.Explain(n.store.Snapshot(), cfg, name())
	require.NoError(t, err)
	require.Contains(t, x.Text(), `endpoint 10.1.0.1:80 for port "" (slice a, node "elsewhere"): used, weight 4`)
	require.Contains(t, x.Text(), `endpoint 10.1.0.2:80 for port "" (slice a, node "elsewhere"): not used: its order is 1, and there are endpoints with a smaller one`)
	require.Contains(t, x.Text(), `endpoint 10.1.0.3:80 for port "" (slice a, node "elsewhere"): not used: its weight is 0`)
}
