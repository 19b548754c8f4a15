// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// DefaultPollInterval is the default of [Config.PollInterval].
const DefaultPollInterval = 30 * time.Second

// A Config configures a [Backend].
type Config struct {
	// HNS is the service that the backend programs. Required.
	HNS HNS
	// Network is the name of the network of pods that the CNI plugin created. Required.
	Network string
	// SourceVIP is the address that replaces that of clients where the answer must return
	// through this node. It is required in an overlay network, and applies to its family.
	SourceVIP netip.Addr
	// EnableDSR lets the endpoints of cluster IPs answer clients directly.
	EnableDSR bool
	// HealthCheckEndpoint is the name of the endpoint that receives the health checks of load
	// balancers at their own addresses; empty forwards none. HealthCheckPort is the port of
	// Services without a health check port.
	HealthCheckEndpoint string
	HealthCheckPort     uint16
	// IgnoreSourceRanges serves all clients of frontends with source ranges, as kube-proxy does
	// on Windows. Otherwise such frontends are not programmed. Both are reported.
	IgnoreSourceRanges bool
	// HostMAC returns the MAC address of the interface with an address of the node. It is
	// called in overlay networks. The default asks the system.
	HostMAC func(node netip.Addr) (string, error)
	// PollInterval is how often the backend looks for changes by other programs. The default
	// is DefaultPollInterval.
	PollInterval time.Duration
	// OnFailure is called after each call that failed to write a load balancer, on the
	// goroutine of Sync; nil ignores them.
	OnFailure func(Failure)
	// Logger receives log messages for operators; nil disables logging.
	Logger *slog.Logger
}

// A Failure is a call that failed to write a load balancer.
type Failure struct {
	Operation Operation
	IPv6      bool
	Err       error
}

// An Operation is what a call does with a load balancer.
type Operation string

// The operations.
const (
	OperationCreate Operation = "create"
	OperationModify Operation = "update"
	OperationDelete Operation = "delete"
)

func (cfg Config) withDefaults() (Config, error) {
	if cfg.PollInterval == 0 {
		cfg.PollInterval = DefaultPollInterval
	}
	if cfg.HostMAC == nil {
		cfg.HostMAC = hostMAC
	}
	if cfg.OnFailure == nil {
		cfg.OnFailure = func(Failure) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("hns: Config."+format, args...))
		}
	}
	check(cfg.HNS != nil, "HNS: required")
	check(cfg.Network != "", "Network: required")
	check(!cfg.SourceVIP.IsValid() || !cfg.SourceVIP.IsUnspecified(), "SourceVIP: %v is not an address of a node", cfg.SourceVIP)
	check(cfg.PollInterval > 0, "PollInterval: %v must be positive", cfg.PollInterval)
	return cfg, errors.Join(errs...)
}

// hostMAC returns the MAC address of the interface with an address.
func hostMAC(node netip.Addr) (string, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			return "", fmt.Errorf("list addresses of interface %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == node {
				return i.HardwareAddr.String(), nil
			}
		}
	}
	return "", fmt.Errorf("no interface has the address %v", node)
}
