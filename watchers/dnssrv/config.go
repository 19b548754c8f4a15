// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/internal/valid"
)

// Origin is that of the Services of this package; see [watchers.ServiceName].
const Origin = "DNS"

// Defaults of Config.
const (
	DefaultMinTTL      = 5 * time.Second
	DefaultMaxTTL      = 5 * time.Minute
	DefaultTimeout     = 2 * time.Second
	DefaultSyncTimeout = 10 * time.Second
	DefaultNamespace   = "default"
)

// A Transport is how queries are sent.
type Transport uint8

const (
	// TransportUDP sends queries over UDP, and again over TCP if the answer is truncated.
	TransportUDP Transport = iota
	// TransportTCP sends all queries over TCP. Consul needs it for Services with many
	// instances: over UDP it leaves out instances without setting the truncation flag.
	TransportTCP
)

// Config configures a [Watcher].
type Config struct {
	// Services are the Services that get endpoints. At least one is required.
	Services []Service
	// Servers are DNS servers, in the order in which they are asked until one answers. They
	// must resolve aliases (recursion), unless the names have none. nil means those of
	// /etc/resolv.conf.
	Servers []netip.AddrPort
	// Transport is how queries are sent; the default is TransportUDP.
	Transport Transport
	// MinTTL and MaxTTL bound the TTL of answers; 0 means 5 seconds and 5 minutes.
	MinTTL, MaxTTL time.Duration
	// Timeout is how long a server may take for an answer; 0 means 2 seconds.
	Timeout time.Duration
	// SyncTimeout is how long the store waits, until it is synced, for names that the
	// servers do not answer; 0 means 10 seconds.
	SyncTimeout time.Duration
	// Logger receives a warning when a name begins to fail, and an information when it is
	// answered again. nil disables logging.
	Logger *slog.Logger
}

// A Service is a Service whose endpoints are DNS records.
type Service struct {
	// Namespace is "default" if it is empty.
	Namespace string
	// Name is the DNS name of the first port if it is empty.
	Name string
	// Addresses are the cluster IPs, at most one of each address family. Without any, the
	// Service is headless.
	Addresses []netip.Addr
	// Affinity is the timeout of session affinity by client; 0 disables it.
	Affinity time.Duration
	// Ports has at least one element. Names are unique for each protocol.
	Ports []Port
}

// A Port is a port of a Service.
type Port struct {
	// Name may be empty.
	Name string
	// Protocol is that in the second label of Records, such as _udp, if it is 0, and else TCP.
	Protocol localsink.Protocol
	// Port is the port of the Service at its addresses.
	Port uint16
	// Records is the DNS name whose records are the endpoints, such as web.service.consul or
	// _web._tcp.example.com. It is absolute, with or without a dot at its end.
	Records string
	// TargetPort is the port of the endpoints if Records has A and AAAA records. If it is 0,
	// Records has SRV records, which have ports.
	TargetPort uint16
}

// withDefaults returns a valid configuration, or what is wrong with cfg.
func (cfg Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"MinTTL", cfg.MinTTL}, {"MaxTTL", cfg.MaxTTL}, {"Timeout", cfg.Timeout}, {"SyncTimeout", cfg.SyncTimeout}} {
		if d.value < 0 {
			return cfg, fmt.Errorf("%s: %v is negative", "Config."+d.name, d.value)
		}
	}
	cfg.MinTTL = cmp.Or(cfg.MinTTL, DefaultMinTTL)
	cfg.MaxTTL = cmp.Or(cfg.MaxTTL, max(cfg.MinTTL, DefaultMaxTTL))
	cfg.Timeout, cfg.SyncTimeout = cmp.Or(cfg.Timeout, DefaultTimeout), cmp.Or(cfg.SyncTimeout, DefaultSyncTimeout)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	if cfg.MaxTTL < cfg.MinTTL {
		return cfg, fmt.Errorf("Config.MaxTTL: %v is less than MinTTL %v", cfg.MaxTTL, cfg.MinTTL)
	}
	if cfg.Transport > TransportTCP {
		return cfg, fmt.Errorf("Config.Transport: %d is unknown", cfg.Transport)
	}
	for i, s := range cfg.Servers {
		if !s.IsValid() || s.Port() == 0 {
			return cfg, fmt.Errorf("Config.Servers[%d]: %v is not an address and a port", i, s)
		}
	}
	if len(cfg.Services) == 0 {
		return cfg, errors.New("Config.Services: required")
	}
	cfg.Services = slices.Clone(cfg.Services)
	seen := map[watchers.ServiceName]bool{}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if err := s.setDefaults(fmt.Sprintf("Config.Services[%d]", i)); err != nil {
			return cfg, err
		}
		if seen[s.name()] {
			return cfg, fmt.Errorf("Config.Services[%d].Name: %s/%s is an earlier Service", i, s.Namespace, s.Name)
		}
		seen[s.name()] = true
	}
	return cfg, nil
}

func (s *Service) name() watchers.ServiceName {
	return watchers.ServiceName{Namespace: s.Namespace, Name: s.Name, Origin: Origin}
}

// setDefaults sets fields that are not set, and returns what is wrong with s, whose path begins errors.
func (s *Service) setDefaults(path string) error {
	if len(s.Ports) == 0 {
		return fmt.Errorf("%s.Ports: required", path)
	}
	s.Ports = slices.Clone(s.Ports)
	for i := range s.Ports {
		if err := s.Ports[i].setDefaults(fmt.Sprintf("%s.Ports[%d]", path, i), s.Ports[:i]); err != nil {
			return err
		}
	}
	s.Namespace, s.Name = cmp.Or(s.Namespace, DefaultNamespace), cmp.Or(s.Name, strings.TrimSuffix(s.Ports[0].Records, "."))
	if failure := valid.Name(s.Namespace); failure != "" {
		return fmt.Errorf("%s.Namespace: %q %s", path, s.Namespace, failure)
	}
	if failure := valid.Name(s.Name); failure != "" {
		return fmt.Errorf("%s.Name: %q %s", path, s.Name, failure)
	}
	if failure := valid.Affinity(s.Affinity); failure != "" {
		return fmt.Errorf("%s.Affinity: %v %s", path, s.Affinity, failure)
	}
	for i, a := range s.Addresses {
		if failure := valid.ServiceAddr(a); failure != "" {
			return fmt.Errorf("%s.Addresses[%d]: %v %s", path, i, a, failure)
		}
		if slices.ContainsFunc(s.Addresses[:i], func(o netip.Addr) bool { return o.Is4() == a.Is4() }) {
			return fmt.Errorf("%s.Addresses[%d]: %v is the second IPv%d address", path, i, a, watchers.FamilyOf(a))
		}
	}
	return nil
}

// setDefaults sets fields that are not set, and returns what is wrong with p, whose path begins errors.
func (p *Port) setDefaults(path string, earlier []Port) error {
	name, err := absolute(p.Records)
	if err != nil {
		return fmt.Errorf("%s.Records: %q: %w", path, p.Records, err)
	}
	p.Records = name
	p.Protocol = cmp.Or(p.Protocol, protocolOf(name), localsink.ProtocolTCP)
	if failure := valid.Protocol(p.Protocol); failure != "" {
		return fmt.Errorf("%s.Protocol: %d %s", path, p.Protocol, failure)
	}
	if failure := valid.PortName(p.Name); failure != "" {
		return fmt.Errorf("%s.Name: %q %s", path, p.Name, failure)
	}
	if p.Port == 0 {
		return fmt.Errorf("%s.Port: 0 is out of range 1-65535", path)
	}
	if slices.ContainsFunc(earlier, func(o Port) bool { return o.Name == p.Name && o.Protocol == p.Protocol }) {
		return fmt.Errorf("%s.Name: %q is the name of an earlier %v port", path, p.Name, p.Protocol)
	}
	return nil
}

// protocolOf returns the protocol in the second label of the name of an SRV record, or 0.
func protocolOf(name string) localsink.Protocol {
	labels := strings.Split(strings.ToLower(name), ".")
	if len(labels) > 1 && strings.HasPrefix(labels[0], "_") {
		switch labels[1] {
		case "_tcp":
			return localsink.ProtocolTCP
		case "_udp":
			return localsink.ProtocolUDP
		case "_sctp":
			return localsink.ProtocolSCTP
		}
	}
	return 0
}

// absolute returns a DNS name in lower case with a dot at its end.
func absolute(name string) (string, error) {
	const maxLabel = 63
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return "", errors.New("is empty or has an empty label")
		case len(label) > maxLabel:
			return "", fmt.Errorf("label %.10q... has %d bytes, at most %d", label, len(label), maxLabel)
		case strings.ContainsFunc(label, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`\/:,=@"`, r) }):
			return "", fmt.Errorf("label %q has characters that are not in names of hosts or Services", label)
		}
	}
	if _, err := dnsmessage.NewName(name + "."); err != nil {
		return "", errors.New("has more than 254 bytes")
	}
	return name + ".", nil
}
