// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"sigs.k8s.io/kpng/localsink"
)

func TestConfigIsChecked(t *testing.T) {
	for want, change := range map[string]func(cfg *Config){
		"Services: required":                                      func(cfg *Config) { cfg.Services = nil },
		"MinTTL: -1ns is negative":                                func(cfg *Config) { cfg.MinTTL = -1 },
		"Timeout: -1ns is negative":                               func(cfg *Config) { cfg.Timeout = -1 },
		"MaxTTL: 1s is less than MinTTL 5s":                       func(cfg *Config) { cfg.MaxTTL = time.Second },
		"Transport: 2 is unknown":                                 func(cfg *Config) { cfg.Transport = 2 },
		"Servers[0]: 192.0.2.1:0 is not":                          func(cfg *Config) { cfg.Servers = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:0")} },
		"Services[1].Name: default/web.example.com is an earlier": func(cfg *Config) { cfg.Services = append(cfg.Services, cfg.Services[0]) },
		`Services[0].Namespace: "a/b"`:                            func(cfg *Config) { cfg.Services[0].Namespace = "a/b" },
		`Services[0].Name: "a/b"`:                                 func(cfg *Config) { cfg.Services[0].Name = "a/b" },
		"Services[0].Affinity: 48h0m0s is out of range":           func(cfg *Config) { cfg.Services[0].Affinity = 48 * time.Hour },
		"Services[0].Addresses[0]: 127.0.0.1":                     func(cfg *Config) { cfg.Services[0].Addresses[0] = netip.MustParseAddr("127.0.0.1") },
		"Services[0].Addresses[1]: 10.96.0.10 is the second IPv4": func(cfg *Config) {
			cfg.Services[0].Addresses = append(cfg.Services[0].Addresses, cfg.Services[0].Addresses[0])
		},
		"Services[0].Ports: required":                                 func(cfg *Config) { cfg.Services[0].Ports = nil },
		"Services[0].Ports[0].Port: 0 is out of range":                func(cfg *Config) { cfg.Services[0].Ports[0].Port = 0 },
		`Services[0].Ports[0].Name: "a/b"`:                            func(cfg *Config) { cfg.Services[0].Ports[0].Name = "a/b" },
		"Services[0].Ports[0].Protocol: 1 is not":                     func(cfg *Config) { cfg.Services[0].Ports[0].Protocol = 1 },
		`Services[0].Ports[1].Name: "" is the name of an earlier TCP`: func(cfg *Config) { cfg.Services[0].Ports = append(cfg.Services[0].Ports, cfg.Services[0].Ports[0]) },
		`Services[0].Ports[0].Records: "": is empty`:                  func(cfg *Config) { cfg.Services[0].Ports[0].Records = "" },
		`Services[0].Ports[0].Records: "a..b": is empty or has an em`: func(cfg *Config) { cfg.Services[0].Ports[0].Records = "a..b" },
		`Services[0].Ports[0].Records: "a b": label "a b" has`:        func(cfg *Config) { cfg.Services[0].Ports[0].Records = "a b" },
		`label "aaaaaaaaaa"... has 64 bytes, at most 63`:              func(cfg *Config) { cfg.Services[0].Ports[0].Records = strings.Repeat("a", 64) },
		"has more than 254 bytes":                                     func(cfg *Config) { cfg.Services[0].Ports[0].Records = strings.Repeat("a.", 150) + "b" },
	} {
		t.Run(want, func(t *testing.T) {
			cfg := webConfig(t)
			change(&cfg)
			_, err := New(cfg)
			require.ErrorContains(t, err, "watchers/dnssrv: Config.")
			require.ErrorContains(t, err, want)
		})
	}
}

func TestProtocolIsThatOfTheName(t *testing.T) {
	for name, want := range map[string]localsink.Protocol{
		"_dns._UDP.example.com": localsink.ProtocolUDP, "_web._tcp.service.consul": localsink.ProtocolTCP,
		"_x._sctp.a": localsink.ProtocolSCTP, "web.service.consul": localsink.ProtocolTCP, "web._udp.a": localsink.ProtocolTCP,
	} {
		p := Port{Port: 1, Records: name}
		require.NoError(t, p.setDefaults("", nil))
		require.Equal(t, want, p.Protocol, name)
	}
	p := Port{Port: 1, Records: "_web._tcp.a", Protocol: localsink.ProtocolUDP}
	require.NoError(t, p.setDefaults("", nil))
	require.Equal(t, localsink.ProtocolUDP, p.Protocol)
}

func TestServersOfTheSystem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	_, err := systemServers(path)
	require.ErrorContains(t, err, "no server is configured: open "+path)
	require.NoError(t, os.WriteFile(path, []byte("search example.com\n# nameserver 192.0.2.9\nnameserver not-an-address\n"), 0o600))
	_, err = systemServers(path)
	require.ErrorContains(t, err, "has none")
	require.NoError(t, os.WriteFile(path, []byte("nameserver 192.0.2.1\nnameserver\tfe80::1%eth0 # router\noptions edns0"), 0o600))
	servers, err := systemServers(path)
	require.NoError(t, err)
	require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[fe80::1%eth0]:53")}, servers)
}

// No message makes the parser panic, and what it accepts has valid values.
func FuzzParse(f *testing.F) {
	q := question{id: 7, name: dnsmessage.MustNewName("web.example.com."), recordType: dnsmessage.TypeSRV, extended: true}
	packed, err := q.pack()
	require.NoError(f, err)
	answer := append([]byte{}, packed[2:]...)
	answer[2] |= 0x80
	f.Add(answer)
	f.Fuzz(func(t *testing.T, msg []byte) {
		r, err := parse(msg, q)
		if err != nil {
			return
		}
		for _, a := range append(r.answers, r.glue...) {
			require.True(t, a.ttl >= 0 && a.ttl <= time.Duration(1<<31)*time.Second)
			switch a.recordType {
			case dnsmessage.TypeA, dnsmessage.TypeAAAA:
				require.Equal(t, a.recordType == dnsmessage.TypeA, a.addr.Is4())
			case dnsmessage.TypeCNAME:
				require.NotEmpty(t, a.alias)
			}
		}
		r.follow("web.example.com.", dnsmessage.TypeSRV)
	})
}

// TestNamesOfSlicesAreValid: the longest name of a Service leaves room for the rest of the name of a slice.
func TestNamesOfSlicesAreValid(t *testing.T) {
	prefixes := map[string]bool{}
	for _, name := range []string{"a", strings.Repeat("a", 200), strings.Repeat("a", 201), strings.Repeat("a", 253), strings.Repeat("a", 252) + "b"} {
		s := Service{Namespace: "ns", Name: name, Ports: make([]Port, 100)}
		slices := s.endpointSlices(99, []endpoint{{addr: netip.MustParseAddrPort("[2001:db8::1]:65535")}})
		require.True(t, localsink.ValidName(slices[0].Name), "%d bytes: %s", len(name), slices[0].Name)
		require.True(t, strings.HasPrefix(slices[0].Name, s.slicePrefix(99)))
		prefixes[s.slicePrefix(99)] = true
	}
	require.Len(t, prefixes, 5)
}
