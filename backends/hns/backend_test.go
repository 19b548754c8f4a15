// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/hns"
	"sigs.k8s.io/kpng/backends/hns/hnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

var errInjected = errors.New("injected")

// endpoints returns endpoints; those in 10.244.0.0/24 and fd00:244::/64 are local.
func endpoints(addrs ...string) []localsink.Endpoint {
	var all []localsink.Endpoint
	for _, text := range addrs {
		a := netip.MustParseAddrPort(text)
		all = append(all, localsink.Endpoint{Addr: a, Local: isLocal(a.Addr()), Weight: 1})
	}
	return all
}

func isLocal(a netip.Addr) bool {
	return netip.MustParsePrefix("10.244.0.0/24").Contains(a) || netip.MustParsePrefix("fd00:244::/64").Contains(a)
}

// service returns a Service with one port and a cluster IP, changed by change.
func service(name, clusterIP string, list []localsink.Endpoint, change func(p *localsink.Port)) *localsink.Service {
	p := localsink.Port{
		Name: "http", Protocol: localsink.ProtocolTCP, Pools: []localsink.Pool{{Endpoints: list}},
		Frontends: []localsink.Frontend{frontend(localsink.KindClusterIP, clusterIP, localsink.Route{})},
	}
	if change != nil {
		change(&p)
	}
	return &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: name}, Ports: []localsink.Port{p}}
}

func frontend(kind localsink.FrontendKind, addr string, routes ...localsink.Route) localsink.Frontend {
	return localsink.Frontend{Kind: kind, Addr: netip.MustParseAddrPort(addr), Routes: routes}
}

// with returns a change of a port that adds frontends.
func with(frontends ...localsink.Frontend) func(p *localsink.Port) {
	return func(p *localsink.Port) { p.Frontends = append(p.Frontends, frontends...) }
}

func testNode() *localsink.Node {
	return &localsink.Node{
		Name: "node", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")},
		NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
	}
}

// A fixture is a backend with its fake and driver.
type fixture struct {
	*sinktest.Driver

	t *testing.T
	b *hns.Backend
	f *hnstest.Fake
}

// l2bridge returns a fake with an L2 bridge network and the pods 10.244.0.1 to 10.244.0.9 and
// fd00:244::1 to fd00:244::9.
func l2bridge() *hnstest.Fake {
	f := hnstest.New(hnstest.Config{Network: hns.Network{Name: "pods", Type: "L2Bridge"}, Features: hnstest.AllFeatures()})
	for i := range 9 {
		f.AddLocalEndpoints(netip.MustParseAddr(fmt.Sprint("10.244.0.", i+1)), netip.MustParseAddr(fmt.Sprint("fd00:244::", i+1)))
	}
	return f
}

// overlay returns a fake with an overlay network of three nodes, and the pods of l2bridge.
func overlay() *hnstest.Fake {
	f := l2bridge()
	f.SetNetwork(overlayNetwork("192.0.2.11"))
	return f
}

// overlayNetwork returns the network; 10.244.1.0/24 are the pods of the node with an address.
func overlayNetwork(node1 string) hns.Network {
	n := hns.Network{Name: "pods", Type: "overlay"}
	for pods, node := range map[string]string{"10.244.1.0/24": node1, "10.244.2.0/24": "192.0.2.12"} {
		n.Policies = append(n.Policies, hns.NetworkPolicy{Type: hns.PolicyRemoteSubnet, Settings: hns.RemoteSubnet{DestinationPrefix: pods, ProviderAddress: node}})
	}
	return n
}

func newFixture(t *testing.T, f *hnstest.Fake, change func(*hns.Config)) *fixture {
	t.Helper()
	b := newBackend(t, f, change)
	return &fixture{&sinktest.Driver{Sink: b, Node: testNode()}, t, b, f}
}

func newBackend(t *testing.T, f *hnstest.Fake, change func(*hns.Config)) *hns.Backend {
	t.Helper()
	cfg := hns.Config{
		HNS: f, Network: "pods", PollInterval: time.Hour,
		HostMAC: func(netip.Addr) (string, error) { return "00:15:5D:AA:BB:CC", nil },
	}
	if change != nil {
		change(&cfg)
	}
	b, err := hns.New(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// sync syncs Services and returns the operations.
func (x *fixture) sync(services ...*localsink.Service) []string {
	x.t.Helper()
	x.f.TakeWrites()
	require.NoError(x.t, x.Sync(x.t.Context(), sinktest.NewState(services...)))
	return x.f.TakeWrites()
}

// restart replaces the backend by a new one, as a new process does.
func (x *fixture) restart(change func(*hns.Config)) {
	x.t.Helper()
	require.NoError(x.t, x.b.Close())
	x.b = newBackend(x.t, x.f, change)
	x.Driver = &sinktest.Driver{Sink: x.b, Node: x.Node}
}

// fail makes the calls with a prefix fail.
func (x *fixture) fail(prefix string, err error) {
	x.f.SetFaults(hnstest.Faults{Fail: func(c hnstest.Call) error {
		if strings.HasPrefix(c.String(), prefix) {
			return err
		}
		return nil
	}})
}

func (x *fixture) notProgrammed(svc *localsink.Service) string {
	if err := x.b.NotProgrammed()[svc.Name]; err != nil {
		return err.Error()
	}
	return ""
}

// requireLikeFirst checks that HNS has what a new one would have.
func (x *fixture) requireLikeFirst(fresh *hnstest.Fake, services ...*localsink.Service) {
	x.t.Helper()
	y := newFixture(x.t, fresh, nil)
	y.Node = x.Node
	y.sync(services...)
	require.Equal(x.t, y.f.Describe(), x.f.Describe())
}

func TestSinkContract(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{
		Unsupported: localsink.FeatureSCTP | localsink.FeatureSourceRanges | localsink.FeatureWeights | localsink.FeatureSelectionClient |
			localsink.FeatureSelectionFlow | localsink.FeatureSelectionLeastConnections | localsink.FeaturePass | localsink.FeatureRefusedShare |
			localsink.FeatureNoMasquerade,
		Extensions: []localsink.Extension{{Key: hns.PreserveDestination, Value: "true"}},
		New: func(t *testing.T) (localsink.Sink, func() string) {
			f := hnstest.New(hnstest.Config{Network: hns.Network{Name: "pods", Type: hns.TypeL2Bridge}, Features: hnstest.AllFeatures()})
			for i := range 120 {
				f.AddLocalEndpoints(netip.AddrFrom4([4]byte{10, 244, 0, byte(i + 1)}), netip.MustParseAddr(fmt.Sprintf("fd00:244:0::%x", i+1)))
			}
			return newBackend(t, f, nil), f.Describe
		},
	})
}

// An operationCase is a change of Services and the operations that it makes of what HNS has.
type operationCase struct {
	name          string
	before, after []*localsink.Service
	change        func(*hns.Features)
	want          []string
}

// TestOperations is the table of operations.
func TestOperations(t *testing.T) {
	for _, c := range append(changeOperations(), frontendOperations()...) {
		t.Run(c.name, func(t *testing.T) {
			f := l2bridge()
			features := hnstest.AllFeatures()
			if c.change != nil {
				c.change(&features)
			}
			f.SetFeatures(features)
			x := newFixture(t, f, nil)
			x.sync(c.before...)
			require.Equal(t, c.want, x.sync(c.after...))
			x.requireLikeFirst(l2bridge(), c.after...)
			require.Empty(t, x.sync(c.after...))
		})
	}
}

// changeOperations are changes of endpoints, ports and names.
func changeOperations() []operationCase {
	web := func(list ...string) *localsink.Service {
		return service("web", "10.96.0.10:80", endpoints(list...), nil)
	}
	at := func(addr string) *localsink.Service { return service("web", addr, endpoints("10.244.0.1:8080"), nil) }
	return []operationCase{
		{name: "first", after: []*localsink.Service{web("10.244.0.1:8080", "10.244.1.1:8080")}, want: []string{
			"CreateEndpoint remote 10.244.1.1 mac=02-11-0a-f4-01-01",
			"CreateLoadBalancer TCP 10.96.0.10:80 -> 8080 [10.244.0.1 10.244.1.1]",
		}},
		{name: "equal", before: []*localsink.Service{web("10.244.0.1:8080")}, after: []*localsink.Service{web("10.244.0.1:8080")}},
		{name: "endpoint added", before: []*localsink.Service{web("10.244.0.1:8080")}, after: []*localsink.Service{web("10.244.0.1:8080", "10.244.1.1:8080")}, want: []string{
			"CreateEndpoint remote 10.244.1.1 mac=02-11-0a-f4-01-01",
			"ModifyLoadBalancer TCP 10.96.0.10:80 -> 8080 [10.244.0.1 10.244.1.1]",
		}},
		{name: "endpoint replaced", before: []*localsink.Service{web("10.244.1.1:8080")}, after: []*localsink.Service{web("10.244.1.2:8080")}, want: []string{
			"CreateEndpoint remote 10.244.1.2 mac=02-11-0a-f4-01-02",
			"ModifyLoadBalancer TCP 10.96.0.10:80 -> 8080 [10.244.1.2]",
			"DeleteEndpoint remote 10.244.1.1 mac=02-11-0a-f4-01-01",
		}},
		{
			name: "endpoint added, without modification", before: []*localsink.Service{web("10.244.0.1:8080")}, after: []*localsink.Service{web("10.244.0.1:8080", "10.244.0.2:8080")},
			change: func(f *hns.Features) { f.ModifyLoadBalancer = false },
			want:   []string{"DeleteLoadBalancer TCP 10.96.0.10:80", "CreateLoadBalancer TCP 10.96.0.10:80 -> 8080 [10.244.0.1 10.244.0.2]"},
		},
		{name: "target port", before: []*localsink.Service{web("10.244.0.1:8080")}, after: []*localsink.Service{web("10.244.0.1:9090")}, want: []string{
			"DeleteLoadBalancer TCP 10.96.0.10:80", "CreateLoadBalancer TCP 10.96.0.10:80 -> 9090 [10.244.0.1]",
		}},
		{name: "cluster IP", before: []*localsink.Service{at("10.96.0.10:80")}, after: []*localsink.Service{at("10.96.0.11:80")}, want: []string{
			"DeleteLoadBalancer TCP 10.96.0.10:80", "CreateLoadBalancer TCP 10.96.0.11:80 -> 8080 [10.244.0.1]",
		}},
		{
			name: "frontend moves to another Service", before: []*localsink.Service{at("10.96.0.10:80")},
			after: []*localsink.Service{service("api", "10.96.0.10:80", endpoints("10.244.0.1:8080"), nil)},
		},
		{name: "last endpoint removed", before: []*localsink.Service{web("10.244.1.1:8080")}, after: []*localsink.Service{web()}, want: []string{
			"DeleteLoadBalancer TCP 10.96.0.10:80", "DeleteEndpoint remote 10.244.1.1 mac=02-11-0a-f4-01-01",
		}},
		{name: "Service removed", before: []*localsink.Service{web("10.244.1.1:8080")}, want: []string{
			"DeleteLoadBalancer TCP 10.96.0.10:80", "DeleteEndpoint remote 10.244.1.1 mac=02-11-0a-f4-01-01",
		}},
		{
			name:   "remote endpoint shared",
			before: []*localsink.Service{web("10.244.1.1:8080"), service("api", "10.96.0.11:80", endpoints("10.244.1.1:8080"), nil)},
			after:  []*localsink.Service{web("10.244.1.1:8080")}, want: []string{"DeleteLoadBalancer TCP 10.96.0.11:80"},
		},
	}
}

// frontendOperations are the kinds of frontends.
func frontendOperations() []operationCase {
	return []operationCase{
		{
			name: "all kinds of frontends",
			after: []*localsink.Service{service("web", "10.96.0.10:80", endpoints("10.244.0.1:8080"), with(
				frontend(localsink.KindNodePort, "0.0.0.0:30080", localsink.Route{Masquerade: true}),
				frontend(localsink.KindExternalIP, "198.51.100.1:80", localsink.Route{Masquerade: true}),
				frontend(localsink.KindLoadBalancer, "203.0.113.1:80", localsink.Route{})))},
			want: []string{
				"CreateLoadBalancer TCP 0.0.0.0:30080 -> 8080 [10.244.0.1] LocalRoutedVIP VIPExternalIP",
				"CreateLoadBalancer TCP 10.96.0.10:80 -> 8080 [10.244.0.1]",
				"CreateLoadBalancer TCP 198.51.100.1:80 -> 8080 [10.244.0.1] VIPExternalIP",
				"CreateLoadBalancer TCP 203.0.113.1:80 -> 8080 [10.244.0.1] VIPExternalIP DSR",
			},
		},
		{
			name: "affinity, UDP and IPv6",
			after: []*localsink.Service{service("dns", "[fd00:96::10]:53", endpoints("[fd00:244::1]:53"), func(p *localsink.Port) {
				p.Protocol, p.Affinity = localsink.ProtocolUDP, time.Hour
			})},
			want: []string{"CreateLoadBalancer UDP [fd00:96::10]:53 -> 53 [fd00:244::1] SourceIP"},
		},
	}
}

func TestChangeOfOneServiceTouchesOnlyIt(t *testing.T) {
	x := newFixture(t, l2bridge(), nil)
	all := make([]*localsink.Service, 500)
	for i := range all {
		all[i] = service(fmt.Sprint("s", i), fmt.Sprintf("10.96.%d.%d:80", i/250, i%250+1), endpoints("10.244.0.1:80", "10.244.1.1:80"), nil)
	}
	require.Len(t, x.sync(all...), 501)
	all[7] = service("s7", "10.96.0.8:80", endpoints("10.244.0.1:80", "10.244.1.2:80"), nil)
	require.Equal(t, []string{
		"CreateEndpoint remote 10.244.1.2 mac=02-11-0a-f4-01-02", "ModifyLoadBalancer TCP 10.96.0.8:80 -> 80 [10.244.0.1 10.244.1.2]",
	}, x.sync(all...))
}

// localPolicy returns a Service whose clients outside of the node reach local endpoints only.
func localPolicy(local ...string) *localsink.Service {
	return service("web", "10.96.0.10:80", endpoints("10.244.0.1:8080", "10.244.1.1:8080"), func(p *localsink.Port) {
		p.Pools = append(p.Pools, localsink.Pool{Endpoints: endpoints(local...)})
		p.Frontends = append(p.Frontends, frontend(localsink.KindLoadBalancer, "203.0.113.1:80",
			localsink.Route{From: localsink.FromLocalPods, Masquerade: true}, localsink.Route{Pool: 1, EmptyVerdict: localsink.VerdictDrop}))
	})
}

func TestLocalPolicyUsesTheRouteOfOtherClients(t *testing.T) {
	x := newFixture(t, l2bridge(), nil)
	web := localPolicy("10.244.0.1:8080")
	require.Contains(t, x.sync(web), "CreateLoadBalancer TCP 203.0.113.1:80 -> 8080 [10.244.0.1] VIPExternalIP DSR")
	require.Contains(t, x.notProgrammed(web), "those of LocalPods reach the endpoints for Any")
	require.Equal(t, []string{"DeleteLoadBalancer TCP 203.0.113.1:80"}, x.sync(localPolicy()))
	require.NotContains(t, x.notProgrammed(web), "not refused", "dropped")
}

func TestWhatHNSLacksIsReported(t *testing.T) {
	ranges := func(p *localsink.Port) {
		fe := frontend(localsink.KindLoadBalancer, "203.0.113.1:80", localsink.Route{})
		fe.SourceRanges = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
		p.Frontends = append(p.Frontends, fe)
	}
	for _, c := range []struct {
		name, want string
		svc        *localsink.Service
		open       bool
		writes     int
	}{
		{"affinity", "HNS has no timeout: 3h0m0s is not applied", service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), func(p *localsink.Port) { p.Affinity = 3 * time.Hour }), false, 1},
		{"ports", "1 with another port than 80", service("web", "10.96.0.1:80", endpoints("10.244.0.1:80", "10.244.0.2:80", "10.244.0.3:81"), nil), false, 1},
		{"SCTP", "HNS balances no SCTP", service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), func(p *localsink.Port) { p.Protocol = localsink.ProtocolSCTP }), false, 0},
		{"source ranges", "source ranges are not supported; not programmed", service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), ranges), false, 1},
		{"source ranges, ignored", "all clients are served", service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), ranges), true, 2},
		{"violation", "port 0 is out of range", service("web", "10.96.0.1:0", endpoints("10.244.0.1:80"), nil), false, 0},
		{"local endpoint", "endpoint 10.244.0.99 does not exist in network pods", service("web", "10.96.0.1:80", endpoints("10.244.0.1:80", "10.244.0.99:80"), nil), false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newFixture(t, l2bridge(), func(cfg *hns.Config) { cfg.IgnoreSourceRanges = c.open })
			require.Len(t, x.sync(c.svc), c.writes)
			require.Contains(t, x.notProgrammed(c.svc), c.want)
			x.sync()
			require.Empty(t, x.b.NotProgrammed())
		})
	}
}

func TestNodePortsOfAFamily(t *testing.T) {
	x := newFixture(t, l2bridge(), nil)
	web := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), with(frontend(localsink.KindNodePort, "0.0.0.0:30080", localsink.Route{Masquerade: true})))
	require.Len(t, x.sync(web), 2)
	x.Node = testNode()
	x.Node.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	require.Empty(t, x.sync(web))
	require.Contains(t, x.notProgrammed(web), "on all addresses of the node")
	x.Node = testNode()
	x.Node.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("::/0")}
	require.Equal(t, []string{"DeleteLoadBalancer TCP 0.0.0.0:30080"}, x.sync(web))
}

func TestPreserveDestination(t *testing.T) {
	x := newFixture(t, l2bridge(), nil)
	web := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80", "10.244.0.2:80"), with(
		frontend(localsink.KindNodePort, "0.0.0.0:30080", localsink.Route{Masquerade: true}),
		frontend(localsink.KindLoadBalancer, "203.0.113.1:80", localsink.Route{Masquerade: true})))
	web.Ports[0].Pools[0].Endpoints[1].Local = false
	web.Extensions = localsink.NewExtensions(localsink.Extension{Key: hns.PreserveDestination, Value: "true"})
	require.Equal(t, []string{
		"CreateLoadBalancer TCP 0.0.0.0:30080 -> 80 [10.244.0.1] LocalRoutedVIP VIPExternalIP",
		"CreateLoadBalancer TCP 10.96.0.1:80 -> 80 [10.244.0.1 10.244.0.2]",
		"CreateLoadBalancer TCP 203.0.113.1:80 -> 80 [10.244.0.1] UseMux PreserveDIP VIPExternalIP DSR",
	}, x.sync(web))
}

func TestHealthChecksReachTheNode(t *testing.T) {
	f := l2bridge()
	x := newFixture(t, f, func(cfg *hns.Config) { cfg.HealthCheckEndpoint, cfg.HealthCheckPort = "cbr0", 10256 })
	web := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), with(frontend(localsink.KindLoadBalancer, "203.0.113.1:80", localsink.Route{Masquerade: true})))
	x.sync(web)
	require.Contains(t, x.notProgrammed(web), `no endpoint has the name "cbr0"`)
	f.AddEndpoint(hns.Endpoint{Name: "cbr0", IPConfigurations: []hns.IPConfig{{IPAddress: "10.244.0.254"}}})
	x.restart(func(cfg *hns.Config) { cfg.HealthCheckEndpoint, cfg.HealthCheckPort = "cbr0", 10256 })
	require.Equal(t, []string{"CreateLoadBalancer TCP 203.0.113.1:10256 -> 10256 [cbr0]"}, x.sync(web))
	web = service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), func(p *localsink.Port) { p.Frontends = web.Ports[0].Frontends })
	web.HealthCheck = &localsink.HealthCheck{Port: 31000}
	require.Equal(t, []string{"DeleteLoadBalancer TCP 203.0.113.1:10256", "CreateLoadBalancer TCP 203.0.113.1:31000 -> 31000 [cbr0]"}, x.sync(web))
}

func withSourceVIP(cfg *hns.Config) { cfg.SourceVIP = netip.MustParseAddr("10.244.0.200") }

func TestOverlay(t *testing.T) {
	x := newFixture(t, overlay(), withSourceVIP)
	web := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80", "10.244.1.1:80"), nil)
	public := service("db", "10.96.0.2:80", endpoints("203.0.113.9:80"), nil)
	require.Equal(t, []string{
		"CreateEndpoint remote 10.96.0.1 mac=00-15-5d-aa-bb-cc provider=192.0.2.10",
		"CreateEndpoint remote 10.96.0.2 mac=00-15-5d-aa-bb-cc provider=192.0.2.10",
		"CreateEndpoint remote 10.244.1.1 mac=02-11-0a-f4-01-01 provider=192.0.2.11",
		"CreateEndpoint remote 203.0.113.9 mac=02-11-cb-00-71-09 provider=192.0.2.10",
		"CreateEndpoint local 10.244.0.200 mac=00-15-5d-aa-bb-cc provider=192.0.2.10",
		"CreateLoadBalancer TCP 10.96.0.1:80 -> 80 [10.244.0.1 10.244.1.1] source=10.244.0.200",
		"CreateLoadBalancer TCP 10.96.0.2:80 -> 80 [203.0.113.9] source=192.0.2.10",
	}, x.sync(web, public))
	require.Equal(t, []string{
		"DeleteLoadBalancer TCP 10.96.0.2:80",
		"DeleteEndpoint remote 10.96.0.2 mac=00-15-5d-aa-bb-cc provider=192.0.2.10",
		"DeleteEndpoint remote 203.0.113.9 mac=02-11-cb-00-71-09 provider=192.0.2.10",
	}, x.sync(web))
	x.restart(withSourceVIP)
	require.Empty(t, x.sync(web), "adopted")

	x.f.SetNetwork(overlayNetwork("192.0.2.21"))
	require.Equal(t, []string{"ModifyEndpoint remote 10.244.1.1 mac=02-11-0a-f4-01-01 provider=192.0.2.11"}, x.sync(web))
	require.Empty(t, x.sync(web))
}

func TestCleanup(t *testing.T) {
	x := newFixture(t, overlay(), withSourceVIP)
	x.sync(service("web", "10.96.0.1:80", endpoints("10.244.0.1:80", "10.244.1.1:80"), nil))
	cfg := hns.Config{HNS: x.f, Network: "pods"}
	withSourceVIP(&cfg)
	require.NoError(t, hns.Cleanup(t.Context(), cfg))
	require.Empty(t, x.f.Describe())
	require.NoError(t, hns.Cleanup(t.Context(), cfg))
}

func TestInvalidConfigurations(t *testing.T) {
	for want, change := range map[string]func(*hns.Config){
		"Config.HNS: required":     func(cfg *hns.Config) { cfg.HNS = nil },
		"Config.Network: required": func(cfg *hns.Config) { cfg.Network = "" },
		"Config.PollInterval":      func(cfg *hns.Config) { cfg.PollInterval = -1 },
		"Config.SourceVIP":         func(cfg *hns.Config) { cfg.SourceVIP = netip.IPv4Unspecified() },
	} {
		cfg := hns.Config{HNS: l2bridge(), Network: "pods"}
		change(&cfg)
		_, err := hns.New(t.Context(), cfg)
		require.ErrorContains(t, err, want)
	}
	f := l2bridge()
	f.SetFeatures(hns.Features{})
	_, err := hns.New(t.Context(), hns.Config{HNS: f, Network: "pods", EnableDSR: true})
	require.ErrorContains(t, err, "direct server return")
	x := newFixture(t, overlay(), nil)
	require.ErrorContains(t, x.Sync(t.Context(), sinktest.NewState()), "Config.SourceVIP: required")
}
