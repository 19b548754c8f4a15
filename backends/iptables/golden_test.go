// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// checkGolden compares text with a file in testdata. UPDATE_GOLDEN=1 writes the file.
func checkGolden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text, "UPDATE_GOLDEN=1 writes %s", path)
}

func goldenNode() *localsink.Node {
	return &localsink.Node{
		LocalPods:         localsink.PodSources{Networks: prefixes("10.244.1.0/24", "fd00:244:1::/64"), InterfacePrefix: "veth"},
		NodePortAddresses: prefixes("0.0.0.0/0", "fd00:1::/64"),
		LoopbackNodePorts: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		ServiceNetworks:   prefixes("10.96.0.0/16", "fd00:96::/112"),
		NoMasquerade:      prefixes("192.0.2.0/24"),
	}
}

func prefixes(all ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, p := range all {
		parsed = append(parsed, netip.MustParsePrefix(p))
	}
	return parsed
}

// endpoints returns endpoints with weight 1; the first is local.
func endpoints(addrs ...string) localsink.Pool {
	var pool localsink.Pool
	for i, a := range addrs {
		pool.Endpoints = append(pool.Endpoints, localsink.Endpoint{Addr: netip.MustParseAddrPort(a), Local: i == 0, Weight: 1})
	}
	return pool
}

func frontendOf(k localsink.FrontendKind, addr string, routes ...localsink.Route) localsink.Frontend {
	return localsink.Frontend{Kind: k, Addr: netip.MustParseAddrPort(addr), Routes: routes}
}

// service returns a Service with TCP ports; those without a name are called "http".
func service(name string, ports ...localsink.Port) *localsink.Service {
	s := &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: name}, Ports: ports}
	for i := range s.Ports {
		if s.Ports[i].Protocol == 0 {
			s.Ports[i].Protocol = localsink.ProtocolTCP
		}
		if s.Ports[i].Name == "" {
			s.Ports[i].Name = "http"
		}
	}
	return s
}

// web returns a Service with a cluster IP and these endpoints.
func web(addrs ...string) *localsink.Service {
	return service("web", localsink.Port{
		Frontends: []localsink.Frontend{frontendOf(localsink.KindClusterIP, "10.96.0.10:80", localsink.Route{})},
		Pools:     []localsink.Pool{endpoints(addrs...)},
	})
}

func restricted(fe localsink.Frontend, networks ...string) localsink.Frontend {
	fe.SourceRanges = prefixes(networks...)
	return fe
}

// goldenServices returns Services with each kind of frontend, route and selection.
func goldenServices() []*localsink.Service {
	pods := localsink.Route{From: localsink.FromLocalPods}
	two := []localsink.Pool{endpoints("10.244.1.4:8080", "10.244.2.7:8080"), endpoints("10.244.1.4:8080")}
	local := []localsink.Route{pods, {From: localsink.FromThisNode, Masquerade: true}, {Pool: 1, EmptyVerdict: localsink.VerdictDrop}}
	all := []*localsink.Service{
		web("10.244.1.4:8080", "10.244.2.7:8080", "10.244.2.8:8080"),
		service("masqueraded", localsink.Port{Pools: two, Frontends: []localsink.Frontend{
			frontendOf(localsink.KindClusterIP, "10.96.0.11:80", pods, localsink.Route{Masquerade: true}),
			frontendOf(localsink.KindNodePort, "0.0.0.0:30011", localsink.Route{Masquerade: true}),
			frontendOf(localsink.KindExternalIP, "198.51.100.11:80", localsink.Route{Masquerade: true}),
		}}),
		service("local", localsink.Port{Pools: two, Frontends: []localsink.Frontend{
			frontendOf(localsink.KindClusterIP, "10.96.0.12:80", localsink.Route{}),
			frontendOf(localsink.KindNodePort, "0.0.0.0:30012", local...),
			restricted(frontendOf(localsink.KindLoadBalancer, "203.0.113.12:80", local...), "203.0.113.0/24", "10.0.0.0/8"),
		}}),
		service("local-without-endpoint", localsink.Port{Pools: []localsink.Pool{two[0], {}}, Frontends: []localsink.Frontend{
			restricted(frontendOf(localsink.KindLoadBalancer, "203.0.113.13:80", local...), "203.0.113.0/24"),
		}}),
		service("empty", localsink.Port{Pools: []localsink.Pool{{}}, Frontends: []localsink.Frontend{
			frontendOf(localsink.KindClusterIP, "10.96.0.14:80", localsink.Route{}),
			frontendOf(localsink.KindNodePort, "0.0.0.0:30014", localsink.Route{EmptyVerdict: localsink.VerdictDrop}),
			frontendOf(localsink.KindExternalIP, "198.51.100.14:80", localsink.Route{EmptyVerdict: localsink.VerdictPass}),
		}}),
		service("affinity", localsink.Port{Pools: two[:1], Affinity: 3 * time.Hour, Protocol: localsink.ProtocolUDP, RefusedPerMille: 200,
			Frontends: []localsink.Frontend{frontendOf(localsink.KindClusterIP, "10.96.0.15:53", localsink.Route{})}}),
		service("weights", localsink.Port{Frontends: []localsink.Frontend{frontendOf(localsink.KindClusterIP, "10.96.0.16:80", localsink.Route{})},
			Pools: []localsink.Pool{endpoints("10.244.1.4:8080", "10.244.2.7:8080")}, RefusedPerMille: 1000, Protocol: localsink.ProtocolSCTP}),
		service("six", localsink.Port{Pools: []localsink.Pool{endpoints("[fd00:244:1::4]:8080", "[fd00:244:2::7]:8080")}, Frontends: []localsink.Frontend{
			frontendOf(localsink.KindClusterIP, "[fd00:96::10]:80", pods, localsink.Route{Masquerade: true}),
			frontendOf(localsink.KindNodePort, "[::]:30017", localsink.Route{Masquerade: true}),
		}}),
	}
	all[6].Ports[0].Pools[0].Endpoints[1].Weight = 3
	all[2].HealthCheck = &localsink.HealthCheck{Port: 32000}
	return all
}

func goldenRenderer(f *family) (*renderer, *static) {
	cfg, _ := Config{LocalhostNodePorts: true}.withDefaults()
	return &renderer{family: f, matches: newNodeMatches(f, goldenNode(), &cfg)}, newStatic(f, goldenNode(), &cfg)
}

// TestGoldenStatic checks what exists without Services.
func TestGoldenStatic(t *testing.T) {
	for file, f := range map[string]*family{"static-ip.txt": ipv4(), "static-ip6.txt": ipv6()} {
		_, s := goldenRenderer(f)
		var in restoreInput
		newLoad(s).write(&in, nothingSaved())
		checkGolden(t, file, in.String())
	}
}

func nothingSaved() map[string]*savedTable {
	return map[string]*savedTable{tableMangle: {}, tableFilter: {}, tableNAT: {}}
}

// TestGoldenServices checks the rules of single Services.
func TestGoldenServices(t *testing.T) {
	for file, f := range map[string]*family{"services-ip.txt": ipv4(), "services-ip6.txt": ipv6()} {
		r, s := goldenRenderer(f)
		text := ""
		for _, svc := range goldenServices() {
			var c change
			rendered := r.render(svc)
			require.Empty(t, rendered.problems)
			c.add(&rendering{}, rendered)
			hairpins{}.replace(nil, rendered.hairpins, &c)
			var in restoreInput
			c.write(&in, s)
			text += "# " + svc.Name.String() + "\n" + in.String()
		}
		checkGolden(t, file, text)
	}
}

// TestGoldenChanges checks what updates of one Service write.
func TestGoldenChanges(t *testing.T) {
	three := []string{"10.244.1.4:8080", "10.244.2.7:8080", "10.244.2.8:8080"}
	removed := web(three...)
	removed.Ports = nil
	text := ""
	r, s := goldenRenderer(ipv4())
	for _, step := range []struct {
		title        string
		old, desired *localsink.Service
	}{
		{"one endpoint replaced", web(three...), web(three[0], three[1], "10.244.2.9:8080")},
		{"the local endpoint removed", web(three...), web(three[1:]...)},
		{"all endpoints removed", web(three...), web()},
		{"the first endpoint added", web(), web(three[:1]...)},
		{"nothing changed", web(three...), web(three...)},
		{"the Service removed", web(three...), removed},
	} {
		old, desired := r.render(step.old), r.render(step.desired)
		h := hairpins{}
		h.add(old.hairpins)
		var c change
		c.add(old, desired)
		h.replace(old.hairpins, desired.hairpins, &c)
		var in restoreInput
		c.write(&in, s)
		text += "# " + step.title + "\n" + in.String()
	}
	checkGolden(t, "changes-ip.txt", text)
}
