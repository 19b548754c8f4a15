// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// Details is what the store must have beside the Services and EndpointSlices of a proxy.
const Details = kubeapi.DetailHeadless | kubeapi.DetailHostname | kubeapi.DetailExternalName

const (
	defaultDomain = "cluster.local"
	defaultTTL    = 5 * time.Second
	// defaultMaxUDP is the size that the DNS community agreed on to avoid fragments.
	defaultMaxUDP = 1232
	minUDP        = 512
)

// A Config configures a [Server]. The zero value is valid.
type Config struct {
	// Domain is the domain of the cluster; "" means cluster.local.
	Domain string
	// TTL is the time for which answers may be cached, also negative ones, in whole seconds; 0 means 5
	// seconds.
	TTL time.Duration
	// MaxUDP is the maximum size of an answer over UDP, in bytes, for clients that permit as many;
	// 0 means 1232.
	MaxUDP int
	// NameserverIPs are the addresses of ns.dns.DOMAIN, the name server of the zone.
	NameserverIPs []netip.Addr
	// PodRecords answers names of the form 10-244-1-7.NAMESPACE.pod.DOMAIN with the address in them. No
	// pod needs to have it.
	PodRecords bool
	// MaxConnections is the maximum number of TCP connections of a [Listener]; 0 means 1000. One more
	// closes one that has been open for the longest time.
	MaxConnections int
	// Logger receives what operators need to know; nil is silent.
	Logger *slog.Logger
}

// withDefaults returns cfg with defaults, or an error that names the invalid field.
func (cfg Config) withDefaults() (Config, error) {
	cfg.Domain = strings.ToLower(strings.TrimSuffix(cfg.Domain, "."))
	if cfg.Domain == "" {
		cfg.Domain = defaultDomain
	}
	if cfg.TTL == 0 {
		cfg.TTL = defaultTTL
	}
	if cfg.MaxUDP == 0 {
		cfg.MaxUDP = defaultMaxUDP
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = defaultMaxConnections
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.TTL < time.Second || cfg.TTL%time.Second != 0 || cfg.TTL/time.Second > math.MaxInt32:
		return cfg, fmt.Errorf("dns: TTL: %v is not a positive number of seconds", cfg.TTL)
	case cfg.MaxUDP < minUDP || cfg.MaxUDP > math.MaxUint16:
		return cfg, fmt.Errorf("dns: MaxUDP: %d is out of range %d-%d", cfg.MaxUDP, minUDP, math.MaxUint16)
	case cfg.MaxConnections < 0:
		return cfg, errors.New("dns: MaxConnections: must not be negative")
	}
	for i, ip := range cfg.NameserverIPs {
		if !ip.IsValid() || ip.Is4In6() {
			return cfg, fmt.Errorf("dns: NameserverIPs[%d]: %v is not an address", i, ip)
		}
	}
	return cfg, validDomain(cfg.Domain)
}

// maxDomain leaves room for the longest name of an endpoint's port below the domain.
const maxDomain = 100

func validDomain(domain string) error {
	invalid := len(domain) > maxDomain
	for label := range strings.SplitSeq(domain, ".") {
		invalid = invalid || label == "" || len(label) > maxLabel
	}
	if _, err := dnsmessage.NewName(domain + "."); err != nil || invalid {
		return fmt.Errorf("dns: Domain: %q is not a domain of at most %d bytes", domain, maxDomain)
	}
	return nil
}
