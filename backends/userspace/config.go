// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// defaultUDPIdleTimeout is that of established UDP flows in the connection tracking of Linux.
const defaultUDPIdleTimeout = 2 * time.Minute

// A Config configures a Backend. The zero value serves all frontends at their own addresses.
type Config struct {
	// Map returns the local addresses at which a frontend is served; nil means [Identity].
	Map Map
	// Dial connects to an endpoint over "tcp" or "udp"; nil uses a [net.Dialer]. The backend
	// calls it from its own goroutines, several at a time: if Sync runs in another network
	// namespace than the process, Dial must enter that namespace. Only a *net.TCPConn is
	// relayed with splice(2).
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Listen and ListenPacket open the sockets of TCP and UDP; nil means those of
	// [net.ListenConfig]. Sync calls them.
	Listen       func(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)
	// InterfaceAddrs lists the addresses of the node; nil means [net.InterfaceAddrs].
	InterfaceAddrs func() ([]net.Addr, error)
	// MaxConnections is the maximum number of connections and UDP sessions at a time,
	// MaxConnectionsPerService that of one Service; 0 means no limit. Each takes two file
	// descriptors, and four more while bytes move through pipes.
	MaxConnections, MaxConnectionsPerService int
	// ResetAtLimit resets connections above a limit. Otherwise they wait, without losses, in
	// the backlog of the kernel until others end. UDP clients above a limit get no answer.
	ResetAtLimit bool
	// UDPIdleTimeout is after which time without packets a UDP session ends; 0 means 2 minutes.
	UDPIdleTimeout time.Duration
	// Grace is how long Close waits for TCP connections to end before it resets them.
	Grace time.Duration
	// Logger receives addresses that cannot be opened and connections that fail; nil discards
	// them.
	Logger *slog.Logger
}

// withDefaults returns cfg with values for all unset fields.
func (cfg Config) withDefaults() Config {
	if cfg.Map == nil {
		cfg.Map = Identity
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.Listen == nil {
		cfg.Listen = new(net.ListenConfig).Listen
	}
	if cfg.ListenPacket == nil {
		cfg.ListenPacket = new(net.ListenConfig).ListenPacket
	}
	if cfg.InterfaceAddrs == nil {
		cfg.InterfaceAddrs = net.InterfaceAddrs
	}
	if cfg.UDPIdleTimeout == 0 {
		cfg.UDPIdleTimeout = defaultUDPIdleTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg
}

func (cfg Config) validate() error {
	for _, limit := range []struct {
		field string
		value int64
	}{
		{"MaxConnections", int64(cfg.MaxConnections)}, {"MaxConnectionsPerService", int64(cfg.MaxConnectionsPerService)},
		{"UDPIdleTimeout", int64(cfg.UDPIdleTimeout)}, {"Grace", int64(cfg.Grace)},
	} {
		if limit.value < 0 {
			return fmt.Errorf("userspace: %s: %d is negative", limit.field, limit.value)
		}
	}
	return nil
}
