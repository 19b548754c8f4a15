// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// ip parses an address; "" is the zero Addr.
func ip(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func ips(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, ip(s))
	}
	return out
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// store returns an object as the store has it after it was set twice.
func store[T watchers.Object](t *testing.T, object T) T {
	t.Helper()
	s := watchers.NewStore()
	var key watchers.Key
	first := s.Update(func(tx *watchers.Tx) { key = tx.Set(object) })
	require.Same(t, first.Snapshot, s.Update(func(tx *watchers.Tx) { tx.Set(object) }).Snapshot, "an equal object is no change")
	got, ok := first.Get(key)
	require.True(t, ok)
	require.Same(t, first.Snapshot, s.Update(func(tx *watchers.Tx) { tx.Set(got) }).Snapshot, "a validated object is valid, and its Problems are not repeated")
	return got.(T)
}

// fields returns "field: message" of each Problem, which must name the object.
func fields(t *testing.T, object string, problems []watchers.Problem) (out []string) {
	t.Helper()
	for _, p := range problems {
		require.Equal(t, object, p.Object)
		out = append(out, p.Field+": "+p.Message)
	}
	return out
}

// valid returns a Service with a value of every kind.
func validService() *watchers.Service {
	return &watchers.Service{
		Name: watchers.ServiceName{Namespace: "ns", Name: "svc"}, Type: watchers.TypeLoadBalancer,
		ClusterIP: ip("10.0.0.1"), ClusterIPs: ips("10.0.0.1", "fd00::1"), IPFamilies: []watchers.IPFamily{4, 6},
		ExternalIPs: ips("192.0.2.1"), Ingress: []watchers.Ingress{{IP: ip("192.0.2.2")}},
		SourceRanges: []netip.Prefix{prefix("10.1.2.3/8")}, HasSourceRanges: true,
		Affinity: time.Hour, HealthCheckNodePort: 32000,
		Ports: []watchers.ServicePort{{Name: "a", Protocol: localsink.ProtocolTCP, Port: 80, NodePort: 30080}, {Name: "a", Protocol: localsink.ProtocolUDP, Port: 80}},
	}
}

// An invalidService is a change that makes validService invalid.
type invalidService struct {
	id       string
	change   func(*watchers.Service)
	want     func(*watchers.Service) // nil: as changed
	problems []string
}

func (row *invalidService) test(t *testing.T) {
	in, want := validService(), validService()
	if row.change != nil {
		row.change(in)
		row.change(want)
	}
	if row.want != nil {
		row.want(want)
	}
	got := store(t, in)
	require.Equal(t, row.problems == nil && row.want == nil, in == got, "only a valid object is not copied")
	require.Equal(t, row.problems, fields(t, "Service ns/svc", got.Problems))
	want.Problems = got.Problems
	if len(got.Ingress) == 0 {
		got.Ingress = nil
	}
	if len(got.Ports) == 0 {
		got.Ports = nil
	}
	require.Equal(t, want, got)
}

func TestInvalidServiceValues(t *testing.T) {
	const special = " is an unspecified, loopback or link-local address; ignored"
	for _, row := range []invalidService{
		{id: "valid"},
		{"IN-26 unknown protocol", func(s *watchers.Service) { s.Ports[1].Protocol = 1 }, func(s *watchers.Service) { s.Ports = s.Ports[:1] },
			[]string{"spec.ports[1].protocol: 1 is not TCP (6), UDP (17) or SCTP (132); the port is ignored"}},
		{"IN-26 port 0", func(s *watchers.Service) { s.Ports[0].Port = 0 }, func(s *watchers.Service) { s.Ports = s.Ports[1:] },
			[]string{"spec.ports[0].port: 0 is out of range 1-65535; the port is ignored"}},
		{"two ports of one name and protocol", func(s *watchers.Service) { s.Ports[1].Protocol, s.Ports[1].Port = 6, 81 }, func(s *watchers.Service) { s.Ports = s.Ports[:1] },
			[]string{`spec.ports[1].name: "a" is the name of an earlier TCP port; the port is ignored`}},
		{"IPv4-mapped cluster IP", func(s *watchers.Service) { s.ClusterIPs[0] = ip("::ffff:10.0.0.9") }, func(s *watchers.Service) { s.ClusterIPs = ips("10.0.0.9", "fd00::1") },
			[]string{"spec.clusterIPs[0]: ::ffff:10.0.0.9 is an IPv4-mapped IPv6 address; treated as 10.0.0.9"}},
		{"zone of a cluster IP", func(s *watchers.Service) { s.ClusterIP, s.ClusterIPs[1] = ip("fe80::1%eth0"), ip("fe80::1%eth0") },
			func(s *watchers.Service) { s.ClusterIP, s.ClusterIPs = netip.Addr{}, ips("10.0.0.1", "") },
			[]string{"spec.clusterIP: fe80::1%eth0 has a zone; ignored", "spec.clusterIPs[1]: fe80::1%eth0 has a zone; ignored"}},
		{"loopback cluster IP", func(s *watchers.Service) { s.ClusterIP = ip("127.0.0.1") }, func(s *watchers.Service) { s.ClusterIP = netip.Addr{} },
			[]string{"spec.clusterIP: 127.0.0.1 is an unspecified, loopback or link-local multicast address; ignored"}},
		{"name of a port", func(s *watchers.Service) { s.Ports[0].Name, s.Ports[1].Name = "a\nb", "\xff" }, func(s *watchers.Service) { s.Ports = nil },
			[]string{`spec.ports[0].name: "a\nb" is too long, or has control characters, slashes or invalid UTF-8; the port is ignored`,
				`spec.ports[1].name: "\xff" is too long, or has control characters, slashes or invalid UTF-8; the port is ignored`}},
		{"IN-29 external IPs", func(s *watchers.Service) {
			s.ExternalIPs = ips("", "192.0.2.1", "0.0.0.0", "::1", "169.254.0.1", "fe80::1", "224.0.0.1", "fe80::1%2", "::ffff:192.0.2.3", "::ffff:127.0.0.1")
		}, func(s *watchers.Service) { s.ExternalIPs = ips("192.0.2.1", "192.0.2.3") },
			[]string{"spec.externalIPs[0]: invalid IP is not an IP address; ignored", "spec.externalIPs[2]: 0.0.0.0" + special, "spec.externalIPs[3]: ::1" + special,
				"spec.externalIPs[4]: 169.254.0.1" + special, "spec.externalIPs[5]: fe80::1" + special, "spec.externalIPs[6]: 224.0.0.1" + special,
				"spec.externalIPs[7]: fe80::1%2 has a zone; ignored", "spec.externalIPs[8]: ::ffff:192.0.2.3 is an IPv4-mapped IPv6 address; treated as 192.0.2.3",
				"spec.externalIPs[9]: ::ffff:127.0.0.1 is an IPv4-mapped IPv6 address; ignored"}},
		{"IN-31 ingress", func(s *watchers.Service) { s.Ingress = []watchers.Ingress{{}, {IP: ip("ff02::1"), Proxy: true}} }, func(s *watchers.Service) { s.Ingress = nil },
			[]string{"status.loadBalancer.ingress[0].ip: invalid IP is not an IP address; ignored",
				"status.loadBalancer.ingress[1].ip: ff02::1 is an unspecified, loopback or link-local multicast address; ignored"}},
		{"IN-30 source ranges", func(s *watchers.Service) {
			s.SourceRanges = []netip.Prefix{{}, prefix("10.0.0.0/8"), netip.PrefixFrom(ip("::ffff:10.0.0.0"), 104)}
		}, func(s *watchers.Service) {
			s.SourceRanges, s.HasInvalidSourceRanges = []netip.Prefix{prefix("10.0.0.0/8"), prefix("10.0.0.0/8")}, true
		}, []string{"spec.loadBalancerSourceRanges[0]: invalid Prefix is not a network; ignored",
			"spec.loadBalancerSourceRanges[2]: ::ffff:10.0.0.0/104 is an IPv4-mapped IPv6 network; treated as 10.0.0.0/8"}},
		{"IN-30 source ranges that are not announced", func(s *watchers.Service) { s.HasSourceRanges = false }, func(s *watchers.Service) { s.HasSourceRanges = true }, nil},
		{"IN-27 negative affinity", func(s *watchers.Service) { s.Affinity = -1 }, func(s *watchers.Service) { s.Affinity = 3 * time.Hour },
			[]string{"spec.sessionAffinityConfig.clientIP.timeoutSeconds: -1ns is out of range 1s-24h0m0s; treated as 3h0m0s"}},
		{"IN-27 long affinity", func(s *watchers.Service) { s.Affinity = 25 * time.Hour }, func(s *watchers.Service) { s.Affinity = 3 * time.Hour },
			[]string{"spec.sessionAffinityConfig.clientIP.timeoutSeconds: 25h0m0s is out of range 1s-24h0m0s; treated as 3h0m0s"}},
		{"type and policies", func(s *watchers.Service) { s.Type, s.InternalPolicy, s.ExternalPolicy = 9, 2, 3 },
			func(s *watchers.Service) { s.Type, s.InternalPolicy, s.ExternalPolicy = 0, 0, 0 },
			[]string{"spec.type: 9 is not a Service type; treated as ClusterIP", "spec.internalTrafficPolicy: 2 is not Cluster (0) or Local (1); treated as Cluster",
				"spec.externalTrafficPolicy: 3 is not Cluster (0) or Local (1); treated as Cluster"}},
	} {
		t.Run(row.id, row.test)
	}
}

func TestClusterIPsAndFamiliesArePaired(t *testing.T) {
	for _, row := range []invalidService{
		{"families", func(s *watchers.Service) { s.IPFamilies[0] = 7 }, func(s *watchers.Service) { s.IPFamilies = []watchers.IPFamily{0, 6} },
			[]string{"spec.ipFamilies[0]: 7 is not IPv4 (4) or IPv6 (6); ignored"}},
		{"unknown family", func(s *watchers.Service) { s.IPFamilies[1] = 0 }, nil, []string{"spec.ipFamilies[1]: 0 is not IPv4 (4) or IPv6 (6); ignored"}},
		{"IN-21 more addresses than families", func(s *watchers.Service) { s.IPFamilies = s.IPFamilies[:1] }, nil,
			[]string{"spec.clusterIPs[1]: has no family in spec.ipFamilies[1]; ignored"}},
		{"IN-21 cluster IPs without families", func(s *watchers.Service) { s.IPFamilies = nil }, nil,
			[]string{"spec.clusterIPs[1]: has no family in spec.ipFamilies[1]; ignored"}},
		{"IN-21 only the list of cluster IPs, without families", func(s *watchers.Service) {
			s.ClusterIP, s.ClusterIPs, s.IPFamilies = netip.Addr{}, ips("10.0.0.1"), nil
		}, nil,
			[]string{"spec.clusterIPs[0]: has no family in spec.ipFamilies[0]; ignored"}},
		{"IN-21 zero cluster IP of a family", func(s *watchers.Service) { s.ClusterIPs[1] = netip.Addr{} }, nil,
			[]string{"spec.clusterIPs[1]: is not an IP address; ignored"}},
		{"IN-21 repeated family", func(s *watchers.Service) {
			s.ClusterIPs, s.IPFamilies = ips("10.0.0.1", "10.0.0.2"), []watchers.IPFamily{4, 4}
		}, nil,
			[]string{"spec.ipFamilies[1]: 4 is repeated; ignored"}},
		{"headless", func(s *watchers.Service) { s.ClusterIP, s.ClusterIPs = netip.Addr{}, ips("") }, nil, nil},
	} {
		t.Run(row.id, row.test)
	}
}

// TestInvalidNames: an object whose name cannot be printed or sent is reported, and empty.
func TestInvalidNames(t *testing.T) {
	const invalid = "is too long, or has control characters, slashes or invalid UTF-8"
	for _, row := range []struct{ namespace, name, object, failure string }{
		{"ns", "", "ns/", "is empty"},
		{"", "x", "/x", "is empty"},
		{"ns", "a\nb", `"ns/a\nb"`, invalid},
		{"ns", "\xff", `"ns/\xff"`, invalid},
		{"n/s", "x", `"n/s/x"`, invalid},
		{"ns", "\x7f", `"ns/\x7f"`, invalid},
		{"ns", strings.Repeat("x", 254), `"ns/` + strings.Repeat("x", 254) + `"`, invalid},
	} {
		s := validService()
		s.Name = watchers.ServiceName{Namespace: row.namespace, Name: row.name}
		got := store(t, s)
		require.Equal(t, []string{"metadata.name: " + row.failure + "; the Service is ignored"}, fields(t, "Service "+row.object, got.Problems))
		require.Equal(t, &watchers.Service{Name: s.Name, Problems: got.Problems}, got)

		e := slice(row.namespace, row.name, "svc")
		e.Endpoints = []watchers.Endpoint{{Addr: ip("10.1.0.1")}}
		gotSlice := store(t, e)
		require.Equal(t, []string{"metadata.name: " + row.failure + "; the slice is ignored"}, fields(t, "EndpointSlice "+row.object, gotSlice.Problems))
		require.Empty(t, gotSlice.Endpoints)
	}
	for _, name := range []string{"a", "web.prod_eu", "Größe", "a b", strings.Repeat("x", 253)} {
		s := validService()
		s.Name.Name, s.Ports[0].Name = name, name
		require.Same(t, s, store(t, s), "other sources have other names than Kubernetes")
	}
	require.Equal(t, []string{"metadata.name: " + invalid + "; the Node is ignored"}, fields(t, `Node "a\tb"`, store(t, &watchers.Node{Name: "a\tb"}).Problems))
}

// TestProblemsAreBounded: one object with many invalid values does not fill logs and messages.
func TestProblemsAreBounded(t *testing.T) {
	for _, n := range []int{31, 32, 33, 34, 5000} {
		s := validService()
		s.ExternalIPs = make([]netip.Addr, n)
		problems := fields(t, "Service ns/svc", store(t, s).Problems)
		require.Len(t, problems, min(n, 33))
		if n > 32 {
			require.Equal(t, fmt.Sprintf("spec.externalIPs[31]: %d further problems of the object", n-32), problems[32])
		}
	}
	s := validService() // the source itself reports many, and more are found
	s.ClusterIPs[1] = netip.Addr{}
	for i := range 100 {
		s.Problems = append(s.Problems, watchers.Problem{Object: "Service ns/svc", Field: fmt.Sprint("f", i), Message: "is wrong"})
	}
	problems := fields(t, "Service ns/svc", store(t, s).Problems)
	require.Len(t, problems, 33)
	require.Equal(t, "f31: 69 further problems of the object", problems[32])
}

func TestInvalidSliceValues(t *testing.T) {
	const special = " is an unspecified, loopback or link-local address; the endpoint is ignored"
	valid := func(change func(*watchers.EndpointSlice)) *watchers.EndpointSlice {
		s := slice("ns", "s", "svc")
		s.Endpoints = []watchers.Endpoint{{Addr: ip("10.1.0.1"), Ready: true}, {Addr: ip("10.1.0.2")}}
		change(s)
		return s
	}
	for _, row := range []struct {
		id       string
		change   func(*watchers.EndpointSlice)
		want     string // the addresses that remain
		ports    int
		problems []string
	}{
		{"IN-43 addresses", func(s *watchers.EndpointSlice) {
			for _, a := range ips("", "127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "fd00::1", "::ffff:10.1.0.3", "10.1.0.4") {
				s.Endpoints = append(s.Endpoints, watchers.Endpoint{Addr: a})
			}
		}, "10.1.0.1 10.1.0.2 10.1.0.3 10.1.0.4 ", 1, []string{
			"endpoints[2].addresses[0]: invalid IP is not an IP address; the endpoint is ignored", "endpoints[3].addresses[0]: 127.0.0.1" + special,
			"endpoints[4].addresses[0]: 0.0.0.0" + special, "endpoints[5].addresses[0]: 169.254.169.254" + special, "endpoints[6].addresses[0]: 224.0.0.1" + special,
			"endpoints[7].addresses[0]: fd00::1 is not an IPv4 address; the endpoint is ignored",
			"endpoints[8].addresses[0]: ::ffff:10.1.0.3 is an IPv4-mapped IPv6 address; treated as 10.1.0.3"}},
		{"IN-43 mapped in a slice of IPv6", func(s *watchers.EndpointSlice) {
			s.Family, s.Endpoints = 6, []watchers.Endpoint{{Addr: ip("::ffff:10.1.0.3")}, {Addr: ip("fe80::1%eth0")}, {Addr: ip("fd00::1")}}
		}, "fd00::1 ", 1, []string{"endpoints[0].addresses[0]: ::ffff:10.1.0.3 is an IPv4-mapped IPv6 address; the endpoint is ignored",
			"endpoints[1].addresses[0]: fe80::1%eth0 has a zone; the endpoint is ignored"}},
		{"IN-42 ports", func(s *watchers.EndpointSlice) {
			s.Ports = append(s.Ports, watchers.EndpointPort{Name: "x", Protocol: 200, Port: 1}, watchers.EndpointPort{Name: "y", Protocol: 6}, s.Ports[0])
		}, "10.1.0.1 10.1.0.2 ", 1, []string{"ports[1].protocol: 200 is not TCP (6), UDP (17) or SCTP (132); the port is ignored",
			"ports[2].port: 0 is out of range 1-65535; the port is ignored", `ports[3].name: "" is the name of an earlier TCP port; the port is ignored`}},
		{"IN-42 no ports", func(s *watchers.EndpointSlice) { s.Ports = nil }, "10.1.0.1 10.1.0.2 ", 0,
			[]string{"ports: is empty; the endpoints of the slice receive no traffic"}},
		{"IN-40 family", func(s *watchers.EndpointSlice) { s.Family = 5 }, "", 0, []string{"addressType: 5 is not IPv4 (4) or IPv6 (6); the slice is ignored"}},
		{"IN-40 no family", func(s *watchers.EndpointSlice) { s.Family = 0 }, "", 0, []string{"addressType: 0 is not IPv4 (4) or IPv6 (6); the slice is ignored"}},
		{"IN-02 no Service", func(s *watchers.EndpointSlice) { s.Service.Name = "" }, "", 0,
			[]string{"metadata.labels[kubernetes.io/service-name]: is empty; the slice is ignored"}},
		{"IN-02 Service of another namespace", func(s *watchers.EndpointSlice) { s.Service.Namespace = "other" }, "10.1.0.1 10.1.0.2 ", 1,
			[]string{`metadata.labels: "other" is not the namespace of the slice; treated as ns`}},
	} {
		t.Run(row.id, func(t *testing.T) {
			got := store(t, valid(row.change))
			require.Equal(t, row.problems, fields(t, "EndpointSlice ns/s", got.Problems))
			addresses := ""
			for _, e := range got.Endpoints {
				addresses += e.Addr.String() + " "
			}
			require.Equal(t, row.want, addresses)
			require.Len(t, got.Ports, row.ports)
		})
	}
	s := valid(func(*watchers.EndpointSlice) {})
	require.Same(t, s, store(t, s), "a valid object is not copied")
}

// TestRepeatedPorts: the first port of a name and protocol is used, whatever the number of ports.
func TestRepeatedPorts(t *testing.T) {
	for _, n := range []int{3, 16, 17, 20_000} {
		slice := &watchers.EndpointSlice{Namespace: "ns", Name: "s", Service: watchers.ServiceName{Namespace: "ns", Name: "web"}, Family: watchers.FamilyIPv4}
		for i := range n {
			slice.Ports = append(slice.Ports, watchers.EndpointPort{Name: fmt.Sprint(i), Protocol: localsink.ProtocolTCP, Port: 80})
		}
		require.Empty(t, store(t, slice).Problems, n)
		changed := *slice
		changed.Ports = slices.Clone(slice.Ports)
		changed.Ports[0].Port = 0 // invalid, so that the next one of its name is the first
		changed.Ports[1].Name = "0"
		changed.Ports[n-1].Name = "0"
		changed.Ports = append(changed.Ports, watchers.EndpointPort{Name: "0", Protocol: localsink.ProtocolUDP, Port: 80})
		got := store(t, &changed)
		require.Len(t, got.Ports, n-1, n)
		require.Len(t, got.Problems, 2, n)
		require.Contains(t, got.Problems[0].String(), "ports[0]")
		require.Contains(t, got.Problems[1].String(), fmt.Sprintf("ports[%d]", n-1))

		service := &watchers.Service{Name: slice.Service, ClusterIP: ip("10.96.0.1")}
		for _, p := range changed.Ports {
			service.Ports = append(service.Ports, watchers.ServicePort{Name: p.Name, Protocol: p.Protocol, Port: p.Port})
		}
		require.Len(t, store(t, service).Ports, n-1, n)
	}
}

func TestInvalidNodeAndServiceCIDRValues(t *testing.T) {
	n := store(t, &watchers.Node{Name: "n", IPs: ips("192.0.2.1", "", "0.0.0.0", "ff02::1", "fe80::1%1", "::ffff:192.0.2.2", "127.0.0.1"),
		PodCIDRs: []netip.Prefix{{}, prefix("10.1.2.3/24")}})
	require.Equal(t, ips("192.0.2.1", "192.0.2.2", "127.0.0.1"), n.IPs)
	require.Equal(t, []netip.Prefix{prefix("10.1.2.3/24")}, n.PodCIDRs)
	require.Equal(t, []string{
		"status.addresses[1].address: invalid IP is not an IP address; ignored", "status.addresses[2].address: 0.0.0.0 is an unspecified or multicast address; ignored",
		"status.addresses[3].address: ff02::1 is an unspecified or multicast address; ignored", "status.addresses[4].address: fe80::1%1 has a zone; ignored",
		"status.addresses[5].address: ::ffff:192.0.2.2 is an IPv4-mapped IPv6 address; treated as 192.0.2.2", "spec.podCIDRs[0]: invalid Prefix is not a network; ignored",
	}, fields(t, "Node n", n.Problems))
	require.Equal(t, []string{"metadata.name: is empty; the Node is ignored"}, fields(t, "Node ", store(t, &watchers.Node{}).Problems))

	require.Equal(t, []string{"metadata.name: is empty; the ServiceCIDR is not passed on"}, fields(t, "ServiceCIDR ", store(t, &watchers.ServiceCIDR{}).Problems))
	c := store(t, &watchers.ServiceCIDR{Name: "c", Networks: []netip.Prefix{{}, prefix("0.0.0.0/0"), prefix("10.96.0.0/16")}})
	require.Equal(t, []netip.Prefix{prefix("10.96.0.0/16")}, c.Networks)
	require.Equal(t, []string{"spec.cidrs[0]: invalid Prefix is not a network; ignored", "spec.cidrs[1]: 0.0.0.0/0 contains all addresses; ignored"},
		fields(t, "ServiceCIDR c", c.Problems))
}

func TestNilObjectsAreIgnored(t *testing.T) {
	s := watchers.NewStore()
	snapshot := s.Update(func(tx *watchers.Tx) {
		for _, object := range []watchers.Object{nil, (*watchers.Service)(nil), (*watchers.EndpointSlice)(nil), (*watchers.Node)(nil), (*watchers.ServiceCIDR)(nil)} {
			require.Zero(t, tx.Set(object))
		}
		tx.SetService(nil)
		tx.SetEndpointSlice(nil)
		tx.SetNode(nil)
		tx.SetServiceCIDR(nil)
	})
	require.Empty(t, describe(snapshot))
}
