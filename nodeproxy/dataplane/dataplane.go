// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/ebpf"
	"sigs.k8s.io/kpng/backends/hns"
	"sigs.k8s.io/kpng/backends/iptables"
	"sigs.k8s.io/kpng/backends/ipvs"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/backends/userspace"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/backendmetrics"
	"sigs.k8s.io/kpng/nodeproxy/takeover"
)

// The modes.
const (
	ModeNFTables  = "nftables"
	ModeEBPF      = "ebpf"
	ModeIPTables  = "iptables"
	ModeIPVS      = "ipvs"
	ModeUserspace = "userspace"
	// ModeKernelspace is that of Windows; see Config.HNS.
	ModeKernelspace = "kernelspace"
)

// Modes returns the modes that need no more than this package: all but ModeKernelspace.
func Modes() []string { return []string{ModeNFTables, ModeEBPF, ModeIPTables, ModeIPVS, ModeUserspace} }

// A Config has the configuration of the backend of each mode. The zero value is valid.
type Config struct {
	NFTables nftables.Config
	// EBPF is combined with NFTables, and counts connections if that does.
	EBPF      ebpf.Config
	IPTables  iptables.Config
	IPVS      ipvs.Config
	Userspace userspace.Config
	// HNS has the Host Networking Service of Windows in HNS.HNS, such as that of module
	// sigs.k8s.io/kpng/backends/hns/hcn. Without one the mode kernelspace is unavailable.
	HNS hns.Config
	// NoFlows leaves Flows of the Dataplane nil: stale connection tracking entries stay.
	NoFlows bool
	// Logger receives what operators need to know, also from backends without a Logger of their
	// own; nil is silent.
	Logger *slog.Logger
}

// A Dataplane is the backend of a mode and what belongs to it. It must be closed.
type Dataplane struct {
	// Mode is the mode.
	Mode string
	// Rules programs the packet path.
	Rules localsink.Sink
	// Flows deletes stale connection tracking entries. It is nil if the mode needs none.
	Flows localsink.Sink
	// Collectors has the metrics of Rules and Flows.
	Collectors []prometheus.Collector
	// Takeover removes the rules of other modes; nil on Windows, where there is one mode.
	Takeover *takeover.Takeover
	// NoLoopbackListeners means that node ports on loopback addresses are left to Rules.
	NoLoopbackListeners bool
	// Repairs is the number of [conntrack.Config]; nil if it is not known.
	Repairs func() uint64
	// InterfaceAddrs lists the addresses of the node's interfaces, without that of the backend,
	// which has those of Services; nil if the backend has none.
	InterfaceAddrs func() ([]net.Addr, error)

	closers []func() error
}

// Close closes Rules and Flows. The rules stay in place.
func (d *Dataplane) Close() error {
	var errs []error
	for _, c := range d.closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// addFlows adds the removal of stale connection tracking entries. After an error d is closed.
func (d *Dataplane) addFlows(cfg Config) (*Dataplane, error) {
	if cfg.NoFlows {
		return d, nil
	}
	collector, observe := backendmetrics.NewConntrack()
	flowsConfig := conntrack.Config{OnReconcile: observe, Logger: cfg.Logger}
	if d.Repairs != nil {
		flowsConfig.Repairs = func() (uint64, bool) { return d.Repairs(), true }
	}
	flows, err := conntrack.New(flowsConfig)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	d.Flows = flows
	d.Collectors = append(d.Collectors, collector)
	d.closers = append(d.closers, flows.Close)
	return d, nil
}

// ErrUnavailable means that the machine or the image does not support a mode: a command or a part
// of the kernel is missing.
var ErrUnavailable = errors.New("mode not available")

// New returns the dataplane of a mode. The error is [ErrUnavailable] if the machine does not
// support the mode, and another one if there is no such mode.
func New(mode string, cfg Config) (*Dataplane, error) {
	create := map[string]func(Config) (*Dataplane, error){
		ModeNFTables:    newNFTables,
		ModeEBPF:        newEBPF,
		ModeIPTables:    newIPTables,
		ModeIPVS:        newIPVS,
		ModeUserspace:   newUserspace,
		ModeKernelspace: newKernelspace,
	}[mode]
	if create == nil {
		return nil, fmt.Errorf("dataplane: mode %q: want one of %s", mode, strings.Join(Modes(), ", "))
	}
	d, err := create(cfg)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, ipvs.ErrNoIPVS) || errors.Is(err, errors.ErrUnsupported) {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, mode, err)
	}
	if err != nil {
		return nil, err
	}
	d.Mode = mode
	return d, nil
}

func newNFTables(cfg Config) (*Dataplane, error) {
	cfg.NFTables.Logger = cmp.Or(cfg.NFTables.Logger, cfg.Logger)
	rules, err := nftables.New(cfg.NFTables)
	if err != nil {
		return nil, err
	}
	d := &Dataplane{
		Rules:      rules,
		Repairs:    rules.Repairs,
		Collectors: backendmetrics.NewNFTables(rules),
		Takeover:   takeover.New(takeover.Config{Others: cleanupOthers, Logger: cfg.Logger}),
		closers:    []func() error{rules.Close},
	}
	return d.addFlows(cfg)
}

// newEBPF returns a dataplane that translates at the sockets of the machine, and in the packet path
// what cannot be decided there. The rules come first: they serve what the sockets leave to them.
func newEBPF(cfg Config) (*Dataplane, error) {
	cfg.EBPF.Logger = cmp.Or(cfg.EBPF.Logger, cfg.Logger)
	cfg.EBPF.Combined = true
	cfg.EBPF.CountConnections = cfg.NFTables.CountConnections
	cfg.NFTables.Logger = cmp.Or(cfg.NFTables.Logger, cfg.Logger)
	rules, err := nftables.New(cfg.NFTables) // also loads the modules of netfilter that the programs need
	if err != nil {
		return nil, err
	}
	sockets, err := newSockets(cfg.EBPF, ebpf.New)
	if err != nil {
		return nil, errors.Join(err, rules.Close())
	}
	d := &Dataplane{
		Rules:      ebpfChain{countedChain{localsink.Chain(rules, sockets), [2]localsink.ConnectionCounter{rules, sockets}}, sockets},
		Repairs:    func() uint64 { return rules.Repairs() + sockets.Repairs() },
		Collectors: append(backendmetrics.NewNFTables(rules), backendmetrics.NewEBPF(sockets)),
		Takeover:   takeover.New(takeover.Config{Others: cleanupIPVS, Logger: cfg.Logger}),
		closers:    []func() error{rules.Close, sockets.Close},
	}
	return d.addFlows(cfg)
}

// newSockets creates the backend for sockets. On a kernel that has no program for devices it serves
// sockets nonetheless, because the rules serve connections from outside.
func newSockets(cfg ebpf.Config, create func(ebpf.Config) (*ebpf.Backend, error)) (*ebpf.Backend, error) {
	sockets, err := create(cfg)
	if len(cfg.Devices) == 0 || !errors.Is(err, errors.ErrUnsupported) {
		return sockets, err
	}
	reason := err
	cfg.Devices = nil
	if sockets, err = create(cfg); err == nil && cfg.Logger != nil {
		cfg.Logger.Warn("Connections from outside are not decided at devices", "err", reason)
	}
	return sockets, err
}

func newIPTables(cfg Config) (*Dataplane, error) {
	cfg.IPTables.Logger = cmp.Or(cfg.IPTables.Logger, cfg.Logger)
	rules, err := iptables.New(cfg.IPTables)
	if err != nil {
		return nil, err
	}
	keep := func(variant, _, chain string) bool {
		return variant == string(rules.Variant()) && (iptables.OwnsChain(chain) || chain == "KUBE-FIREWALL")
	}
	d := &Dataplane{
		Rules:      rules,
		Repairs:    rules.Repairs,
		Collectors: backendmetrics.NewIPTables(rules),
		Takeover: takeover.New(takeover.Config{
			Tables: []string{nftables.DefaultTable}, KeepChain: keep, Others: cleanupOthers, Logger: cfg.Logger,
		}),
		NoLoopbackListeners: true,
		closers:             []func() error{rules.Close},
	}
	return d.addFlows(cfg)
}

// newUserspace returns a dataplane whose connections end with the process. The addresses of
// Services must be local ones, as with a route of type local.
func newUserspace(cfg Config) (*Dataplane, error) {
	cfg.Userspace.Logger = cmp.Or(cfg.Userspace.Logger, cfg.Logger)
	rules, err := userspace.New(cfg.Userspace)
	if err != nil {
		return nil, err
	}
	return &Dataplane{
		Rules:               rules,
		Repairs:             func() uint64 { return 0 }, // its sockets are its own
		Takeover:            takeover.New(takeover.Config{Tables: []string{nftables.DefaultTable}, Others: cleanupOthers, Logger: cfg.Logger}),
		NoLoopbackListeners: true,
		closers:             []func() error{rules.Close},
	}, nil
}

func newIPVS(cfg Config) (*Dataplane, error) {
	cfg.IPVS.Logger = cmp.Or(cfg.IPVS.Logger, cfg.Logger)
	rules, err := ipvs.New(cfg.IPVS)
	if err != nil {
		return nil, err
	}
	d := &Dataplane{
		Rules:    rules,
		Repairs:  rules.Repairs,
		Takeover: takeover.New(takeover.Config{Tables: []string{nftables.DefaultTable}, KeepIPVS: true, Others: cleanupEBPF, Logger: cfg.Logger}),
		closers:  []func() error{rules.Close},
	}
	device := cmp.Or(cfg.IPVS.Device, ipvs.DefaultDevice)
	d.InterfaceAddrs = func() ([]net.Addr, error) { return addressesWithout(device) }
	return d.addFlows(cfg)
}

// addressesWithout returns the addresses of all interfaces but one.
func addressesWithout(name string) (all []net.Addr, err error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for i := range interfaces {
		if interfaces[i].Name == name {
			continue
		}
		addrs, err := interfaces[i].Addrs()
		if err != nil {
			return nil, fmt.Errorf("list addresses of interface %s: %w", interfaces[i].Name, err)
		}
		all = append(all, addrs...)
	}
	return all, nil
}

// featuresTimeout limits the query of the features of HNS, which is one call.
const featuresTimeout = 30 * time.Second

func newKernelspace(cfg Config) (*Dataplane, error) {
	if cfg.HNS.HNS == nil {
		return nil, fmt.Errorf("this program has no HNS; examples/kube-proxy/windows has: %w", errors.ErrUnsupported)
	}
	cfg.HNS.Logger = cmp.Or(cfg.HNS.Logger, cfg.Logger)
	collectors, count := backendmetrics.NewHNS()
	if observe := cfg.HNS.OnFailure; observe != nil {
		cfg.HNS.OnFailure = func(f hns.Failure) { count(f); observe(f) }
	} else {
		cfg.HNS.OnFailure = count
	}
	ctx, cancel := context.WithTimeout(context.Background(), featuresTimeout)
	defer cancel()
	rules, err := hns.New(ctx, cfg.HNS)
	if err != nil {
		return nil, err
	}
	return &Dataplane{Rules: rules, Collectors: collectors, closers: []func() error{rules.Close}}, nil
}

// Cleanup removes the rules of all modes of Linux, of this module and of kube-proxy, from the network
// namespace of the calling thread. It continues after errors and returns all of them. A nil logger
// is silent.
func Cleanup(ctx context.Context, logger *slog.Logger) error {
	err := errors.Join(nftables.Cleanup(""), cleanupOthers()) //nolint:contextcheck // bounded by timeouts of the backends
	return errors.Join(err, takeover.Cleanup(ctx, takeover.Config{Logger: logger}))
}

// cleanupOthers removes what the backends ipvs and ebpf left.
func cleanupOthers() error { return errors.Join(cleanupIPVS(), cleanupEBPF()) }

// cleanupEBPF detaches the programs of the ebpf backend.
func cleanupEBPF() error {
	if err := ebpf.Cleanup(ebpf.Config{}); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// cleanupIPVS removes what the ipvs backend left. Without its interface there is nothing, and to
// look further would make the kernel load its module.
func cleanupIPVS() error {
	present, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	if !slices.ContainsFunc(present, func(i net.Interface) bool { return i.Name == ipvs.DefaultDevice }) {
		return nil
	}
	return ipvs.Cleanup(ipvs.Config{})
}
