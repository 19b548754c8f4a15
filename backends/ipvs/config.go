// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net/netip"
	"slices"
	"time"
)

// Defaults of [Config].
const (
	DefaultDevice         = "kube-ipvs0"
	DefaultScheduler      = "rr"
	DefaultMasqueradeMark = 0x4000
	DefaultServiceMarks   = 0xffff0000
)

// A Config configures a [Backend]. The zero value is valid.
type Config struct {
	// Device is the name of the dummy interface that has the addresses of Services. The
	// default is DefaultDevice, that of kube-proxy.
	Device string
	// Scheduler is the IPVS scheduler of ports with random selection: rr, wrr, lc, wlc, sh, mh,
	// dh, sed or nq. Pools with different weights use wrr in place of rr, and wlc in place of lc.
	// The default is DefaultScheduler.
	Scheduler string
	// MasqueradeMark is the bit of packet marks that the backend uses between its decision to
	// masquerade and the masquerading. Exactly one bit must be set. The default is
	// DefaultMasqueradeMark.
	MasqueradeMark uint32
	// ServiceMarks are bits of packet marks, at least eight contiguous ones, that select the
	// virtual server of clients that a frontend treats differently; see the package comment.
	// The first packet of such a connection has them until it leaves. The default is
	// DefaultServiceMarks.
	ServiceMarks uint32
	// StrictARP makes the node answer ARP requests only for addresses of the receiving
	// interface (arp_ignore 1, arp_announce 2), as load balancers in the same network need.
	StrictARP bool
	// ExcludeCIDRs lists the networks of virtual servers of other programs. The backend removes
	// all other virtual servers that it did not create.
	ExcludeCIDRs []netip.Prefix
	// TCPTimeout, TCPFinTimeout and UDPTimeout are the idle timeouts of connections: established
	// ones, those that received a FIN, and those over UDP. They have a resolution of one second;
	// zero keeps the kernel's present value.
	TCPTimeout, TCPFinTimeout, UDPTimeout time.Duration
	// IPTables selects the iptables commands: "legacy" or "nft" (iptables-legacy-restore,
	// iptables-nft-restore, ...), or "" for the default of the system and then "legacy".
	IPTables string
	// Logger receives log messages for operators; nil disables logging.
	Logger *slog.Logger

	withoutIPv6   bool // set if the system has no IPv6
	withoutMaglev bool // set if the kernel has no scheduler mh
}

// schedulers are the supported values of Config.Scheduler.
func schedulers() []string {
	return []string{"rr", "wrr", "lc", "wlc", "sh", "mh", "dh", "sed", "nq"}
}

// maxDevice is the maximum length of the name of an interface in bytes.
const maxDevice = 15

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Device == "" {
		cfg.Device = DefaultDevice
	}
	if cfg.Scheduler == "" {
		cfg.Scheduler = DefaultScheduler
	}
	if cfg.MasqueradeMark == 0 {
		cfg.MasqueradeMark = DefaultMasqueradeMark
	}
	if cfg.ServiceMarks == 0 {
		cfg.ServiceMarks = DefaultServiceMarks
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, errors.Join(cfg.violations()...)
}

// violations returns what is invalid.
func (cfg Config) violations() (errs []error) {
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("ipvs: Config."+format, args...))
		}
	}
	check(len(cfg.Device) <= maxDevice, "Device: %q has more than %d bytes", cfg.Device, maxDevice)
	check(slices.Contains(schedulers(), cfg.Scheduler), "Scheduler: %q must be one of %q", cfg.Scheduler, schedulers())
	check(bits.OnesCount32(cfg.MasqueradeMark) == 1, "MasqueradeMark: %#x must be exactly one bit", cfg.MasqueradeMark)
	check(bits.OnesCount32(cfg.ServiceMarks) >= 8 && isContiguous(cfg.ServiceMarks), "ServiceMarks: %#x must be at least eight contiguous bits", cfg.ServiceMarks)
	check(cfg.ServiceMarks&cfg.MasqueradeMark == 0, "ServiceMarks: %#x contains the MasqueradeMark %#x", cfg.ServiceMarks, cfg.MasqueradeMark)
	for _, network := range cfg.ExcludeCIDRs {
		check(network.IsValid(), "ExcludeCIDRs: %v is not a network", network)
	}
	for _, timeout := range []struct {
		name  string
		value time.Duration
	}{{"TCPTimeout", cfg.TCPTimeout}, {"TCPFinTimeout", cfg.TCPFinTimeout}, {"UDPTimeout", cfg.UDPTimeout}} {
		check(timeout.value >= 0 && (timeout.value == 0 || timeout.value >= time.Second), "%s: %v must be zero or at least one second", timeout.name, timeout.value)
	}
	check(slices.Contains([]string{"", "legacy", "nft"}, cfg.IPTables), "IPTables: %q is neither empty nor legacy or nft", cfg.IPTables)
	return errs
}

// isContiguous reports whether the bits of mask follow each other.
func isContiguous(mask uint32) bool {
	shifted := mask >> bits.TrailingZeros32(mask)
	return shifted&(shifted+1) == 0
}

// excludes reports whether the virtual servers with this address are those of other programs.
func (cfg Config) excludes(addr netip.Addr) bool {
	return slices.ContainsFunc(cfg.ExcludeCIDRs, func(network netip.Prefix) bool { return network.Contains(addr) })
}
