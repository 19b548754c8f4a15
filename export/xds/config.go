// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"log/slog"
	"strings"
)

// A Config configures a [Sink]. Its zero value is valid.
type Config struct {
	// ClusterDomain is the domain in the names of resources; empty means cluster.local.
	ClusterDomain string
	// PreferLocal makes clients use the endpoints of this node only, as long as they can connect to one
	// of them. Otherwise the endpoints of a pool are equal, as they are for a node proxy.
	PreferLocal bool
	// Logger receives what operators need to know; nil is silent.
	Logger *slog.Logger
}

const (
	defaultDomain = "cluster.local"
	maxDomain     = 253
)

// complete checks cfg and sets the defaults.
func (cfg *Config) complete() error {
	if cfg.ClusterDomain == "" {
		cfg.ClusterDomain = defaultDomain
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if d := cfg.ClusterDomain; len(d) > maxDomain || d == importDomain || strings.ContainsFunc(d, notOfDomain) || strings.Trim(d, ".") != d {
		return fmt.Errorf("xds: ClusterDomain %q: must be a domain other than %s, without a dot at the end", d, importDomain)
	}
	return nil
}

func notOfDomain(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
}
