// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/localsink"
)

// ErrNoIPVS means that the kernel has no IPVS.
var ErrNoIPVS = errors.New(`ipvs: this kernel has no IPVS: load the module ip_vs ("modprobe ip_vs"), or build it in (CONFIG_IP_VS), or use another backend`)

// New returns a backend for the network namespace of the calling thread. A caller that switches
// namespaces must have locked its goroutine to the thread. New sets kernel parameters; the
// first Sync changes the rest.
//
// New returns [ErrNoIPVS] if the kernel has no IPVS, and an error that names the remedy if it has
// not the scheduler, the IP sets or the rules that the backend needs, or denies CAP_NET_ADMIN. If
// only IPv6 is missing, the backend works without it, and [Backend.Unsupported] contains that
// feature.
func New(cfg Config) (*Backend, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := probeIPVS(); err != nil {
		return nil, err
	}
	k, err := openKernel(&cfg)
	if err != nil {
		return nil, err
	}
	if err := k.prepare(); err != nil {
		k.close()
		return nil, err
	}
	b := newBackend(cfg, k, func() error { k.close(); return nil }, pollInterval)
	k.cfg = &b.cfg
	if b.cfg.withoutIPv6 = len(k.families) == 1 || ipv6Disabled(); b.cfg.withoutIPv6 {
		b.unsupported |= localsink.FeatureIPv6
		cfg.Logger.Warn("IPv6 Services are not supported on this system", "err", "IPv6 is disabled")
	}
	return b, nil
}

// probeIPVS returns an error if the kernel has no IPVS. The lookup loads the module if that is
// possible. The library would continue, and the kernel would acknowledge its requests without
// effect.
func probeIPVS() error {
	_, err := netlink.GenlFamilyGet("IPVS")
	if errors.Is(err, syscall.ENOENT) {
		return ErrNoIPVS
	}
	if err != nil {
		return fmt.Errorf("ipvs: find generic netlink family IPVS: %w", err)
	}
	return nil
}

// families returns whether IPv6 for each family that the kernel has.
func families() []bool {
	if _, err := os.Stat("/proc/thread-self/net/if_inet6"); errors.Is(err, os.ErrNotExist) {
		return []bool{false}
	}
	return []bool{false, true}
}

// ipv6Disabled reports whether new interfaces have no IPv6 addresses.
func ipv6Disabled() bool {
	text, err := os.ReadFile("/proc/sys/net/ipv6/conf/default/disable_ipv6")
	return err == nil && strings.TrimSpace(string(text)) == "1"
}

// prepare sets kernel parameters and checks that the kernel has all that the backend needs.
func (k *linuxKernel) prepare() error {
	if err := k.cfg.setSysctls(); err != nil {
		return err
	}
	if err := k.timeouts(); err != nil {
		return err
	}
	if err := k.probeScheduler(k.cfg.Scheduler); err != nil {
		return err
	}
	if err := k.probeScheduler("mh"); err != nil {
		k.cfg.withoutMaglev = true
		k.cfg.Logger.Warn("Selection by client and by flow uses the scheduler sh", "err", err)
	}
	for _, isIPv6 := range k.families {
		for _, set := range setNames() { // rules need them
			if err := k.createSet(set, isIPv6, familySet(set, isIPv6), 0); err != nil && !errors.Is(err, syscall.EEXIST) {
				return fmt.Errorf("%w; needed are the kernel modules ip_set, ip_set_hash_ip, ip_set_hash_ipport and ip_set_hash_ipportnet", err)
			}
		}
	}
	return k.chooseIPTables()
}

// probeScheduler returns an error if the kernel has no such scheduler. It adds a virtual server for
// a mark that no packet has, and deletes it.
func (k *linuxKernel) probeScheduler(name string) error {
	key := serverKey{mark: k.cfg.ServiceMarks}
	switch err := k.AddServer(key, serverOptions{scheduler: name}); {
	case errors.Is(err, syscall.EEXIST): // another backend of this namespace is starting
		return nil
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("ipvs: the kernel has no scheduler %[1]s: load the module ip_vs_%[1]s, or configure another one: %[2]w", name, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: CAP_NET_ADMIN is required", err)
	case err != nil:
		return err
	}
	return k.DeleteServer(key)
}

// Cleanup removes what a backend with this configuration has programmed from the network
// namespace of the calling thread: virtual servers, rules, sets and the dummy interface.
// Connections through Services end with them. Virtual servers of other programs stay. Cleanup
// returns nil if there is nothing to remove. After an error it may be called again: what shows that
// there is something, and which virtual servers these are, is removed last.
func Cleanup(cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if err := probeIPVS(); errors.Is(err, ErrNoIPVS) {
		return nil // nothing can have been programmed
	} else if err != nil {
		return err
	}
	k, err := openKernel(&cfg)
	if err != nil {
		return err
	}
	defer k.close()
	if err := k.removeServers(); err != nil {
		return err
	}
	var errs []error
	for _, variant := range []string{"", "-legacy"} {
		k.iptables = iptables{variant}
		if cfg.IPTables != "" {
			k.iptables.variant = "-" + cfg.IPTables
		}
		if err := k.removeRules(); !errors.Is(err, exec.ErrNotFound) { // without the commands it is not this system that added rules
			errs = append(errs, err)
		}
	}
	if err := errors.Join(append(errs, k.removeSets())...); err != nil {
		return err
	}
	if link, err := k.routes.LinkByName(cfg.Device); err == nil && link.Type() == "dummy" {
		return k.routes.LinkDel(link)
	}
	return nil
}

// removeServers removes the virtual servers at addresses of the dummy interface, those for
// marks of the configuration, and those in the set of Services.
func (k *linuxKernel) removeServers() error {
	all, err := k.Servers()
	if err != nil {
		return err
	}
	device, _, err := k.Addresses()
	if err != nil {
		return err
	}
	listed, err := k.listedServices()
	if err != nil {
		return err
	}
	p := programmer{cfg: k.cfg}
	var errs []error
	for key := range all {
		if p.owns(key) && (key.mark != 0 || listed[key] || slices.Contains(device, key.addr.Addr())) {
			errs = append(errs, k.DeleteServer(key))
		}
	}
	return errors.Join(errs...)
}
