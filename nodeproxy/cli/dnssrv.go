// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/dnssrv"
)

// portDNS is the port of DNS servers that have none in the argument.
const portDNS = 53

func newDNSSRV(_ context.Context, env *Env, argument string) (watchers.Watcher, error) {
	cfg, err := dnssrvConfig(argument)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", command.ErrUsage, err)
	}
	cfg.Logger = env.Logger
	return dnssrv.New(cfg)
}

// dnssrvConfig returns the configuration of an argument, which is @FILE or
//
//	[tcp:][//SERVER[+SERVER]/]NAME[:TARGETPORT]=[ADDRESS[+ADDRESS]]:PORT[,NAME...]
func dnssrvConfig(argument string) (cfg dnssrv.Config, err error) {
	if path, isFile := strings.CutPrefix(argument, "@"); isFile {
		return dnssrvFile(path)
	}
	names, isTCP := strings.CutPrefix(argument, "tcp:")
	if isTCP {
		cfg.Transport = dnssrv.TransportTCP
	}
	if authority, hasServers := strings.CutPrefix(names, "//"); hasServers { // as in RFC 4501
		servers, rest, found := strings.Cut(authority, "/")
		if !found {
			return cfg, fmt.Errorf("%q: no / between servers and names", names)
		}
		if cfg.Servers, err = dnsServers(strings.Split(servers, "+")); err != nil {
			return cfg, err
		}
		names = rest
	}
	for name := range strings.SplitSeq(names, ",") {
		s, err := dnsService(name)
		if err != nil {
			return cfg, fmt.Errorf("%q: %w", name, err)
		}
		cfg.Services = append(cfg.Services, s)
	}
	return cfg, nil
}

// dnsServers parses addresses with or without ports.
func dnsServers(texts []string) (servers []netip.AddrPort, err error) {
	for _, text := range texts {
		server, err := netip.ParseAddrPort(text)
		if err != nil {
			a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
			if err != nil {
				return nil, fmt.Errorf("server %q is not an IP address, with or without a port", text)
			}
			server = netip.AddrPortFrom(a, portDNS)
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// dnsService parses NAME[:TARGETPORT]=[ADDRESS[+ADDRESS]]:PORT.
func dnsService(text string) (s dnssrv.Service, err error) {
	records, frontend, found := strings.Cut(text, "=")
	if !found {
		return s, errors.New("want NAME=ADDRESS:PORT, or NAME=:PORT for a headless Service")
	}
	p := dnssrv.Port{Records: records}
	if name, port, found := strings.Cut(records, ":"); found {
		p.Records = name
		if p.TargetPort, err = portNumber(port); err != nil {
			return s, err
		}
	}
	colon := strings.LastIndex(frontend, ":")
	if colon < 0 {
		return s, fmt.Errorf("%q has no port", frontend)
	}
	if p.Port, err = portNumber(frontend[colon+1:]); err != nil {
		return s, err
	}
	if addresses := frontend[:colon]; addresses != "" {
		for address := range strings.SplitSeq(addresses, "+") {
			a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"))
			if err != nil {
				return s, fmt.Errorf("%q is not an IP address", address)
			}
			s.Addresses = append(s.Addresses, a)
		}
	}
	s.Ports = []dnssrv.Port{p}
	return s, nil
}

func portNumber(text string) (uint16, error) {
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil || number == 0 {
		return 0, fmt.Errorf("port %q is out of range 1-65535", text)
	}
	return uint16(number), nil
}

// A dnsFile is the configuration file of the source dnssrv. docs/dnssrv.md describes it.
type dnsFile struct {
	Servers     []string `json:"servers"`
	Transport   string   `json:"transport"`
	MinTTL      duration `json:"minTTL"`
	MaxTTL      duration `json:"maxTTL"`
	Timeout     duration `json:"timeout"`
	SyncTimeout duration `json:"syncTimeout"`
	Services    []struct {
		Namespace string       `json:"namespace"`
		Name      string       `json:"name"`
		Addresses []netip.Addr `json:"addresses"`
		Affinity  duration     `json:"affinity"`
		Ports     []struct {
			Name       string `json:"name"`
			Protocol   string `json:"protocol"`
			Port       uint16 `json:"port"`
			Records    string `json:"records"`
			TargetPort uint16 `json:"targetPort"`
		} `json:"ports"`
	} `json:"services"`
}

// A duration is a text such as 5s.
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

// dnssrvFile returns the configuration in a YAML file.
func dnssrvFile(path string) (cfg dnssrv.Config, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return cfg, err
	}
	var f dnsFile
	if err := yaml.UnmarshalStrict(data, &f); err != nil {
		return cfg, fmt.Errorf("%s: %w", path, err)
	}
	cfg, err = f.config()
	if err != nil {
		return cfg, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

func (f *dnsFile) config() (cfg dnssrv.Config, err error) {
	cfg.MinTTL, cfg.MaxTTL = time.Duration(f.MinTTL), time.Duration(f.MaxTTL)
	cfg.Timeout, cfg.SyncTimeout = time.Duration(f.Timeout), time.Duration(f.SyncTimeout)
	switch f.Transport {
	case "", "udp":
	case "tcp":
		cfg.Transport = dnssrv.TransportTCP
	default:
		return cfg, fmt.Errorf("transport: %q is not udp or tcp", f.Transport)
	}
	if cfg.Servers, err = dnsServers(f.Servers); err != nil {
		return cfg, fmt.Errorf("servers: %w", err)
	}
	protocols := map[string]localsink.Protocol{"": 0, "TCP": localsink.ProtocolTCP, "UDP": localsink.ProtocolUDP, "SCTP": localsink.ProtocolSCTP}
	for i, s := range f.Services {
		out := dnssrv.Service{Namespace: s.Namespace, Name: s.Name, Addresses: s.Addresses, Affinity: time.Duration(s.Affinity)}
		for j, p := range s.Ports {
			protocol, known := protocols[p.Protocol]
			if !known {
				return cfg, fmt.Errorf("services[%d].ports[%d].protocol: %q is not TCP, UDP or SCTP", i, j, p.Protocol)
			}
			out.Ports = append(out.Ports, dnssrv.Port{
				Name: p.Name, Protocol: protocol, Port: cmp.Or(p.Port, p.TargetPort), Records: p.Records, TargetPort: p.TargetPort,
			})
		}
		cfg.Services = append(cfg.Services, out)
	}
	return cfg, nil
}
