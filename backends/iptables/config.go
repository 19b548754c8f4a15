// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"time"
)

// Defaults of [Config].
const (
	DefaultMasqueradeMark = 0x4000
	DefaultLockTimeout    = 10 * time.Second
	DefaultPollInterval   = time.Second
)

// A Variant is one of the two implementations of the iptables commands. They keep separate rules.
type Variant string

// The variants. VariantAuto is the one that holds rules of Kubernetes, or else more rules, or
// else the one behind the command "iptables".
const (
	VariantAuto   Variant = ""
	VariantLegacy Variant = "legacy" // x_tables; each write replaces a whole table
	VariantNFT    Variant = "nft"    // nf_tables
)

// A Config configures a [Backend]. The zero value is valid.
type Config struct {
	// Variant selects the implementation of the iptables commands; the default detects it.
	Variant Variant
	// MasqueradeMark is the bit of packet marks that the backend uses between its decision
	// to masquerade and the masquerading. Exactly one bit must be set. The default is
	// DefaultMasqueradeMark.
	MasqueradeMark uint32
	// LocalhostNodePorts makes TCP node ports answer on the IPv4 address in
	// localsink.Node.LoopbackNodePorts. The backend sets the sysctl
	// net.ipv4.conf.all.route_localnet for it, unless it is set, and a rule that protects loopback
	// addresses from other hosts. If it cannot, it logs an error and programs all else. Package localhost serves node ports on loopback addresses without
	// either.
	LocalhostNodePorts bool
	// KeepInvalidPackets leaves packets that connection tracking considers invalid alone. By
	// default they are not forwarded, because a client would end its connection on receipt
	// of one. Set it if net.netfilter.nf_conntrack_tcp_be_liberal is set.
	KeepInvalidPackets bool
	// LockTimeout is the maximum time to wait for another program that holds the lock of
	// iptables. The default is DefaultLockTimeout.
	LockTimeout time.Duration
	// PollInterval is the interval of checks for changes by other programs. The default is
	// DefaultPollInterval.
	PollInterval time.Duration
	// Logger receives log messages for operators; nil disables logging.
	Logger *slog.Logger
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.MasqueradeMark == 0 {
		cfg.MasqueradeMark = DefaultMasqueradeMark
	}
	if cfg.LockTimeout == 0 {
		cfg.LockTimeout = DefaultLockTimeout
	}
	if cfg.PollInterval == 0 {
		cfg.PollInterval = DefaultPollInterval
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if cfg.Variant != VariantAuto && cfg.Variant != VariantLegacy && cfg.Variant != VariantNFT {
		errs = append(errs, fmt.Errorf("iptables: Config.Variant: %q must be empty, %q or %q", cfg.Variant, VariantLegacy, VariantNFT))
	}
	if bits.OnesCount32(cfg.MasqueradeMark) != 1 {
		errs = append(errs, fmt.Errorf("iptables: Config.MasqueradeMark: %#x must be exactly one bit", cfg.MasqueradeMark))
	}
	if cfg.LockTimeout < time.Second {
		errs = append(errs, fmt.Errorf("iptables: Config.LockTimeout: %v must be at least 1s", cfg.LockTimeout))
	}
	if cfg.PollInterval < 0 {
		errs = append(errs, fmt.Errorf("iptables: Config.PollInterval: %v must be positive", cfg.PollInterval))
	}
	return cfg, errors.Join(errs...)
}
