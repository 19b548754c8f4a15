// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers/dnssrv"
)

func addrs(texts ...string) (out []netip.Addr) {
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

func TestDNSArguments(t *testing.T) {
	web := []dnssrv.Service{{Addresses: addrs("10.96.0.10"), Ports: []dnssrv.Port{{Port: 80, Records: "web.service.consul"}}}}
	for argument, want := range map[string]dnssrv.Config{
		"web.service.consul=10.96.0.10:80":                  {Services: web},
		"//127.0.0.1:8600/web.service.consul=10.96.0.10:80": {Services: web, Servers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8600")}},
		"tcp://127.0.0.1:8600+[::1]/web.service.consul=10.96.0.10:80": {
			Services: web, Transport: dnssrv.TransportTCP,
			Servers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8600"), netip.MustParseAddrPort("[::1]:53")},
		},
		"db.example.com:5432=10.96.0.11+[fd00::11]:1,_x._udp.a=:53": {Services: []dnssrv.Service{
			{Addresses: addrs("10.96.0.11", "fd00::11"), Ports: []dnssrv.Port{{Port: 1, Records: "db.example.com", TargetPort: 5432}}},
			{Ports: []dnssrv.Port{{Port: 53, Records: "_x._udp.a"}}},
		}},
	} {
		cfg, err := dnssrvConfig(argument)
		require.NoError(t, err, argument)
		require.Equal(t, want, cfg, argument)
	}
	for argument, want := range map[string]string{
		"web":                   `"web": want NAME=ADDRESS:PORT, or NAME=:PORT`,
		"web=10.0.0.1":          `"10.0.0.1" has no port`,
		"web=10.0.0.1:0":        `port "0" is out of range 1-65535`,
		"web=10.0.0.300:80":     `"10.0.0.300" is not an IP address`,
		"web:http=:80":          `port "http" is out of range 1-65535`,
		"//ns1.example/web=:80": `server "ns1.example" is not an IP address`,
		"//127.0.0.1":           `no / between servers and names`,
		"a=:80,":                `"": want NAME`,
		"@/does/not/exist":      "open /does/not/exist",
	} {
		_, err := dnssrvConfig(argument)
		require.ErrorContains(t, err, want, argument)
	}
}

func TestDNSFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dns.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	cfg, err := dnssrvConfig("@testdata/dnssrv.yaml")
	require.NoError(t, err)
	require.Equal(t, dnssrv.Config{
		Servers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8600")}, Transport: dnssrv.TransportTCP,
		MinTTL: time.Second, MaxTTL: time.Minute, Timeout: 3 * time.Second, SyncTimeout: 20 * time.Second,
		Services: []dnssrv.Service{{
			Namespace: "prod", Name: "web", Addresses: addrs("10.96.0.10"), Affinity: 3 * time.Hour,
			Ports: []dnssrv.Port{
				{Name: "dns", Protocol: localsink.ProtocolUDP, Port: 53, Records: "web.service.consul"},
				{Port: 9090, Records: "web.example.com", TargetPort: 9090},
			},
		}},
	}, cfg)
	for text, want := range map[string]string{
		"serverz: []":     `unknown field "serverz"`,
		"transport: quic": `transport: "quic" is not udp or tcp`,
		"servers: [a]":    `servers: server "a" is not an IP address`,
		"minTTL: never":   `invalid duration "never"`,
		"services: [{ports: [{protocol: ICMP}]}]": `services[0].ports[0].protocol: "ICMP" is not TCP, UDP or SCTP`,
	} {
		write(text)
		_, err := dnssrvConfig("@" + path)
		require.ErrorContains(t, err, path+": ")
		require.ErrorContains(t, err, want)
	}
}

// Every argument is an error or a configuration with at least one Service.
func FuzzDNSArgument(f *testing.F) {
	f.Add("tcp://127.0.0.1:8600+[::1]/web.service.consul:1=10.96.0.10+[fd00::1]:80,x=:1")
	f.Fuzz(func(t *testing.T, argument string) {
		if len(argument) > 0 && argument[0] == '@' {
			return
		}
		cfg, err := dnssrvConfig(argument)
		if err == nil {
			require.NotEmpty(t, cfg.Services)
		}
	})
}
